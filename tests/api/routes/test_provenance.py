"""`GET /provenance`: the photos that logos were cut from, and their boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from embeddings.store.provenance import Provenance
from tests.api.conftest import VECTORS
from tests.photo_server import PhotoServer

Client = falcon.testing.TestClient
BOX = [0.1, 1 / 3, 0.6, 0.7000000000000001]


def ask(client: Client, query: str) -> falcon.testing.Result:
    return client.simulate_get("/api/v1/ann/provenance", query_string=query)


@pytest.fixture
def app(open_app: Callable[..., Any], tmp_path: Path) -> Any:
    return open_app(data_dir=tmp_path / "new")


def test_added_logo_has_its_url_and_box(app: Any, photos: PhotoServer) -> None:
    client, url = Client(app), photos.url("/1.jpg")
    body = {"image_url": url, "logos": [{"id": 2**62, "bounding_box": BOX}, {"id": 7, "bounding_box": [0, 0, 1, 1]}]}
    assert client.simulate_post("/api/v1/ann/add", json=body).json == {"added": 2}
    assert ask(client, f"logo_ids=7,{2**62}").json == {
        "provenance": {
            "7": {"image_url": url, "bounding_box": [0, 0, 1, 1]},
            str(2**62): {"image_url": url, "bounding_box": BOX},
        },
        "count": 2,
    }
    app.parts.store.delete([7])
    assert list(ask(client, f"logo_ids=7%2C{2**62}").json["provenance"]) == [str(2**62)]


def test_unknown_logos_are_left_out(app: Any) -> None:
    app.parts.store.append([1, 2], VECTORS[:2], [None, Provenance("https://example.org/ü.jpg", (0, 0, 1, 1))])
    answer = ask(Client(app), f"logo_ids=1,2,2,3,-1,0,{2**63},{2**80}").json
    assert answer["provenance"] == {"2": {"image_url": "https://example.org/ü.jpg", "bounding_box": [0, 0, 1, 1]}}
    assert answer["count"] == 1


def test_logos_of_the_original_have_no_provenance(client: Client) -> None:
    assert ask(client, "logo_ids=3,1001").json == {"provenance": {}, "count": 0}


@pytest.mark.parametrize("query", ["", "logo_ids=", "logo_ids=one", "logo_ids=1,,2", "logo_ids=1,2,3"])
def test_invalid_ids_are_400(open_app: Callable[..., Any], query: str) -> None:
    answer = ask(Client(open_app(max_batch_logos=2)), query)
    assert answer.status_code == 400
    assert answer.json["title"]
