"""How long the stages of a request take: fetch, decode, embed, append, send, search, serialise.

Whoever does the work says which stage it is; who counts the seconds is told when the app is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Stage(StrEnum):
    """What a request's time is spent on."""

    FETCH = "fetch"
    DECODE = "decode"
    EMBED = "embed"
    APPEND = "append"
    SEND = "send"
    SEARCH = "search"
    SERIALISE = "serialise"


@dataclass(frozen=True, slots=True)
class Stages:
    """Tells of every stage that ended, also with an error.

    Attributes:
        observe: is told the stage and its seconds, in the thread of the request.
    """

    observe: Callable[[Stage, float], None] = lambda stage, seconds: None

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Count the seconds of the `with` block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(stage, time.perf_counter() - began)

    @contextmanager
    def measure_fed(self, stage: Stage, feeding: Stage, things: Iterable[T]) -> Iterator[Iterator[T]]:
        """Count the seconds of a `with` block that takes things which another stage makes one by one, and theirs apart.

        Yields:
            The things, to be taken within the block.
        """
        things_fed, seconds_fed = 0, 0.0

        def fed() -> Iterator[T]:
            nonlocal things_fed, seconds_fed
            source = iter(things)
            while True:
                began = time.perf_counter()
                try:
                    thing = next(source)
                except StopIteration:
                    return
                finally:
                    seconds_fed += time.perf_counter() - began
                things_fed += 1
                yield thing

        began = time.perf_counter()
        try:
            yield fed()
        finally:
            self.observe(feeding, seconds_fed)
            if things_fed:
                self.observe(stage, time.perf_counter() - began - seconds_fed)


UNOBSERVED = Stages()
