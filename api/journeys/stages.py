"""Measure the stages of a request: fetch, decode, embed, append, send, search, serialise.

The journeys name the stages; a function that the app sets records the times.
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
    """A stage of a request."""

    FETCH = "fetch"
    DECODE = "decode"
    EMBED = "embed"
    APPEND = "append"
    SEND = "send"
    SEARCH = "search"
    SERIALISE = "serialise"


@dataclass(frozen=True, slots=True)
class Stages:
    """Measures stages, including those that end with an error.

    Attributes:
        observe: called with the stage and its seconds, in the thread of the request.
    """

    observe: Callable[[Stage, float], None] = lambda stage, seconds: None

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Measure the `with` block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(stage, time.perf_counter() - began)

    @contextmanager
    def measure_fed(self, stage: Stage, feeding: Stage, things: Iterable[T]) -> Iterator[Iterator[T]]:
        """Measure a `with` block that consumes items, and apart from it the stage that produces them one by one.

        Args:
            stage: the stage of the block.
            feeding: the stage that produces the items.
            things: the items.

        Yields:
            The same items, to be consumed in the block.
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
