"""Results come in order, few are held at a time, and an error ends all."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from index.threads import in_order


def test_results_come_in_the_order_of_the_items() -> None:
    second_is_done = threading.Event()

    def doubled(item: int) -> int:
        if item == 0:
            assert second_is_done.wait(60)
        if item == 1:
            second_is_done.set()
        return 2 * item

    assert list(in_order(doubled, range(20), 2)) == [*range(0, 40, 2)]
    assert list(in_order(doubled, [], 2)) == []


def test_few_items_are_taken_ahead_of_the_results() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(1, 101):
            taken = item
            yield item

    for done in in_order(lambda item: item, items(), 3):
        assert taken <= done + 3


def test_an_error_of_a_call_ends_the_others() -> None:
    called = []

    def failing(item: int) -> None:
        called.append(item)
        if item == 5:
            raise KeyError(item)

    with pytest.raises(KeyError, match="5"):
        list(in_order(failing, range(1000), 2))
    assert max(called) < 10


def test_what_is_left_waiting_is_not_begun() -> None:
    held, called = threading.Event(), []

    def waiting(item: int) -> None:
        called.append(item)
        if item:
            held.wait(60)

    results = in_order(waiting, range(1000), 1)
    next(results)
    held.set()
    results.close()
    assert max(called) <= 2
