"""`GET /status` and `GET /map`."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import falcon.testing
import numpy as np
import pytest

from api.app import create_app
from index.annoy.build import build_index
from index.files.generations import publish
from index.map.logo_map import add_map
from index.map.map_file import MAP_NAME
from index.sample import Sample
from settings import Settings
from tests.api.conftest import INDEXED, LOGO_IDS, VECTORS
from tests.waiting import wait_until

Client = falcon.testing.TestClient
INDEX = "efficientnet-b0"

pytestmark = pytest.mark.usefixtures("quick_maps")


def get(client: Client, path: str, **headers: str) -> falcon.testing.Result:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.simulate_get(f"/api/v1/ann{path}", headers=names)


@pytest.fixture
def generation(data_dir: Path) -> Path:
    """Publish a generation of the default index, with the logos of the original's pair."""
    ids, vectors = np.array(INDEXED), np.asarray(VECTORS[:40], np.float32)

    def build(directory: Path) -> Any:
        sample = Sample(ids, vectors)
        return build_index(directory, [(ids, vectors)], dim=1280, rows=40, trees=10, stored_rows=60, sample=sample)

    return publish(data_dir / INDEX, build)


def draw(generation: Path) -> None:
    rows = dict(zip(LOGO_IDS, VECTORS, strict=True))
    add_map(generation, lambda ids: np.array([rows[i] for i in ids.tolist()], np.float32))


def test_status_describes_the_index_that_is_served(open_app: Callable[..., Any], generation: Path) -> None:
    app = open_app()
    before = datetime.now(UTC)
    answer = get(Client(app), "/status").json
    assert 0 <= answer.pop("age_seconds") < 120
    built_at = datetime.strptime(answer["built_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs((before - built_at).total_seconds()) < 120
    recall = answer.pop("recall")
    assert 0.9 < recall["at_100"] <= recall["at_10"] <= 1
    assert answer == {
        "index": INDEX,
        "index_state": "serving",
        "generation": generation.name,
        "built_at": answer["built_at"],
        "logos_indexed": 40,
        "logos_stored": 60,
        "logos_waiting": 20,
        "error": None,
        "map_points": 0,
        "indexes": [INDEX],
        "model": "",  # a store of the original does not name its model
        "dim": 1280,
        "metric": "euclidean",
        "distances": None,
        "keeps_provenance": app.parts.store.keeps_provenance,
    }


def test_status_counts_logos_that_are_not_yet_indexed_even_after_deletions(
    open_app: Callable[..., Any], generation: Path
) -> None:
    app = open_app()
    app.parts.store.delete([INDEXED[0], LOGO_IDS[-1]])
    answer = get(Client(app), "/status").json
    assert [answer[f"logos_{which}"] for which in ("indexed", "stored", "waiting")] == [40, 58, 19]


def test_status_of_an_original_pair_has_neither_generation_nor_map(client: Client) -> None:
    answer = get(client, f"/status?index={INDEX}").json
    assert (answer["generation"], answer["built_at"], answer["age_seconds"], answer["recall"]) == (None,) * 4
    assert (answer["logos_indexed"], answer["map_points"]) == (40, 0)
    assert "generate-index" in get(client, "/map").json["description"]


def test_status_without_an_index_is_that_of_an_empty_one(open_app: Callable[..., Any], tmp_path: Path) -> None:
    answer = get(Client(open_app(data_dir=tmp_path / "new")), "/status").json
    assert (answer["logos_indexed"], answer["logos_stored"], answer["logos_waiting"]) == (0, 0, 0)
    assert (answer["generation"], answer["error"], answer["indexes"]) == (None, None, [INDEX])


def test_status_of_a_broken_index_has_the_error_without_paths(open_app: Callable[..., Any], generation: Path) -> None:
    (generation / "index.bin").write_bytes(b"broken")
    client = Client(open_app())
    assert get(client, "").status_code == 503
    answer = get(client, "/status").json
    assert "index.bin" in answer["error"]
    assert "/" not in answer["error"].replace(" / ", "")
    assert (answer["logos_indexed"], answer["logos_waiting"], answer["indexes"]) == (0, 60, [])
    assert get(client, "/map").status_code == 404


def test_unknown_index_has_no_status_and_no_map(client: Client, data_dir: Path) -> None:
    for path in ("/status?index=nope", "/map?index=nope"):
        answer = get(client, path)
        assert (answer.status_code, answer.json["title"]) == (400, "unknown index: nope")


def test_map_is_served_as_soon_as_it_is_drawn(open_app: Callable[..., Any], generation: Path) -> None:
    client = Client(open_app())
    missing = get(client, "/map")
    assert (missing.status_code, missing.json["title"]) == (404, "no map")
    draw(generation)
    answer = get(client, "/map")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["generation"] == generation.name
    assert sorted(answer.json["logo_ids"]) == sorted(INDEXED)
    assert len(answer.json["x"]) == len(answer.json["y"]) == 40
    assert get(client, "/status").json["map_points"] == 40


def test_map_is_sent_once_and_compressed_if_the_client_accepts_gzip(
    open_app: Callable[..., Any], generation: Path
) -> None:
    draw(generation)
    client = Client(open_app())
    plain, compressed = get(client, "/map"), get(client, "/map", Accept_Encoding="gzip, br")
    assert "Content-Encoding" not in plain.headers
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert compressed.content == (generation / MAP_NAME).read_bytes()
    assert json.loads(gzip.decompress(compressed.content)) == plain.json
    again = get(client, "/map", Accept_Encoding="gzip", If_None_Match=compressed.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")


def test_each_generation_has_its_own_map(open_app: Callable[..., Any], generation: Path, data_dir: Path) -> None:
    draw(generation)
    client = Client(open_app())
    etag = get(client, "/map").headers["ETag"]
    ids, vectors = np.array(INDEXED), np.asarray(VECTORS[:40], np.float32)
    newer = publish(
        data_dir / INDEX, lambda directory: build_index(directory, [(ids, vectors)], dim=1280, rows=40, trees=1)
    )
    wait_until(lambda: get(client, "/status").json["generation"] == newer.name)
    assert get(client, "/map").status_code == 404
    draw(newer)
    answer = get(client, "/map", If_None_Match=etag)
    assert (answer.status_code, answer.json["generation"]) == (200, newer.name)


def test_damaged_map_counts_as_missing_and_searches_still_work(
    open_app: Callable[..., Any], generation: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (generation / MAP_NAME).write_bytes(b"damaged")
    client = Client(open_app())
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            answer = get(client, "/map")
            assert (answer.status_code, answer.json["title"]) == (404, "no map")
            assert "damaged" in answer.json["description"]
            assert get(client, "/status").json["map_points"] == 0
            assert get(client, "/3").json["count"] == 40
    assert sum(MAP_NAME in record.message for record in caplog.records) == 1
    draw(generation)
    assert get(client, "/map").status_code == 200


def test_status_has_the_scale_of_distances_if_the_bundled_model_made_the_vectors(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path / "data"))
    scale = app.parts.embedder.description.distances
    assert scale is not None
    status = get(Client(app), "/status").json
    assert status["model"] == "efficientnet-lite0"
    assert status["distances"] == {"alike": scale.alike, "different": scale.different}
    assert 0 < scale.alike < 2
