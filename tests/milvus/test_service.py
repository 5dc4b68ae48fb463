"""The service with ANN_ENGINE=milvus: what its routes answer when all is well."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import falcon.testing
import numpy as np
import pytest

from api.app import AnnApp
from embeddings.store.store import EmbeddingStore
from index.exact import ExactIndex
from index.map.logo_map import draw_map
from index.status import Recall
from tests.milvus import indexed
from tests.milvus.indexed import INDEXED, LOGO_IDS, STORED_ONLY, VECTORS, A
from tests.milvus.servers.lite import LiteServer
from tests.milvus.servers.server import MilvusServer
from tests.photo_server import PhotoServer, photo
from tests.waiting import wait_until

Client = falcon.testing.TestClient
Serve = Callable[..., Client]
OpenApp = Callable[..., AnnApp]
WHOLE = [0, 0, 1, 1]


def get(client: Client, path: str) -> falcon.testing.Result:
    return client.simulate_get(f"{A}{path}")


def ids(answer: falcon.testing.Result) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [row["logo_id"] for row in answer.json["results"]]


def add(client: Client, url: str, *logo_ids: int) -> falcon.testing.Result:
    body = {"image_url": url, "logos": [{"id": logo_id, "bounding_box": WHOLE} for logo_id in logo_ids]}
    return client.simulate_post(f"{A}/add", json=body)


def test_an_added_logo_is_at_once_among_the_neighbours_of_others_and_a_deleted_one_is_not(
    milvus: MilvusServer, serve: Serve, open_app: OpenApp, photos: PhotoServer
) -> None:
    writer, other = serve(milvus), Client(open_app(milvus))
    assert add(writer, photos.url("/1.jpg"), 900, 901).json == {"added": 2}
    vector = [float(x) for x in writer.app.parts.store.get(900)]  # type: ignore[attr-defined]
    for client in (writer, other):
        assert ids(get(client, "/900?count=1")) == [901]  # it is not yet indexed, so not its own neighbour
        assert set(ids(get(client, f"/{INDEXED[0]}?count=42"))) == {*INDEXED, 900, 901}
        asked = client.simulate_post(f"{A}/from_embedding", json={"embedding": vector, "count": 2})
        assert set(ids(asked)) == {900, 901}
    assert writer.simulate_delete(f"{A}/900").json == {"deleted": 1}
    for client in (writer, other):
        assert get(client, "/900").status_code == 404
        assert set(ids(get(client, f"/{INDEXED[0]}?count=42"))) == {*INDEXED, 901}
        assert get(client, "/batch?logo_ids=900,901&count=1").json["results"].keys() == {"901"}


def test_a_logo_that_is_only_stored_finds_others_and_is_not_found(lite: LiteServer, serve: Serve) -> None:
    client = serve(lite)
    exact = ExactIndex(INDEXED, VECTORS[:40])
    logo_id = STORED_ONLY[4]
    near = exact.nearest_to_vector(VECTORS[LOGO_IDS.index(logo_id)], 5)
    answer = get(client, f"/{logo_id}?count=5")
    assert ids(answer) == near.logo_ids
    assert [row["distance"] for row in answer.json["results"]] == pytest.approx(near.distances, rel=1e-5)
    assert set(ids(get(client, f"/{INDEXED[0]}?count=60"))) == set(INDEXED)


def test_a_batch_answers_for_those_that_are_known_each_in_its_place(lite: LiteServer, serve: Serve) -> None:
    client = serve(lite)
    gone, kept, only_stored, gone_too = INDEXED[5], INDEXED[6], STORED_ONLY[0], STORED_ONLY[1]
    for logo_id in (gone, gone_too):
        assert client.simulate_delete(f"{A}/{logo_id}").status_code == 200
    answer = get(client, f"/batch?logo_ids=77,{only_stored},{gone},{kept},{gone_too},{INDEXED[0]}&count=40").json
    assert list(answer["results"]) == [str(only_stored), str(kept), str(INDEXED[0])]
    assert answer["count"] == 3
    for logo_id in (only_stored, kept, INDEXED[0]):
        rows = answer["results"][str(logo_id)]
        assert rows == get(client, f"/{logo_id}?count=40").json["results"]
        assert {row["logo_id"] for row in rows} == set(INDEXED) - {gone}


def test_a_batch_is_a_few_round_trips(lite: LiteServer, serve: Serve, calls: list[str]) -> None:
    client = serve(lite, reload_seconds=60)
    calls.clear()
    named = ",".join(map(str, LOGO_IDS))
    assert get(client, f"/batch?logo_ids={named}&count=3").json["count"] == 60
    assert calls == ["search", "search", "get"]  # 32 logos to a search; one look which of them are indexed


def test_a_reader_answers_for_logos_that_it_does_not_store(
    milvus: MilvusServer, serve: Serve, open_app: OpenApp, tmp_path: Path
) -> None:
    writer, reader = serve(milvus), Client(open_app(milvus, data_dir=tmp_path / "reader"))
    assert get(reader, "/count").json == {"count": 0}
    for path in (f"/{INDEXED[3]}?count=5", f"/batch?logo_ids={INDEXED[7]},{INDEXED[8]},{INDEXED[1]}&count=4"):
        assert get(reader, path).json == get(writer, path).json
    assert get(reader, f"/{STORED_ONLY[0]}").status_code == 404
    assert ids(get(reader, "?count=1"))[0] in INDEXED
    vector = {"embedding": VECTORS[50].tolist(), "count": 3}
    answers = [client.simulate_post(f"{A}/from_embedding", json=vector).json for client in (reader, writer)]
    assert answers[0] == answers[1]


def test_a_reader_with_a_copy_of_the_store_sends_nothing_where_it_is_told_so(
    lite: LiteServer, serve: Serve, open_app: OpenApp, data_dir: Path, tmp_path: Path, photos: PhotoServer
) -> None:
    """It would send again what the writer has deleted since."""
    writer = serve(lite, allow_delete=True)
    shutil.copytree(data_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("milvus.json"))
    assert writer.simulate_delete(f"{A}/{INDEXED[3]}").status_code == 200
    reader = open_app(lite, data_dir=tmp_path / "copy", milvus_feed=False)
    client = Client(reader)
    assert add(client, photos.url("/1.jpg"), 900).json == {"added": 1}
    assert reader.parts.engine.feed is not None
    reader.parts.engine.feed.catch_up()
    for at in (client, writer):
        assert not {900, INDEXED[3]} & set(ids(get(at, f"/{INDEXED[0]}?count=60")))
    status = get(client, "/status").json
    assert (status["logos_stored"], status["logos_indexed"]) == (61, 39)


def test_count_and_stored_ask_milvus_nothing(
    lite: LiteServer, serve: Serve, calls: list[str], photos: PhotoServer
) -> None:
    client = serve(lite, reload_seconds=60)
    calls.clear()
    assert get(client, "/count").json == {"count": 60}
    assert get(client, "/stored").json == {"stored": LOGO_IDS}
    assert get(client, f"/provenance?logo_ids={LOGO_IDS[0]}").json["count"] == 1
    assert add(client, photos.url("/1.jpg"), LOGO_IDS[0]).json == {"added": 0}
    assert client.simulate_delete(f"{A}/77").status_code == 404
    assert calls == []


def test_before_the_first_build_the_index_counts_as_empty(
    lite: LiteServer, open_app: OpenApp, photos: PhotoServer
) -> None:
    client = Client(open_app(lite))
    for path in ("", f"/{LOGO_IDS[0]}", f"/{LOGO_IDS[0]}?index={indexed.INDEX}"):
        assert get(client, path).json == {"results": [], "count": 0}
    assert get(client, f"/batch?logo_ids={LOGO_IDS[0]},77").json["results"] == {str(LOGO_IDS[0]): []}
    assert add(client, photos.url("/1.jpg"), 900).json == {"added": 1}
    assert client.simulate_get("/readyz").json["checks"]["index"] == {
        "ok": True,
        "detail": "empty: none has been built yet",
    }
    wait_until(lambda: get(client, "/status").json["logos_waiting"] == 61)
    indexed.index(lite)
    wait_until(lambda: set(ids(get(client, "/900?count=100"))) == set(LOGO_IDS))  # what the collection lacks is sent


def test_another_index_of_milvus_is_asked_by_its_name(lite: LiteServer, serve: Serve) -> None:
    others = [5, 6, 7]
    indexed.index(lite, others, VECTORS[10:13], name="other-model")
    client = serve(lite)
    assert ids(get(client, "/5?index=other-model&count=9"))[0] == 5
    assert set(ids(get(client, f"/{INDEXED[0]}?index=other-model"))) == set(others)
    assert get(client, "/status").json["indexes"] == [indexed.INDEX, "other-model"]
    assert get(client, "/status?index=other-model").json["logos_indexed"] == 3
    for name in ("nope", "other_model", "logos_other_model"):
        answer = get(client, f"/{INDEXED[0]}?index={name}")
        assert (answer.status_code, answer.json["title"]) == (400, f"unknown index: {name}")


def test_searching_beside_the_index_is_left_to_milvus(lite: LiteServer, serve: Serve) -> None:
    client = serve(lite, search_unindexed=True)
    assert set(ids(get(client, f"/{INDEXED[0]}?count=60"))) == set(INDEXED)


def test_the_explorer_has_status_map_and_provenance_and_asks_by_image(
    lite: LiteServer, serve: Serve, data_dir: Path, photos: PhotoServer
) -> None:
    client = serve(lite)
    status = get(client, "/status").json
    assert {key: status[key] for key in ("logos_indexed", "logos_stored", "logos_waiting", "map_points", "error")} == {
        "logos_indexed": 40,
        "logos_stored": 60,
        "logos_waiting": 0,
        "map_points": 0,
        "error": None,
    }
    assert status["generation"] == "20261129T030000Z"
    assert 0 <= status["age_seconds"] < 60
    assert get(client, "/map").status_code == 404
    directory = data_dir / indexed.INDEX / "milvus" / status["generation"]
    directory.mkdir(parents=True)
    with EmbeddingStore(data_dir / f"{indexed.INDEX}.hdf5") as store:
        draw_map(directory, np.array(INDEXED), store.vectors, max_points=100, earlier=None, seed=0)
    assert sorted(get(client, "/map").json["logo_ids"]) == sorted(INDEXED)
    assert get(client, "/status").json["map_points"] == 40
    assert get(client, f"/provenance?logo_ids={INDEXED[0]}").json["provenance"][str(INDEXED[0])]["image_url"]
    assert add(client, photos.url("/1.jpg"), 900).json == {"added": 1}
    image = client.simulate_post(f"{A}/from_image?count=1", body=photo(1), headers={"Content-Type": "image/jpeg"})
    assert ids(image) == [900]
    assert client.simulate_get("/").status_code == 200


def test_metrics_tell_of_the_collection(lite: LiteServer, data_dir: Path, open_app: OpenApp) -> None:
    recall = Recall(search_k=7, at_10=0.97, at_100=0.95, queries=40)
    collection = indexed.index(lite, change=lambda record: replace(record, recall=recall))
    indexed.note_as_indexed(data_dir, collection)
    client = Client(open_app(lite))
    lines = client.simulate_get("/metrics").text.splitlines()
    value = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    of = f'{{index="{indexed.INDEX}"}}'
    assert float(value[f"robotoff_ann_logos_indexed{of}"]) == 40
    assert float(value[f"robotoff_ann_logos_stored{of}"]) == 60
    assert float(value[f"robotoff_ann_logos_waiting{of}"]) == 0
    assert float(value[f"robotoff_ann_index_broken{of}"]) == 0
    assert float(value[f"robotoff_ann_index_age_seconds{of}"]) < 60
    assert float(value[f'robotoff_ann_index_recall{{at="10",index="{indexed.INDEX}"}}']) == 0.97
    assert float(value["robotoff_ann_ready"]) == 1
