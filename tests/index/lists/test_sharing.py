"""A query that threads share finds what it finds alone, and waits for no other query."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from index.lists import centres, codes, engine, sharing
from index.lists.sharing import Part, Result, shared
from index.loading import load_index
from tests.index.lists.samples import DIM, build, kept, logos_of

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


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_a_part_is_raised(failing: int) -> None:
    def fail(part: int) -> None:
        if part == failing:
            raise OSError("bad disk")

    with pytest.raises(OSError, match="bad disk"):
        shared(fail, range(2))


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_a_shared_query_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(engine, "MANY", 1)
    monkeypatch.setattr(engine, "_SHARED_FROM", 20)
    monkeypatch.setattr(centres, "LOGOS_A_LIST", 20)
    monkeypatch.setattr(centres, "LISTED_FROM", 0)
    build(tmp_path, LOGOS)
    called: set[int] = set()

    def counted(function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        called.add(len(parts))
        return shared(function, parts)

    monkeypatch.setattr(codes, "shared", counted)
    alone = load_index(tmp_path, dim=DIM, vectors=kept(LOGOS), search_k=400)
    index = load_index(tmp_path, dim=DIM, vectors=kept(LOGOS), search_k=400, query_threads=threads)
    for logo_id, vector in zip(LOGOS[0][:100].tolist(), LOGOS[1], strict=False):
        assert index.nearest_to_logo(logo_id, 50) == alone.nearest_to_logo(logo_id, 50)
        assert index.nearest_to_vector(vector, 10) == alone.nearest_to_vector(vector, 10)
    assert called == {1, threads}
