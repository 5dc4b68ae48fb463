"""`POST /add`: from the URL of an image to rows of the store."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path
from typing import Any

import falcon.testing
import numpy as np
import pytest

from embeddings.store.provenance import Provenance
from tests.api.conftest import LOGO_IDS
from tests.embeddings.hostile_server import HostileServer, reply
from tests.photo_server import PhotoServer, photo
from tests.waiting import wait_until
from version import VERSION

Client = falcon.testing.TestClient
BOX = [0.1, 0.1, 0.6, 0.6]


def add(client: Client, url: str, *logos: tuple[Any, Any]) -> falcon.testing.Result:
    body = {"image_url": url, "logos": [{"id": logo_id, "bounding_box": box} for logo_id, box in logos]}
    return client.simulate_post("/api/v1/ann/add", json=body)


def count(client: Client) -> int:
    return int(client.simulate_get("/api/v1/ann/count").json["count"])


def test_added_logo_is_found_at_once(client: Client, photos: PhotoServer) -> None:
    assert add(client, photos.url("/1.jpg"), (900, BOX), (901, [0, 0, 1, 1])).json == {"added": 2}
    assert client.simulate_get("/api/v1/ann/900?count=3").json["count"] == 3
    assert client.simulate_get("/api/v1/ann/batch?logo_ids=901,3").json["count"] == 2
    assert client.simulate_get("/api/v1/ann/stored").json["stored"] == [*LOGO_IDS, 900, 901]


def test_stored_vector_is_the_embedding_of_the_crop_alone(open_app: Any, photos: PhotoServer) -> None:
    app = open_app()
    client = Client(app)
    add(client, photos.url("/1.jpg"), (900, BOX))
    add(client, photos.url("/1.jpg"), (901, [0, 0, 1, 1]), (902, BOX))
    assert np.array_equal(app.parts.store.get(900), app.parts.store.get(902))
    assert not np.allclose(app.parts.store.get(900), app.parts.store.get(901))


def test_store_keeps_the_provenance_of_a_logo(open_app: Any, photos: PhotoServer) -> None:
    app = open_app()
    whole = [0, 0, 1, 1]
    add(Client(app), photos.url("/1.jpg"), (900, BOX), (901, whole), (900, whole))
    add(Client(app), photos.url("/2.jpg?again"), (901, BOX))
    found = {
        900: Provenance(photos.url("/1.jpg"), (0.1, 0.1, 0.6, 0.6), 1),
        901: Provenance(photos.url("/1.jpg"), (0.0, 0.0, 1.0, 1.0), 1),
    }
    assert app.parts.store.provenance([900, 901, *LOGO_IDS]) == found


def test_logo_with_too_long_a_url_is_stored_without_provenance(open_app: Any, photos: PhotoServer) -> None:
    app = open_app()
    photos.photos[long := "/1.jpg?" + "x" * 500] = photo()
    assert add(Client(app), photos.url(long), (900, BOX)).json == {"added": 1}
    assert app.parts.store.provenance([900]) == {}


def test_stored_logos_are_skipped_and_nothing_is_fetched(client: Client, photos: PhotoServer) -> None:
    assert add(client, photos.url("/1.jpg"), (3, BOX), (1001.0, BOX)).json == {"added": 0}
    assert add(client, "http://127.0.0.1:1/", (3, BOX)).json == {"added": 0}
    assert add(client, "no address at all").json == {"added": 0}
    assert photos.requests == 0
    assert add(client, photos.url("/1.jpg"), (3, BOX), (900, BOX)).json == {"added": 1}


def add_partially(client: Client, url: str, *logos: tuple[Any, Any]) -> falcon.testing.Result:
    body = {"image_url": url, "logos": [{"id": logo_id, "bounding_box": box} for logo_id, box in logos]}
    return client.simulate_post("/api/v1/ann/add?partial=true", json=body)


def test_good_boxes_are_stored_beside_bad_ones_where_that_is_asked_for(open_app: Any, photos: PhotoServer) -> None:
    app = open_app()
    client = Client(app)
    inverted, outside = [0.6, 0.1, 0.1, 0.6], [1.1, 1.1, 1.2, 1.2]
    logos = (900, inverted), (901, BOX), (902, outside), (3, inverted), (903, [0, 0, 1, 1]), (901, inverted)
    answer = add_partially(client, photos.url("/1.jpg"), *logos)
    assert answer.status_code == 200
    assert answer.json["added"] == 2
    assert [row["id"] for row in answer.json["rejected"]] == [900, 902]
    for row, refused in zip(answer.json["rejected"], ((900, inverted), (902, outside)), strict=True):
        alone = add(client, photos.url("/1.jpg"), refused)
        assert alone.status_code == 400
        assert row == {"id": refused[0], **alone.json}
    assert client.simulate_get("/api/v1/ann/stored").json["stored"] == [*LOGO_IDS, 901, 903]
    assert app.parts.store.provenance([901])[901].bounding_box == tuple(BOX)
    add(client, photos.url("/1.jpg"), (904, BOX))
    assert np.array_equal(app.parts.store.get(901), app.parts.store.get(904))


def test_a_partial_addition_is_told_when_nothing_can_be_stored(client: Client, photos: PhotoServer) -> None:
    inverted, outside = [0.6, 0.1, 0.1, 0.6], [1.1, 1.1, 1.2, 1.2]
    answer = add_partially(client, "http://127.0.0.1:1/", (900, inverted))
    assert (answer.json["added"], [row["id"] for row in answer.json["rejected"]]) == (0, [900])
    answer = add_partially(client, photos.url("/1.jpg"), (901, outside))
    assert (answer.json["added"], [row["id"] for row in answer.json["rejected"]]) == (0, [901])
    assert add_partially(client, "no address at all", (3, BOX)).json == {"added": 0, "rejected": []}
    assert add_partially(client, photos.url("/missing.jpg"), (902, BOX)).json["title"] == "invalid image"
    assert add_partially(client, photos.url("/1.jpg"), (903, [0, 1])).json["title"] == "invalid request"
    assert count(client) == len(LOGO_IDS)


def test_partial_takes_true_or_false(client: Client, photos: PhotoServer) -> None:
    body = {"image_url": photos.url("/1.jpg"), "logos": [{"id": 900, "bounding_box": BOX}]}
    answer = client.simulate_post("/api/v1/ann/add?partial=yes", json=body)
    assert answer.status_code == 400
    assert "partial" in answer.json["description"]
    assert client.simulate_post("/api/v1/ann/add?partial=false", json=body).json == {"added": 1}


def test_id_named_twice_is_stored_once_with_its_first_box(open_app: Any, photos: PhotoServer) -> None:
    app = open_app()
    client = Client(app)
    assert add(client, photos.url("/1.jpg"), (900, BOX), (900, [0, 0, 1, 1])).json == {"added": 1}
    add(client, photos.url("/1.jpg"), (901, BOX))
    assert np.array_equal(app.parts.store.get(900), app.parts.store.get(901))


@pytest.mark.parametrize("logo_id", [0, -7, 1.5, "900", None, 2**63, 10**30, True])
def test_id_that_is_not_a_positive_64_bit_integer_is_400(client: Client, photos: PhotoServer, logo_id: Any) -> None:
    answer = add(client, photos.url("/1.jpg"), (logo_id, BOX))
    assert answer.status_code == 400
    assert "logos[0].id" in answer.json["description"]
    assert count(client) == 60


@pytest.mark.parametrize("number", ["9007199254740993.0", "1e18"])
def test_id_that_a_float_cannot_hold_exactly_is_400(client: Client, number: str) -> None:
    body = f'{{"image_url": "x", "logos": [{{"id": {number}, "bounding_box": [0, 0, 1, 1]}}]}}'
    headers = {"Content-Type": "application/json"}
    answer = client.simulate_post("/api/v1/ann/add", body=body.encode(), headers=headers)
    assert answer.status_code == 400
    assert "logos[0].id" in answer.json["description"]


@pytest.mark.parametrize("logo_id", [2**31, 2**32 + 3, 2**63 - 1, 900017.0])
def test_64_bit_ids_are_stored(client: Client, photos: PhotoServer, logo_id: Any) -> None:
    assert add(client, photos.url("/1.jpg"), (logo_id, BOX)).json == {"added": 1}
    assert client.simulate_get(f"/api/v1/ann/{int(logo_id)}").status_code == 200


@pytest.mark.parametrize(
    "box",
    [
        [2, 2, 3, 3],
        [0.5, 0.5, 0.5, 0.5],
        [0.6, 0.6, 0.1, 0.1],
        [10, 10, 100, 100],
        [0, 0, 1e6, 1e6],
        [0, 0, 1e308, 1e308],
    ],
)
def test_unusable_box_names_the_logo_and_stores_nothing(client: Client, photos: PhotoServer, box: Any) -> None:
    answer = add(client, photos.url("/1.jpg"), (900, BOX), (901, box), (902, BOX))
    assert answer.status_code == 400
    assert "901" in answer.json["description"]
    assert count(client) == 60


def test_box_over_the_border_is_accepted(client: Client, photos: PhotoServer) -> None:
    assert (
        add(client, photos.url("/1.jpg"), (900, [0.5, 0.5, 1.5, 1.5]), (901, [-0.5, -0.5, 0.5, 0.5])).json["added"] == 2
    )


@pytest.mark.parametrize(
    "url",
    ["", "nothing", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://127.0.0.1:1/x.jpg", "http://[::1", "http:///x"],
)
def test_image_that_cannot_be_fetched_is_400(client: Client, url: str) -> None:
    answer = add(client, url, (900, BOX))
    assert (answer.status_code, answer.json["title"]) == (400, "invalid image")
    assert count(client) == 60


def test_missing_or_broken_image_is_400(client: Client) -> None:
    with PhotoServer({"/text.jpg": b"<html>", "/empty.jpg": b""}) as server:
        for path in ("/none.jpg", "/text.jpg", "/empty.jpg"):
            assert add(client, server.url(path), (900, BOX)).json["title"] == "invalid image"


def test_private_addresses_are_refused_unless_a_setting_allows_them(open_app: Any, photos: PhotoServer) -> None:
    client = Client(open_app(allow_private_image_hosts=False))
    assert add(client, photos.url("/1.jpg"), (900, BOX)).status_code == 400
    assert photos.requests == 0


@pytest.mark.parametrize(
    "body",
    [
        [1],
        {},
        {"logos": []},
        {"image_url": "x"},
        {"image_url": 1, "logos": []},
        {"image_url": "x", "logos": {}},
        {"image_url": "x", "logos": [5]},
        {"image_url": "x", "logos": [{"id": 3}]},
        {"image_url": "x", "logos": [{"bounding_box": BOX}]},
        {"image_url": "x", "logos": [{"id": 3, "bounding_box": [0, 0, 1]}]},
        {"image_url": "x", "logos": [{"id": 3, "bounding_box": [0, 0, 1, None]}]},
        {"image_url": "x", "logos": [{"id": 3, "bounding_box": ["0", "0", "1", "1"]}]},
    ],
)
def test_invalid_bodies_are_400_and_the_error_says_where(client: Client, body: Any) -> None:
    answer = client.simulate_post("/api/v1/ann/add", json=body)
    assert (answer.status_code, answer.json["title"]) == (400, "invalid request")
    assert answer.json["description"].startswith("body")


def test_too_many_logos_are_refused(open_app: Any, photos: PhotoServer) -> None:
    client = Client(open_app(max_add_logos=2))
    answer = add(client, photos.url("/1.jpg"), *((k, BOX) for k in (900, 901, 902)))
    assert answer.status_code == 400
    assert "2 are allowed" in answer.json["description"]


def test_full_store_refuses_adds_and_says_how_to_grow(open_app: Any, photos: PhotoServer, tmp_path: Path) -> None:
    client = Client(open_app(data_dir=tmp_path / "small", store_capacity=3))
    assert add(client, photos.url("/1.jpg"), (900, BOX), (901, BOX)).json == {"added": 2}
    answer = add(client, photos.url("/1.jpg"), (902, BOX), (903, BOX))
    assert (answer.status_code, answer.json["title"]) == (507, "store full")
    assert "manage.py grow" in answer.json["description"]
    assert count(client) == 2


def test_slow_images_delay_no_other_request_and_too_many_are_503(open_app: Any, photos: PhotoServer) -> None:
    client = Client(open_app(add_concurrency=1))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        slow = pool.submit(add, client, photos.url("/slow"), (900, BOX))
        wait_until(lambda: photos.requests == 1)
        assert client.simulate_get("/api/v1/ann/3?count=1").status_code == 200
        refused = add(client, photos.url("/1.jpg"), (901, BOX))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        photos.release.set()
        assert slow.result().json == {"added": 1}
    assert add(client, photos.url("/1.jpg"), (901, BOX)).json == {"added": 1}


@pytest.mark.parametrize("status", ["429 Too Many Requests", "502 Bad", "503 Unavailable", "504 Gateway Time-out"])
@pytest.mark.parametrize(("told", "seconds"), [(["Retry-After: 77"], "77"), (["Retry-After: 0"], "1"), ([], "10")])
def test_an_image_whose_host_says_later_may_be_added_later(
    open_app: Any, status: str, told: list[str], seconds: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(open_app())
    with HostileServer({"/1.jpg": reply(b"", *told, status=status)}) as server:
        answer = add(client, server.url("/1.jpg"), (900, BOX))
        assert (answer.status_code, answer.json["title"]) == (503, "image host busy")
        assert answer.headers["retry-after"] == seconds
        assert "ERROR" not in {record.levelname for record in caplog.records}
        server.behaviours["/1.jpg"] = reply(photo(1))
        assert add(client, server.url("/1.jpg"), (900, BOX)).json == {"added": 1}


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "410 Gone", "500 Error"])
def test_an_image_that_its_host_does_not_give_stays_400(open_app: Any, status: str) -> None:
    client = Client(open_app())
    with HostileServer({"/1.jpg": reply(b"", "Retry-After: 5", status=status)}) as server:
        answer = add(client, server.url("/1.jpg"), (900, BOX))
    assert (answer.status_code, answer.json["title"]) == (400, "invalid image")
    assert "retry-after" not in answer.headers


def test_images_are_asked_for_by_name_version_and_contact_or_as_the_operator_says(
    open_app: Any, photos: PhotoServer
) -> None:
    add(Client(open_app()), photos.url("/1.jpg"), (900, BOX))
    add(Client(open_app(user_agent="ours/1 (me@example.org)")), photos.url("/1.jpg"), (901, BOX))
    default, ours = (headers["User-Agent"] for headers in photos.headers)
    assert default == f"robotoff-ann/{VERSION} (+https://github.com/openfoodfacts/robotoff-ann)"
    assert ours == "ours/1 (me@example.org)"


def test_many_adds_at_once_store_each_logo_once(open_app: Any, photos: PhotoServer) -> None:
    client = Client(open_app())
    requests = [(photos.url(f"/{k % 5}.jpg"), (900 + k % 12, BOX)) for k in range(36)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        added = sum(answer.json["added"] for answer in pool.map(lambda r: add(client, *r), requests))
    assert added == 12
    assert count(client) == 72


def test_two_apps_on_one_store_find_each_others_logos_at_once(open_app: Any, photos: PhotoServer) -> None:
    one, other = Client(open_app()), Client(open_app())
    add(one, photos.url("/1.jpg"), (900, BOX))
    assert other.simulate_get("/api/v1/ann/900?count=1").status_code == 200
    assert add(other, photos.url("/1.jpg"), (900, BOX)).json == {"added": 0}
    assert count(other) == 61


def test_added_logos_outlive_the_app(open_app: Any, photos: PhotoServer, data_dir: Path) -> None:
    add(Client(open_app()), photos.url("/1.jpg"), (900, BOX))
    again = Client(open_app())
    assert again.simulate_get("/api/v1/ann/stored").json["stored"] == [*LOGO_IDS, 900]
    assert (data_dir / "efficientnet-b0.original.hdf5").is_file()
