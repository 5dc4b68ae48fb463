"""A query that threads share finds what it finds alone, and waits for no other query."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from index.lists import centres, engine, sharing
from index.lists.sharing import Part, Result, begun, shared
from index.loading import load_index
from tests.index.lists.samples import DIM, build, kept, logos_of
from tests.waiting import wait_until

LOGOS = logos_of(3000)


@pytest.mark.parametrize("parts", [0, 1, 2, 40])
def test_results_come_in_the_order_of_the_parts(parts: int) -> None:
    assert shared(lambda part: part * part, range(parts)) == [part * part for part in range(parts)]


def test_the_caller_computes_what_no_thread_has_begun() -> None:
    free = threading.Event()
    busy = [sharing._helpers().submit(free.wait, 60) for _ in range(sharing._HELPERS)]
    try:
        computed_by = shared(lambda _: threading.current_thread(), range(3))
    finally:
        free.set()
    assert computed_by == [threading.current_thread()] * 3
    assert all(future.result() for future in busy)


@pytest.mark.parametrize("busy", [False, True])
def test_a_call_is_made_once_by_a_thread_or_by_the_caller(busy: bool) -> None:
    free, called_by = threading.Event(), list[threading.Thread]()

    def call() -> int:
        called_by.append(threading.current_thread())
        return 7

    others = [sharing._helpers().submit(free.wait, 60) for _ in range(sharing._HELPERS if busy else 0)]
    result = begun(call)
    try:
        if not busy:
            wait_until(lambda: bool(called_by))
        assert result() == 7
    finally:
        free.set()
    assert (called_by == [threading.current_thread()]) is busy
    assert len(called_by) == 1
    assert all(other.result() for other in others)


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_a_part_is_raised(failing: int) -> None:
    def fail(part: int) -> None:
        if part == failing:
            raise OSError("bad disk")

    with pytest.raises(OSError, match="bad disk"):
        shared(fail, range(2))


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_a_shared_query_finds_as_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(engine, "MANY", 1)
    monkeypatch.setattr(engine, "_SHARED_FROM", 20)
    monkeypatch.setattr(centres, "LOGOS_A_LIST", 20)
    monkeypatch.setattr(centres, "LISTED_FROM", 0)
    build(tmp_path, LOGOS)
    called: list[int] = []

    def counted(function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        called.append(len(parts))
        return shared(function, parts)

    monkeypatch.setattr(engine, "shared", counted)
    alone = load_index(tmp_path, dim=DIM, vectors=kept(LOGOS), search_k=400)
    index = load_index(tmp_path, dim=DIM, vectors=kept(LOGOS), search_k=400, query_threads=threads)
    found = []
    for logo_id, vector in zip(LOGOS[0][:100].tolist(), LOGOS[1], strict=False):
        expected, of_threads = (one.nearest_to_logo(logo_id, 50) for one in (alone, index))
        distance_of = dict(zip(expected.logo_ids, expected.distances, strict=True))
        of_found = zip(of_threads.logo_ids, of_threads.distances, strict=True)
        assert all(distance_of.get(found_id, at) == at for found_id, at in of_found)
        found.append(len(distance_of.keys() & set(of_threads.logo_ids)) / 50)
        assert index.nearest_to_vector(vector, 10).distances == pytest.approx(
            alone.nearest_to_vector(vector, 10).distances, rel=0.05, abs=1e-3
        )
    assert min(found) > 0.9
    assert sum(found) > 99
    assert set(called) == {1, threads}
