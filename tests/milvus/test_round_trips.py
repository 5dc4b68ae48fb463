"""How often a query goes to Milvus and back, and how long it may take in all."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import DimensionError, EngineUnreachableError
from index.exact import ExactIndex
from index.milvus import engine
from index.milvus.client import ConnectionOptions
from index.milvus.engine import MilvusSearchIndex
from tests.index.samples import some_logos
from tests.milvus.samples import DIM, CountedMilvus, assert_same, milvus_at, new_collection, new_index, vectors_of
from tests.milvus.servers.lite import LiteServer


def test_ids_are_asked_for_in_several_messages(lite: LiteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    logos = some_logos(50)
    index = new_index(milvus_at(lite), logos)
    monkeypatch.setattr(engine, "_IDS_A_MESSAGE", 7)

    asked = np.arange(1, 152)

    assert index.absent(asked).tolist() == asked[~np.isin(asked, logos[0])].tolist()


def spoken(client: CountedMilvus, ask: Callable[[], object]) -> int:
    """How many calls something takes."""
    before = client.calls.total()
    ask()
    return client.calls.total() - before


def test_a_batch_takes_one_round_trip(lite: LiteServer) -> None:
    logos, client = some_logos(50), milvus_at(lite)
    index, exact, ids = new_index(client, logos), ExactIndex(*logos), logos[0].tolist()

    assert spoken(client, lambda: index.prefetched(ids[:20], 5)) == 1
    known = index.prefetched(ids[:20], 5)
    assert spoken(client, lambda: [known.nearest_to_logo(logo_id, 5) for logo_id in ids[:20]]) == 0
    assert_same(known.nearest_to_logo(ids[0], 5), exact.nearest_to_logo(ids[0], 5))
    # Another count, or another logo, is asked for anew, and all else as without it.
    assert spoken(client, lambda: known.nearest_to_logo(ids[0], 6)) == 1
    assert_same(known.nearest_to_logo(ids[0], 6), exact.nearest_to_logo(ids[0], 6))
    assert_same(known.nearest_to_logo(ids[30], 5), exact.nearest_to_logo(ids[30], 5))
    assert_same(known.nearest_to_vector(logos[1][0], 5), exact.nearest_to_vector(logos[1][0], 5))
    assert (len(known), known.dim, ids[40] in known, known.random_logo() in ids) == (50, DIM, True, True)
    assert known.absent(np.array([ids[0], 10_000])).tolist() == [10_000]
    assert known.prefetched(ids[:2], 3).nearest_to_logo(ids[0], 3) == index.nearest_to_logo(ids[0], 3)


def test_one_logo_is_no_batch(lite: LiteServer) -> None:
    logos, client = some_logos(10), milvus_at(lite)
    index = new_index(client, logos)

    assert spoken(client, lambda: index.prefetched([int(logos[0][0])], 5)) == 0
    assert spoken(client, lambda: index.prefetched([], 5)) == 0


def test_a_vector_of_another_length_is_refused_before_the_engine_hears_of_it(lite: LiteServer) -> None:
    client = milvus_at(lite)
    index = new_index(client, some_logos(5))

    def ask(vector: NDArray[np.float32]) -> None:
        with pytest.raises(DimensionError):
            index.nearest_to_vector(vector, 3)

    for length in (0, DIM - 1, DIM + 1):
        assert spoken(client, lambda length=length: ask(np.zeros(length, np.float32))) == 0  # type: ignore[misc]


def test_a_random_logo_is_an_indexed_one_however_few_of_the_stored_are(lite: LiteServer) -> None:
    """Whoever drew one that is not, and asked again, would do so a hundred times in a Milvus that is slow."""
    logos, client = some_logos(20), milvus_at(lite)
    collection, ids = new_collection(client, logos), logos[0].tolist()

    for stored, questions in (([*ids[:3], 999], 1), ([997, 998, 999], 2), ([], 1)):
        turns = itertools.cycle(stored or [None])
        index = MilvusSearchIndex(client, collection, vectors_of(), 1, stored_logo=lambda turns=turns: next(turns))  # type: ignore[misc]
        assert spoken(client, index.random_logo) == questions
        drawn = {index.random_logo() for _ in range(40)}
        assert drawn == set(ids[:3]) if questions == 1 and stored else drawn <= set(ids) and len(drawn) > 5


class SlowMilvus(CountedMilvus):
    """A connection on which each call takes half a second more."""

    def call(self, method: str, *args: Any, seconds: float, **options: Any) -> Any:
        time.sleep(0.5)
        return super().call(method, *args, seconds=seconds, **options)


def test_a_query_has_one_time_limit_for_all_its_round_trips(lite: LiteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    logos = some_logos(100)
    slow = SlowMilvus(ConnectionOptions(lite.uri, query_seconds=2.5))
    index = new_index(slow, logos)
    monkeypatch.setattr(engine, "_VECTORS_A_QUERY", 4)

    with pytest.raises(EngineUnreachableError, match=r"took longer than 2\.5 s|no answer in time|DEADLINE|Deadline"):
        index.prefetched(logos[0].tolist(), 5)  # 25 round trips

    assert slow.calls["search"] < 6
