"""`POST /from_url`: search for a logo on an image that the service downloads."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import falcon.testing
import pytest
from PIL import ExifTags, Image

from api.app import AnnApp
from tests.api.conftest import LOGO_IDS
from tests.embeddings.hostile_server import HostileServer, reply
from tests.photo_server import PhotoServer, photo

Client = falcon.testing.TestClient
A = "/api/v1/ann"
BOX = [0.1, 0.1, 0.6, 0.6]


def ask(client: Client, body: Any) -> falcon.testing.Result:
    return client.simulate_post(f"{A}/from_url", json=body)


def test_results_are_those_of_the_image_itself(client: Client, photos: PhotoServer) -> None:
    photos.photos["/this.jpg"] = sent = photo(3)
    answer = ask(client, {"image_url": photos.url("/this.jpg"), "bounding_box": BOX, "count": 5})
    query = f"count=5&bounding_box={','.join(map(str, BOX))}"
    headers = {"Content-Type": "image/jpeg"}
    same = client.simulate_post(f"{A}/from_image", body=sent, headers=headers, query_string=query)
    assert (answer.status_code, answer.json) == (200, same.json)
    assert ask(client, {"image_url": photos.url("/this.jpg")}).json["count"] == 40
    assert client.simulate_get(f"{A}/count").json == {"count": len(LOGO_IDS)}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_how_viewers_turn_the_image_is_told(client: Client, photos: PhotoServer, orientation: int) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (40, 30), "red").save(file, "JPEG", exif=exif)
    photos.photos["/turned.jpg"] = file.getvalue()
    assert ask(client, {"image_url": photos.url("/turned.jpg")}).json["orientation"] == orientation
    headers = {"Content-Type": "image/jpeg"}
    sent = client.simulate_post(f"{A}/from_image", body=file.getvalue(), headers=headers)
    assert sent.json["orientation"] == orientation


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"image_url": "file:///etc/passwd"}, "invalid image"),
        ({"bounding_box": [0.5, 0.5, 0.1, 0.1]}, "invalid image"),
        ({"bounding_box": [0, 0, 1]}, "invalid request"),
        ({"image_url": 1}, "invalid request"),
        ({"count": 501}, "invalid request"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(
    client: Client, photos: PhotoServer, changes: dict[str, Any], title: str
) -> None:
    answer = ask(client, {"image_url": photos.url("/photo-000.jpg"), **changes})
    assert (answer.status_code, answer.json["title"]) == (400, title)
    assert photos.requests == 0


def test_nothing_is_downloaded_from_where_an_add_may_not(open_app: Callable[..., AnnApp], photos: PhotoServer) -> None:
    client = Client(open_app(allow_private_image_hosts=False))
    answer = ask(client, {"image_url": photos.url("/this.jpg")})
    assert (answer.status_code, answer.json["title"]) == (400, "invalid image")
    assert photos.requests == 0


def test_an_image_whose_host_says_later_may_be_searched_later(client: Client) -> None:
    with HostileServer({"/1.jpg": reply(b"", "Retry-After: 77", status="503 Unavailable")}) as server:
        answer = ask(client, {"image_url": server.url("/1.jpg")})
        assert (answer.status_code, answer.json["title"]) == (503, "image host busy")
        assert answer.headers["retry-after"] == "77"
        server.behaviours["/1.jpg"] = reply(photo(1))
        assert ask(client, {"image_url": server.url("/1.jpg")}).json["count"] == 40
