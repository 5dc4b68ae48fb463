"""`POST /from_image`: search for a logo on an image that is sent."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any

import falcon.testing
import numpy as np
import pytest

from api.journeys.neighbour_search import NeighbourSearch
from index.protocol import Neighbours
from tests.api.conftest import LOGO_IDS
from tests.photo_server import PhotoServer, photo
from tests.waiting import PATIENCE, wait_until

Client = falcon.testing.TestClient
BOX = [0.1, 0.1, 0.6, 0.6]
JPEG = {"Content-Type": "image/jpeg"}


def ask(client: Client, body: bytes, query: str = "", headers: dict[str, str] = JPEG) -> falcon.testing.Result:
    return client.simulate_post("/api/v1/ann/from_image", body=body, headers=headers, query_string=query)


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record the vectors that are searched for."""
    vectors: list[Any] = []
    of_vector = NeighbourSearch.of_vector

    def watched(self: NeighbourSearch, vector: Any, count: int, index_name: str | None) -> Neighbours:
        vectors.append(vector)
        return of_vector(self, vector, count, index_name)

    monkeypatch.setattr(NeighbourSearch, "of_vector", watched)
    return vectors


@pytest.mark.parametrize("size", [(320, 240), (2400, 1800)], ids=["small", "large"])
@pytest.mark.parametrize(("query", "box"), [("", [0, 0, 1, 1]), ("bounding_box=0.1,0.1,0.6,0.6", BOX)])
def test_searched_vector_is_the_one_that_an_add_stores(
    open_app: Any, searched: list[Any], photos: PhotoServer, size: tuple[int, int], query: str, box: list[float]
) -> None:
    app = open_app()
    client = Client(app)
    photos.photos["/this.jpg"] = photo(3, size)
    body = {"image_url": photos.url("/this.jpg"), "logos": [{"id": 900, "bounding_box": box}]}
    assert client.simulate_post("/api/v1/ann/add", json=body).json == {"added": 1}
    answer = ask(client, photos.photos["/this.jpg"], f"{query}&count=5")
    assert np.array_equal(searched[0], app.parts.store.get(900))
    assert answer.json["count"] == 5
    of_stored = client.simulate_get("/api/v1/ann/900?count=5").json
    assert answer.json == of_stored | {"orientation": 1}


def test_nothing_is_stored_or_fetched(client: Client, photos: PhotoServer) -> None:
    assert ask(client, photo()).json["count"] == 40
    assert client.simulate_get("/api/v1/ann/count").json == {"count": len(LOGO_IDS)}
    assert photos.requests == 0


@pytest.mark.parametrize("commas", [",", "%2C"])
def test_box_may_have_encoded_commas(client: Client, searched: list[Any], commas: str) -> None:
    ask(client, photo(1), "bounding_box=" + commas.join("0.1 0.1 0.6 0.6".split()))
    ask(client, photo(1), "bounding_box=0.1,0.1,0.6,0.6")
    assert np.array_equal(*searched)


@pytest.mark.parametrize(
    ("query", "description"),
    [
        ("bounding_box=0,0,1", "It takes four numbers"),
        ("bounding_box=0,0,1,one", "It takes four numbers"),
        ("bounding_box=", "It takes four numbers"),
        ("bounding_box=0,0,1,nan", "The bounding box is not finite"),
        ("bounding_box=0.5,0,0.5,1", "The bounding box is empty or inverted"),
        ("bounding_box=2,2,3,3", "The bounding box holds no pixel of the image"),
        ("bounding_box=-9999,-9999,9999,9999", "The bounding box selects more than"),
        ("count=0", "count"),
        ("index=nope", "nope"),
    ],
)
def test_invalid_parameters_are_400_and_the_error_says_why(client: Client, query: str, description: str) -> None:
    answer = ask(client, photo(), query)
    assert answer.status_code == 400
    assert description in answer.json["description"]


@pytest.mark.parametrize("body", [b"", b"no image", photo()[:500]], ids=["empty", "text", "cut off"])
def test_body_that_is_not_an_image_is_400(client: Client, body: bytes) -> None:
    answer = ask(client, body)
    assert (answer.status_code, answer.json["title"]) == (400, "invalid image")


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"}, {"Content-Type": "imagery/png"}])
def test_body_without_the_content_type_of_an_image_is_415(client: Client, headers: dict[str, str]) -> None:
    answer = ask(client, photo(), headers=headers)
    assert (answer.status_code, answer.json["title"]) == (415, "not an image")


def test_images_have_a_larger_limit_than_other_bodies(open_app: Any) -> None:
    body = photo(1)
    client = Client(open_app(max_body_bytes=10, image_max_bytes=len(body)))
    assert ask(client, body).status_code == 200
    answer = ask(client, body + b"x")
    assert (answer.status_code, answer.json["title"]) == (413, "body too large")
    assert f"{len(body)} are allowed" in answer.json["description"]
    assert client.simulate_post("/api/v1/ann/from_embedding", json={"embedding": [1, 2]}).status_code == 413


def test_image_of_too_many_pixels_is_400(open_app: Any) -> None:
    answer = ask(Client(open_app(image_max_pixels=1000)), photo())
    assert answer.status_code == 400
    assert "too large" in answer.json["description"]


def test_queries_by_image_count_with_adds_and_leave_threads_for_queries(open_app: Any, monkeypatch: Any) -> None:
    app = open_app(add_concurrency=1)
    client = Client(app)
    go, started = threading.Event(), threading.Event()
    embed = type(app.parts.embedder).embed

    def slowly(self: Any, crops: Any) -> Any:
        started.set()
        go.wait(PATIENCE)
        return embed(self, crops)

    monkeypatch.setattr(type(app.parts.embedder), "embed", slowly)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(ask, client, photo())
        try:
            wait_until(started.is_set)
            refused = ask(client, photo())
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert "queries by image" in refused.json["description"]
            assert client.simulate_get("/api/v1/ann/3").status_code == 200
        finally:
            go.set()
        assert first.result().status_code == 200
    assert ask(client, photo()).status_code == 200
