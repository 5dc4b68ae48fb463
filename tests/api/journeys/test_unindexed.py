"""With `ANN_SEARCH_UNINDEXED`, queries also find stored logos that the index does not hold yet."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon.testing
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.app import AnnApp
from api.journeys.unindexed import UnindexedLogos
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_file import StoreFile
from index.exact import ExactIndex
from index.rounded import RoundedVectors
from tests.api.conftest import INDEXED, LOGO_IDS, STORED_ONLY, VECTORS
from tests.original_files import random_vectors, write_pair
from tests.properties import examples
from tests.stores import new_store
from tests.waiting import wait_until

Client = falcon.testing.TestClient
OpenApp = Callable[..., AnnApp]


def exact(query: int, ids: list[int]) -> list[dict[str, Any]]:
    """What `ExactIndex` answers of the logos, as the service writes it."""
    index = ExactIndex(ids, VECTORS[[LOGO_IDS.index(logo_id) for logo_id in ids]])
    found = index.nearest_to_vector(VECTORS[query], len(ids))
    return [
        {"distance": distance, "logo_id": logo_id}
        for distance, logo_id in zip(found.distances, found.logo_ids, strict=True)
    ]


def ask(client: Client, logo_id: int, count: int = 100) -> list[dict[str, Any]]:
    answer = client.simulate_get(f"/api/v1/ann/{logo_id}?count={count}")
    assert answer.status_code == 200
    rows: list[dict[str, Any]] = answer.json["results"]
    return rows


def assert_same(rows: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [row["logo_id"] for row in rows] == [row["logo_id"] for row in expected]
    assert [row["distance"] for row in rows] == pytest.approx([row["distance"] for row in expected], rel=1e-5)


@pytest.fixture
def app(open_app: OpenApp) -> AnnApp:
    return open_app(search_unindexed=True)


@pytest.fixture
def client(app: AnnApp) -> Client:
    return Client(app)


def test_they_are_not_searched_by_default(open_app: OpenApp) -> None:
    assert {row["logo_id"] for row in ask(Client(open_app()), 3)} == set(INDEXED)


@pytest.mark.parametrize("count", [1, 7, 100])
def test_indexed_logo_finds_them_after_itself(client: Client, count: int) -> None:
    rows = ask(client, 3, count)
    assert rows[0] == {"distance": 0.0, "logo_id": 3}
    assert_same(rows, exact(0, LOGO_IDS)[:count])


@pytest.mark.parametrize("count", [1, 7, 100])
def test_stored_logo_finds_the_others_but_not_itself(client: Client, count: int) -> None:
    others = [logo_id for logo_id in LOGO_IDS if logo_id != STORED_ONLY[0]]
    assert_same(ask(client, STORED_ONLY[0], count), exact(40, others)[:count])


def test_vector_and_batch_find_them(client: Client) -> None:
    answer = client.simulate_post("/api/v1/ann/from_embedding", json={"embedding": VECTORS[45].tolist(), "count": 1})
    assert answer.json["results"] == [{"distance": 0.0, "logo_id": LOGO_IDS[45]}]
    batch = client.simulate_get(f"/api/v1/ann/batch?logo_ids=3,{STORED_ONLY[0]}").json["results"]
    assert batch == {"3": ask(client, 3), str(STORED_ONLY[0]): ask(client, STORED_ONLY[0])}


def test_embedding_that_cannot_be_searched_for_is_told_so(client: Client) -> None:
    body = {"embedding": [1e300] * 1280}
    assert client.simulate_post("/api/v1/ann/from_embedding", json=body).status_code == 400


def test_logo_of_another_process_is_found_at_once_and_a_deleted_one_no_more(client: Client, data_dir: Path) -> None:
    assert 7 not in {row["logo_id"] for row in ask(client, 3)}
    with EmbeddingStore(data_dir / "efficientnet-b0.hdf5") as another:
        another.append([7], VECTORS[:1])
        assert ask(client, 3)[:2] == [{"distance": 0.0, "logo_id": 3}, {"distance": 0.0, "logo_id": 7}]
        another.delete([7, STORED_ONLY[1]])
        assert {row["logo_id"] for row in ask(client, 3)} == set(LOGO_IDS) - {STORED_ONLY[1]}
        another.append([7], VECTORS[-1:])
        assert ask(client, LOGO_IDS[-1])[0] == {"distance": 0.0, "logo_id": 7}
        assert ask(client, 3)[1]["distance"] > 0
        rewrite_store(another.path)
    assert len(ask(client, 3)) == len(LOGO_IDS)


def test_first_logos_are_found_before_there_is_an_index(open_app: OpenApp, tmp_path: Path) -> None:
    app = open_app(search_unindexed=True, data_dir=tmp_path / "fresh")
    app.parts.store.append([5, 6], VECTORS[:2])
    assert [row["logo_id"] for row in ask(Client(app), 5)] == [6]


def test_new_index_takes_them_over(app: AnnApp, client: Client, data_dir: Path) -> None:
    before = ask(client, 3)
    write_pair(data_dir / "efficientnet-b0", LOGO_IDS, VECTORS)
    wait_until(lambda: len(app.parts.catalog.get(None)) == len(LOGO_IDS))
    gc.collect()
    assert_same(ask(client, 3), before)


def test_damaged_one_is_left_out_and_named_once(
    client: Client, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = StoreFile(data_dir / "efficientnet-b0.hdf5", writable=True)
    file.write_content(45, np.array([1]), VECTORS[:1])
    for _ in range(3):
        assert {row["logo_id"] for row in ask(client, 3)} == set(LOGO_IDS) - {LOGO_IDS[45]}
    assert caplog.text.count(str(LOGO_IDS[45])) == 1


def test_of_too_many_the_newest_are_searched_and_the_log_says_so_once(
    open_app: OpenApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = open_app(search_unindexed=True, search_unindexed_max=3)
    client = Client(app)
    for _ in range(2):
        assert {row["logo_id"] for row in ask(client, 3)} == {*INDEXED, *STORED_ONLY[-3:]}
    app.parts.store.append([7], VECTORS[:1])
    assert {row["logo_id"] for row in ask(client, 3)} == {*INDEXED, *STORED_ONLY[-2:], 7}
    assert caplog.text.count("more than 3 stored logos are not indexed") == 1


@pytest.mark.parametrize("count", [1, 10, 200])
def test_many_are_ruled_out_by_their_rounded_vectors_and_the_answers_are_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    within: list[float] = []
    nearer = RoundedVectors.nearer

    def noted(self: RoundedVectors, query: Any, rows: int, distance: float) -> Any:
        within.append(distance)
        return nearer(self, query, rows, distance)

    monkeypatch.setattr(RoundedVectors, "nearer", noted)
    vectors = np.random.default_rng(5).normal(size=(1500, 6)).astype(np.float32)
    index, whole = ExactIndex([*range(1, 301)], vectors[:300]), ExactIndex([*range(1, 1501)], vectors)
    with new_store(tmp_path / "s.hdf5", dim=6, capacity=2000) as store:
        for first in range(0, 1500, 100):
            store.append([*range(first + 1, first + 101)], vectors[first : first + 100])
        both = UnindexedLogos(store, 10_000).beside(index)
        for place in range(5):
            assert both.nearest_to_logo(place + 1, count) == whole.nearest_to_logo(place + 1, count)
        others = whole.nearest_to_logo(1400, count + 1).without(1400, count)
        assert both.nearest_to_logo(1400, count) == others
    assert within[:-1] == [index.nearest_to_logo(place + 1, count).distances[-1] for place in range(5)]


MANY = random_vectors(40, seed=3)[:, :6].copy()
changes = st.lists(st.tuples(st.sampled_from(["add", "delete", "compact"]), st.integers(1, 30)), max_size=25)


@examples(40)
@given(changes=changes, most=st.sampled_from([3, 8, 100]), indexed=st.integers(0, 5))
def test_whatever_is_stored_and_deleted_the_newest_are_searched(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int]], most: int, indexed: int
) -> None:
    path = tmp_path_factory.mktemp("store") / "s.hdf5"
    index = ExactIndex([*range(1, indexed + 1)], MANY[:indexed])
    stored: dict[int, int] = {}  # the vector of each logo, in the order they were stored
    with new_store(path, dim=6) as store:
        unindexed = UnindexedLogos(store, most)
        for step, (change, logo_id) in enumerate(changes):
            if change == "add" and logo_id not in stored:
                store.append([logo_id], MANY[step : step + 1])
                stored[logo_id] = step
            elif change == "delete" and logo_id in stored:
                store.delete([logo_id])
                del stored[logo_id]
            elif change == "compact":
                rewrite_store(path)
            both = unindexed.beside(index)
            found = both.nearest_to_vector(MANY[0], 100)
            assert len(both) == len(found.logo_ids) <= indexed + most
            assert set(found.logo_ids) >= set(range(1, indexed + 1))
            live = {
                logo_id: place
                for place, logo_id in enumerate(found.logo_ids)
                if logo_id in stored and logo_id > indexed
            }
            not_indexed = [logo_id for logo_id in stored if logo_id > indexed]
            assert set(live) <= set(not_indexed)
            if most == 100:
                assert set(live) == set(not_indexed)
            else:  # deleted ones may take the place of a few
                assert set(not_indexed[-1:]) <= set(live)
            for logo_id, place in live.items():
                apart = np.linalg.norm(MANY[0].astype(np.float64) - MANY[stored[logo_id]])
                assert found.distances[place] == np.float32(apart)
