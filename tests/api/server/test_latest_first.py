"""Requests go to the thread that became idle last, and none is lost or handled twice."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from api.server.latest_first import LatestFirstPool, LatestFirstQueue
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def items() -> LatestFirstQueue:
    return LatestFirstQueue()


def waiting_thread(items: LatestFirstQueue, take: Callable[[object], None]) -> threading.Thread:
    """Start a thread that takes one item, and return it once it waits."""
    before = len(items._waiting)
    thread = threading.Thread(target=lambda: take(items.get()))
    thread.start()
    wait_until(lambda: len(items._waiting) > before)
    return thread


def test_items_are_taken_in_the_order_they_came(items: LatestFirstQueue) -> None:
    for item in (1, 2, None):
        items.put(item)
    assert [items.get(), items.get_nowait(), items.get(block=True)] == [1, 2, None]
    with pytest.raises(queue.Empty):
        items.get_nowait()


def test_the_thread_that_came_last_takes_the_next_item(items: LatestFirstQueue) -> None:
    taken: list[tuple[str, object]] = []
    early = waiting_thread(items, lambda item: taken.append(("early", item)))
    late = waiting_thread(items, lambda item: taken.append(("late", item)))
    items.put(1)
    late.join(PATIENCE)
    items.put(2)
    early.join(PATIENCE)
    assert taken == [("late", 1), ("early", 2)]


def test_the_handler_of_a_signal_may_interrupt_a_put(items: LatestFirstQueue) -> None:
    with items._mutex:  # as `put` holds it
        items.put("from the handler")
    assert items.get_nowait() == "from the handler"


def test_every_call_is_made_once_and_by_no_more_threads_than_allowed() -> None:
    running, most, mutex = 0, 0, threading.Lock()

    def square(number: int) -> int:
        nonlocal running, most
        with mutex:
            running += 1
            most = max(most, running)
        result = number * number
        with mutex:
            running -= 1
        return result

    with LatestFirstPool(4) as pool:
        calls: list[Future[int]] = []
        submitters = [
            threading.Thread(target=lambda: calls.extend(pool.submit(square, number) for number in range(500)))
            for _ in range(4)
        ]
        for submitter in submitters:
            submitter.start()
        for submitter in submitters:
            submitter.join(PATIENCE)
        found = sorted(call.result(PATIENCE) for call in calls)
    assert found == sorted(4 * [number * number for number in range(500)])
    assert 1 <= most <= 4


@pytest.mark.parametrize("wait", [True, False])
def test_a_pool_that_is_shut_down_ends_its_threads(wait: bool) -> None:
    pool = LatestFirstPool(3)
    together = threading.Barrier(3)
    for call in [pool.submit(together.wait, PATIENCE) for _ in range(3)]:
        call.result(PATIENCE)
    threads = list(pool._threads)
    assert len(threads) == 3
    pool.shutdown(wait=wait)
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    with pytest.raises(RuntimeError):
        pool.submit(print)


def test_what_was_not_begun_can_be_cancelled() -> None:
    pool, free = LatestFirstPool(1), threading.Event()
    begun, other = pool.submit(free.wait, PATIENCE), pool.submit(print)
    pool.shutdown(wait=False, cancel_futures=True)
    free.set()
    assert begun.result(PATIENCE)
    assert other.cancelled()
