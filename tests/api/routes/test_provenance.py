"""`GET /provenance`: the photos that logos were cut from, and their boxes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon.testing
import pytest
from PIL import ExifTags, Image

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
            "7": {"image_url": url, "bounding_box": [0, 0, 1, 1], "orientation": 1},
            str(2**62): {"image_url": url, "bounding_box": BOX, "orientation": 1},
        },
        "count": 2,
    }
    app.parts.store.delete([7])
    assert list(ask(client, f"logo_ids=7%2C{2**62}").json["provenance"]) == [str(2**62)]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_how_viewers_turn_the_photo_is_known_of_added_logos(app: Any, image_format: str, orientation: int) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = orientation
    Image.radial_gradient("L").convert("RGB").save(file, image_format, exif=exif)
    client = Client(app)
    with PhotoServer({"/turned": file.getvalue()}) as photos:
        body = {"image_url": photos.url("/turned"), "logos": [{"id": 7, "bounding_box": BOX}]}
        assert client.simulate_post("/api/v1/ann/add", json=body).json == {"added": 1}
    assert ask(client, "logo_ids=7").json["provenance"]["7"]["orientation"] == orientation


def test_what_is_not_known_is_left_out(app: Any) -> None:
    app.parts.store.append([1, 2], VECTORS[:2], [None, Provenance("https://example.org/ü.jpg", (0, 0, 1, 1))])
    answer = ask(Client(app), f"logo_ids=1,2,2,3,-1,0,{2**63},{2**80}").json
    assert answer["provenance"] == {
        "2": {"image_url": "https://example.org/ü.jpg", "bounding_box": [0, 0, 1, 1], "orientation": None}
    }
    assert answer["count"] == 1


def test_logos_of_the_original_have_no_provenance(client: Client) -> None:
    assert ask(client, "logo_ids=3,1001").json == {"provenance": {}, "count": 0}


@pytest.mark.parametrize("query", ["", "logo_ids=", "logo_ids=one", "logo_ids=1,,2", "logo_ids=1,2,3"])
def test_invalid_ids_are_400(open_app: Callable[..., Any], query: str) -> None:
    answer = ask(Client(open_app(max_batch_logos=2)), query)
    assert answer.status_code == 400
    assert answer.json["title"]
