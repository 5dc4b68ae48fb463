"""Run the steps of a build in threads, and continue with their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(function: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Generator[Result, None, None]:
    """Yield `function(item)` of each item, in order.

    The calls are made by threads, which gain time if the function releases the GIL. `items` is iterated over in the
    thread of the caller.

    Args:
        function: is called by several threads at once.
        items: at most `jobs + 1` of them, or their results, are held at a time.
        jobs: number of threads.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(jobs, "build") as threads:
        try:
            for item in items:
                waiting.append(threads.submit(function, item))
                if len(waiting) > jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
