"""`POST /add_embeddings`: logos that are sent with their vectors, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import falcon.testing
import numpy as np
import pytest

from api.app import AnnApp
from embeddings.collection.directory import CollectionDirectory
from tests.api.routes.clip import CLIP, IDS, VECTORS, add, apps_on, as_base64, assert_neighbours, by_cosine, get, logos

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


def test_replacing_gives_a_logo_another_vector(client: Client, directory: CollectionDirectory) -> None:
    directory.create(CLIP)
    add(client, logos())
    changed = VECTORS.copy()
    changed[1] = -VECTORS[0]
    assert add(client, logos(IDS[:2], changed[:2]), "index=clip").json == {"added": 0}
    for misspelt in ("replace=", "replace=yes"):
        refused = add(client, logos(IDS[:2], changed[:2]), f"index=clip&{misspelt}")
        assert (refused.status_code, refused.json["title"]) == (400, "Invalid parameter")
    assert add(client, logos(IDS[:2], changed[:2]), "index=clip&replace=true").json == {"added": 0}
    assert get(client, "/count?index=clip") == {"count": 5}
    expected = [pair for pair in by_cosine(VECTORS[0], changed) if pair[0] != 3]
    assert_neighbours(get(client, "/3?index=clip"), expected)
    assert expected[-1][0] == 7  # the opposite direction


@pytest.mark.parametrize(("sent", "kept"), [*((n, n) for n in range(1, 9)), (6.0, 6), (None, None)], ids=repr)
def test_how_viewers_turn_the_photo_is_kept(
    client: Client, directory: CollectionDirectory, sent: float | None, kept: int | None
) -> None:
    directory.create(CLIP)
    url = "https://images.example.org/1.jpg"
    turned, unknown = (logo | {"image_url": url} for logo in logos(IDS[:2], VECTORS[:2]))
    assert add(client, [turned | {"orientation": sent}, unknown]).json == {"added": 2}
    found = get(client, "/provenance?logo_ids=3,7&index=clip")["provenance"]
    assert {logo_id: of_logo["orientation"] for logo_id, of_logo in found.items()} == {"3": kept, "7": None}


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"id": 1, "embedding": [0.0] * 8}, "invalid embedding", "logo 1: all values are 0"),
    ({"id": 1, "embedding": [0.5] * 7}, "invalid embedding", "logo 1: 7 values; 8 are expected"),
    ({"id": 1, "embedding": [1e39] * 8}, "invalid embedding", "too large for float32"),
    ({"id": 1, "embedding": ["a"] * 8}, "invalid embedding", "not a number"),
    ({"id": 1, "embedding": "AAAA"}, "invalid embedding", "3 bytes after base64; 8 float32 values take 32"),
    ({"id": 1, "embedding": as_base64(np.full(8, np.nan, np.float32))}, "invalid embedding", "is NaN"),
    ({"id": 1, "embedding": 1}, "invalid request", "body.logos[0].embedding"),
    ({"id": 1}, "invalid request", "body.logos[0]"),
    ({"id": 0, "embedding": [1] * 8}, "invalid request", "body.logos[0].id"),
    ({"id": 2.0**60, "embedding": [1] * 8}, "invalid request", "without a decimal point"),
    ({"id": 1, "embedding": [1] * 8, "colour": "red"}, "invalid request", "colour"),
    ({"id": 1, "embedding": [1] * 8, "image_url": "a", "bounding_box": [1, 0, 0, 1]}, "invalid image", "logo 1"),
    ({"id": 1, "embedding": [1] * 8, "image_url": "a", "orientation": 0}, "invalid request", "logos[0].orientation: 0"),
    ({"id": 1, "embedding": [1] * 8, "image_url": "a", "orientation": 9}, "invalid request", "logos[0].orientation: 9"),
    ({"id": 1, "embedding": [1] * 8, "orientation": 6.5}, "invalid request", "logos[0].orientation: 6.5"),
    ({"id": 1, "embedding": [1] * 8, "orientation": "6"}, "invalid request", 'logos[0].orientation: "6"'),
    ({"id": 1, "embedding": [1] * 8, "orientation": True}, "invalid request", "logos[0].orientation: true"),
]


@pytest.mark.parametrize(("logo", "title", "description"), WRONG)
def test_a_logo_that_cannot_be_used_is_named_and_nothing_is_stored(
    client: Client, directory: CollectionDirectory, logo: dict[str, Any], title: str, description: str
) -> None:
    directory.create(CLIP)
    answer = add(client, [*logos([5], VECTORS[:1]), logo] if title == "invalid embedding" else [logo])
    assert (answer.status_code, answer.json["title"]) == (400, title)
    assert description in answer.json["description"]
    assert get(client, "/count?index=clip") == {"count": 0}


def test_limits_are_settings(open_app: Callable[..., AnnApp], directory: CollectionDirectory) -> None:
    directory.create(CLIP)
    client = Client(open_app(max_add_logos=2, max_embeddings_bytes=500))
    assert add(client, logos(IDS[:3], VECTORS[:3] * 0 + 1)).json["title"] == "too many logos"
    assert add(client, logos() * 2).status_code == 413
    assert add(client, logos(IDS[:2], VECTORS[:2])).json == {"added": 2}


def test_the_default_collection_takes_vectors_too(client: Client) -> None:
    vector = np.random.default_rng(2).normal(size=(1, 1280)).astype(np.float32)
    assert add(client, logos([9], vector), "").json == {"added": 1}
    assert get(client, "/stored") == {"stored": [9]}
    assert add(client, logos([9], vector), "index=nope").json["title"] == "unknown index: nope"
