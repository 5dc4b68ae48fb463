"""`?index=` names a collection with a store of its own; requests that name none are answered as ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import falcon.testing
import numpy as np
import pytest

from api.app import AnnApp
from embeddings.collection.definition import CollectionDefinition
from embeddings.collection.directory import CollectionDirectory
from embeddings.errors import CollectionError
from embeddings.store.store import EmbeddingStore
from index.build import BuildRequest, build
from index.unit_logos import UnitLogos
from runtime.progress import logged_progress
from tests.api.routes.clip import API, CLIP, IDS, VECTORS, add, apps_on, assert_neighbours, by_cosine, get, logos
from tests.waiting import wait_until

Client = falcon.testing.TestClient


@pytest.fixture
def open_app(tmp_path: Path) -> Iterator[Callable[..., AnnApp]]:
    with apps_on(tmp_path) as open_one:
        yield open_one


@pytest.fixture
def client(open_app: Callable[..., AnnApp]) -> Client:
    return Client(open_app(allow_delete=True))


@pytest.fixture
def directory(tmp_path: Path) -> CollectionDirectory:
    return CollectionDirectory(tmp_path)


def test_a_collection_created_while_the_service_runs_takes_vectors_and_finds_them_at_once(
    client: Client, directory: CollectionDirectory
) -> None:
    assert add(client, logos()).json["title"] == "unknown index: clip"
    directory.create(CLIP)
    assert add(client, logos()).json == {"added": 5}
    assert add(client, logos()).json == {"added": 0}
    assert get(client, "/count?index=clip") == {"count": 5}
    assert get(client, "/stored?index=clip") == {"stored": IDS}
    answer = client.simulate_post(f"{API}/from_embedding?index=clip", json={"embedding": [3.0] * 8, "count": 5})
    assert_neighbours(answer.json, by_cosine(np.full(8, 3, np.float32)))
    assert {row["logo_id"] for row in get(client, "/7?index=clip&count=9")["results"]} == {*IDS} - {7}
    assert get(client, "/count") == {"count": 0}
    assert client.simulate_get(f"{API}/7").status_code == 404


@pytest.mark.parametrize("no_reduce", [False, True])
def test_an_index_of_a_cosine_collection_measures_by_cosine(
    client: Client, directory: CollectionDirectory, tmp_path: Path, no_reduce: bool
) -> None:
    directory.create(CLIP)
    add(client, logos())
    with EmbeddingStore(directory.store_path("clip"), writable=False) as store:
        assert store.get(7).tolist() == VECTORS[1].tolist()  # as it was given
        build(BuildRequest(tmp_path / "clip", no_reduce=no_reduce, trees=5), UnitLogos(store), _silent)
    wait_until(lambda: get(client, "/status?index=clip")["logos_indexed"] == 5)
    assert_neighbours(get(client, "/7?index=clip"), by_cosine(VECTORS[1]))
    batch = get(client, "/batch?logo_ids=3,1,5&index=clip&count=2")
    assert batch["count"] == 2
    assert batch["results"]["3"][0] == {"distance": 0.0, "logo_id": 3}
    assert get(client, "?index=clip&count=3")["count"] == 3
    status = get(client, "/status?index=clip")
    assert (status["dim"], status["metric"], status["model"], status["logos_waiting"]) == (8, "cosine", "", 0)
    assert status["indexes"] == ["clip", "efficientnet-b0"]
    assert get(client, "/status")["indexes"] == ["clip", "efficientnet-b0"]


def _silent(doing: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(logged_progress(doing, total))


def test_new_logos_wait_for_the_index_where_the_collection_says_so(
    client: Client, directory: CollectionDirectory
) -> None:
    directory.create(CollectionDefinition("slow", 8, fresh=False))
    assert add(client, logos(), "index=slow").json == {"added": 5}
    assert get(client, "/7?index=slow") == {"results": [], "count": 0}


def test_logos_of_a_collection_are_deleted_and_their_photos_known(
    client: Client, directory: CollectionDirectory
) -> None:
    directory.create(CLIP)
    url, box = "https://images.example.org/1.jpg", [0.1, 0.2, 0.3, 0.4]
    sent = logos()
    sent[0] |= {"image_url": url, "bounding_box": box}
    sent[1] |= {"image_url": url}
    sent[2] |= {"bounding_box": box}  # of no photo
    assert add(client, sent).json == {"added": 5}
    found = get(client, "/provenance?logo_ids=3,7,11&index=clip")["provenance"]
    assert {key: (value["image_url"], value["bounding_box"]) for key, value in found.items()} == {
        "3": (url, box),
        "7": (url, [0, 0, 1, 1]),
    }
    assert client.simulate_delete(f"{API}/3").status_code == 404
    assert client.simulate_delete(f"{API}/3?index=clip").json == {"deleted": 1}
    assert get(client, "/stored?index=clip") == {"stored": IDS[1:]}


def test_a_collection_without_an_embedder_says_how_to_add_vectors(
    client: Client, directory: CollectionDirectory
) -> None:
    directory.create(CLIP)
    body = {"image_url": "http://127.0.0.1:1/a.jpg", "logos": [{"id": 1, "bounding_box": [0, 0, 1, 1]}]}
    answers = [
        client.simulate_post(f"{API}/add?index=clip", json=body),
        client.simulate_post(f"{API}/from_image?index=clip", body=b"x", headers={"Content-Type": "image/png"}),
    ]
    for answer, route in zip(answers, ("add_embeddings", "from_embedding"), strict=True):
        assert (answer.status_code, answer.json["title"]) == (400, "no embedder")
        assert f"8 values with POST /api/v1/ann/{route}?index=clip" in answer.json["description"]


def test_other_names_are_those_of_the_default_store(client: Client, directory: CollectionDirectory) -> None:
    directory.create(CLIP)
    for name in ("nope", "efficientnet-b0", "..", "Clip", "", "a/b", "x" * 300):
        assert get(client, f"/count?index={name}") == {"count": 0}
    assert client.simulate_get(f"{API}/7?index=..").json["title"] == "unknown index: .."


def test_a_dropped_collection_is_gone_for_a_running_service(client: Client, directory: CollectionDirectory) -> None:
    directory.create(CLIP)
    add(client, logos())
    directory.drop("clip")
    assert add(client, logos()).json["title"] == "unknown index: clip"
    directory.create(CollectionDefinition("clip", 8))
    assert get(client, "/count?index=clip") == {"count": 0}
    assert get(client, "/status?index=clip")["metric"] == "euclidean"


def test_a_collection_with_an_embedder_takes_images(client: Client, directory: CollectionDirectory) -> None:
    directory.create(CollectionDefinition("lite", 1280, "cosine", model="efficientnet-lite0"))
    body: dict[str, Any] = {"image_url": "http://127.0.0.1:1/a.jpg", "logos": []}
    assert client.simulate_post(f"{API}/add?index=lite", json=body).json == {"added": 0}
    assert get(client, "/status?index=lite")["model"] == "efficientnet-lite0"


@pytest.mark.parametrize("model", [{"model": "efficientnet-b0"}, {"dim": 12, "model": "efficientnet-lite0"}])
def test_a_collection_of_another_model_says_so(
    client: Client, directory: CollectionDirectory, model: dict[str, Any]
) -> None:
    directory.create(CollectionDefinition("other", **{"dim": 1280, **model}))
    answer = client.simulate_get(f"{API}/count?index=other")
    assert (answer.status_code, answer.json["title"]) == (503, "collection unavailable")


def test_the_default_index_cannot_be_a_collection(
    open_app: Callable[..., AnnApp], directory: CollectionDirectory
) -> None:
    directory.create(CLIP)
    with pytest.raises(CollectionError, match=r"\?index=clip"):
        open_app(default_index="clip")


def test_metrics_tell_of_each_collection(client: Client, directory: CollectionDirectory) -> None:
    directory.create(CLIP)
    add(client, logos())
    text = client.simulate_get("/metrics").text
    for line in (
        'robotoff_ann_logos_stored{index="clip"} 5.0',
        'robotoff_ann_logos_stored{index="efficientnet-b0"} 0.0',
        'robotoff_ann_store_rows_left{index="clip"} 45.0',
        'robotoff_ann_logos_indexed{index="clip"} 0.0',
        'robotoff_ann_logos_waiting{index="clip"} 5.0',
        'robotoff_ann_index_broken{index="clip"} 0.0',
    ):
        assert line in text.splitlines()


def test_readiness_tells_of_collections_but_does_not_depend_on_them(
    client: Client, directory: CollectionDirectory
) -> None:
    assert "collections" not in client.simulate_get("/readyz").json
    directory.create(CLIP)
    directory.create(CollectionDefinition("broken", 8))
    directory.store_path("broken").write_bytes(b"no store")
    ready = client.simulate_get("/readyz")
    assert (ready.status_code, ready.json["status"]) == (200, "ready")
    collections = ready.json["collections"]
    assert collections["clip"] == {"ok": True, "detail": "0 logos, room for 50 more; none indexed"}
    assert not collections["broken"]["ok"]
    assert str(directory.path("broken")) not in collections["broken"]["detail"]
    health = client.simulate_get("/api/v1/health")
    failed = [result["checker"] for result in health.json["results"] if not result["passed"]]
    assert (health.status_code, failed) == (500, ["collection broken"])
    lines = client.simulate_get("/metrics").text.splitlines()
    assert 'robotoff_ann_index_broken{index="broken"} 1.0' in lines
    assert "robotoff_ann_ready 1.0" in lines
