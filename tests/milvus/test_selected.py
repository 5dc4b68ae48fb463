"""Milvus searches the logos that match a filter by an expression of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon.testing
import numpy as np
import pytest

from index.exact import ExactIndex
from index.milvus import engine
from index.milvus.client import Milvus
from index.milvus.engine import MilvusSearchIndex
from tests.index.samples import some_logos
from tests.milvus.indexed import INDEXED, LOGO_IDS, VECTORS, A
from tests.milvus.samples import assert_same, index_of, milvus_at, new_collection, new_index
from tests.milvus.servers.lite import LiteServer
from tests.milvus.servers.server import MilvusServer

RED = INDEXED[::3]


def test_only_selected_logos_are_searched(milvus: MilvusServer) -> None:
    logos = some_logos(600)
    index = new_index(milvus_at(milvus), logos)
    rows = np.argsort(logos[0])[::7]
    chosen, exact = logos[0][rows], ExactIndex(logos[0][rows], logos[1][rows])
    among = index.among(np.append(chosen, 10**9))  # one that Milvus does not have
    assert among is not None
    for count in (1, 20, 500):
        assert_same(among.nearest_to_vector(logos[1][8], count), exact.nearest_to_vector(logos[1][8], count))
        for logo_id in chosen[:3].tolist():
            assert_same(among.nearest_to_logo(logo_id, count), exact.nearest_to_logo(logo_id, count))
    many = among.prefetched(chosen[:5].tolist(), 9)
    assert_same(many.nearest_to_logo(int(chosen[4]), 9), exact.nearest_to_logo(int(chosen[4]), 9))
    other = int(np.setdiff1d(logos[0], chosen)[0])
    assert other not in among
    with pytest.raises(KeyError):
        among.nearest_to_logo(other, 5)
    assert among.random_logo() in chosen
    assert other in index
    assert len(index.nearest_to_vector(logos[1][8], 500).logo_ids) == 500


def test_a_graph_is_searched_as_exactly(milvus: MilvusServer) -> None:
    logos = some_logos(1200)
    client = milvus_at(milvus)
    index = index_of(client, new_collection(client, logos, kind="HNSW", sealed=True), logos, effort=2000)
    rows = np.argsort(logos[0])[::40]
    among = index.among(logos[0][rows])
    assert among is not None
    exact = ExactIndex(logos[0][rows], logos[1][rows])
    for query in logos[1][:10]:
        assert_same(among.nearest_to_vector(query, 10), exact.nearest_to_vector(query, 10))


def test_too_many_are_not_named(lite: LiteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    logos = some_logos(30)
    index = new_index(milvus_at(lite), logos)
    monkeypatch.setattr(engine, "MOST_SELECTED", 9)
    assert index.among(np.sort(logos[0])[:10]) is None
    nobody = index.among(np.zeros(0, np.int64))
    assert nobody is not None
    assert nobody.nearest_to_vector(logos[1][0], 5).logo_ids == []
    assert nobody.random_logo() is None


@pytest.mark.parametrize("most", [10_000, 3], ids=["by Milvus", "too many to name"])
def test_a_service_filters_alike_either_way(
    lite: LiteServer,
    serve: Callable[..., falcon.testing.TestClient],
    monkeypatch: pytest.MonkeyPatch,
    most: int,
) -> None:
    monkeypatch.setattr(engine, "MOST_SELECTED", most)
    expressions: list[Any] = []
    call = Milvus.call

    def watched(self: Milvus, method: str, *args: Any, **options: Any) -> Any:
        if method == "search":
            expressions.append(options.get("filter"))
        return call(self, method, *args, **options)

    client = serve(lite)
    body = {"logos": [{"id": logo_id, "attributes": {"colour": "red"}} for logo_id in RED]}
    assert client.simulate_put(f"{A}/attributes", json=body).json["updated"] == len(RED)
    monkeypatch.setattr(Milvus, "call", watched)
    for logo_id in (RED[1], INDEXED[1], LOGO_IDS[50]):
        vector = VECTORS[LOGO_IDS.index(logo_id)]
        apart = {red: float(np.linalg.norm(VECTORS[LOGO_IDS.index(red)] - vector)) for red in RED}
        answer = client.simulate_get(f"{A}/{logo_id}?where=colour:red&count=5").json
        assert [row["logo_id"] for row in answer["results"]] == sorted(RED, key=lambda red: apart[red])[:5]
    named = f"logo_id in {sorted(RED)}"
    assert set(expressions) == ({named} if most > len(RED) else set())


def test_a_selection_is_of_the_collection_itself(lite: LiteServer) -> None:
    index = new_index(milvus_at(lite), some_logos(30))
    among = index.among(np.array([1, 2, 3]))
    assert isinstance(among, MilvusSearchIndex)
    assert (len(among), len(index)) == (3, 30)
