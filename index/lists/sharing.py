"""Share the work of one query between threads: among millions, a scan takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")

_HELPERS = 16  # threads of a process, for all its queries


def shared(function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Return `function(part)` of each part, in order. Threads gain time if the function releases the GIL.

    The caller computes the first part, and then all that no thread has begun: it waits for no other query.
    """
    others = [begun(partial(function, part)) for part in parts[1:]]
    return [function(part) for part in parts[:1]] + [result() for result in others]


def begun(function: Callable[[], Result]) -> Callable[[], Result]:
    """Let a thread begin a call, and return what returns its result; that makes the call itself if no thread has."""
    future = _helpers().submit(function)
    return lambda: function() if future.cancel() else future.result()


@cache
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_HELPERS, "query")
