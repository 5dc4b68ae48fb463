"""Whatever is sent to the seven routes of the original, the answer is a 200 or a 4xx of the usual form, never a 5xx.

A refused request stores nothing.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import falcon.testing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.app import AnnApp, create_app
from tests.api.conftest import INDEXED, LOGO_IDS, VECTORS
from tests.original_files import write_pair, write_store
from tests.photo_server import PhotoServer
from tests.properties import examples
from tests.settings_with import settings_with

API = "/api/v1/ann"
GETS = [API, f"{API}/3", f"{API}/batch", f"{API}/count", f"{API}/stored"]

integers = st.integers(-(10**20), 10**20) | st.sampled_from(
    [0, 1, 3, 500, 501, 2**31, 2**53, 2**63 - 1, 2**63, 10**400]
)
scalars = st.none() | st.booleans() | integers | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
GOOD_BOXES = [[0, 0, 1, 1], [0.2, 0.2, 0.7, 0.7]]

sometimes = st.integers(0, 9).map(lambda roll: roll == 0)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnnApp]:
    data_dir = tmp_path_factory.mktemp("data")
    write_store(data_dir / "efficientnet-b0.hdf5", LOGO_IDS, VECTORS)
    write_pair(data_dir / "efficientnet-b0", INDEXED, VECTORS[:40])
    app = create_app(
        settings_with(
            data_dir=data_dir,
            store_capacity=10_000,
            allow_private_image_hosts=True,
            image_hosts=frozenset({"127.0.0.1"}),
            max_batch_logos=20,
            max_add_logos=5,
        )
    )
    yield app
    app.parts.close()


@pytest.fixture(scope="module")
def pictures() -> Iterator[PhotoServer]:
    with PhotoServer() as server:
        yield server


def send(app: AnnApp, method: str, path: str, **request: Any) -> tuple[falcon.testing.Result, int]:
    """Send a request, check what holds for every answer, and return the answer and the number of new logos."""
    before = len(app.parts.store)
    result = falcon.testing.TestClient(app).simulate_request(method, path, **request)
    stored = len(app.parts.store) - before
    assert 200 <= result.status_code < 300 or 400 <= result.status_code < 500, result.text
    assert isinstance(result.json, dict)
    if result.status_code >= 400:
        assert isinstance(result.json["title"], str)
        assert result.json["title"]
        assert stored == 0
    return result, stored


@st.composite
def query_strings(draw: st.DrawFn) -> str:
    names = st.sampled_from(["count", "index", "logo_ids", "other", "coun%74", ""])
    texts = st.one_of(
        st.sampled_from(
            ["3", "1001,3", "3%2C1001", ",", "%", "%zz", "%ff", "%00", "efficientnet-b0", "../..", "1_0", "٣", "+1"]
        ),
        integers.map(str),
        st.text(max_size=8).map(lambda text: urllib.parse.quote(text, errors="surrogatepass")),
        st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="#"), max_size=12),
    )
    parts = draw(st.lists(st.tuples(names, st.sampled_from(["=", "=", "=", "", "=="]), texts), max_size=4))
    return "&".join("".join(part) for part in parts).lstrip("?")


@examples(150)
@given(path=st.sampled_from(GETS), query=query_strings())
def test_any_query_is_answered_or_refused(app: AnnApp, path: str, query: str) -> None:
    result, stored = send(app, "GET", path, query_string=query)
    assert stored == 0
    if result.status_code == 200 and "results" in result.json:
        assert result.json["count"] == len(result.json["results"]) <= 500


@examples(100)
@given(st.text(max_size=12).map(lambda text: urllib.parse.quote(text, safe="", errors="replace")) | integers.map(str))
def test_any_logo_id_is_answered_or_unknown(app: AnnApp, logo_id: str) -> None:
    falcon_reserves = {"count", "stored", "batch", "add", "from_embedding", ".", "..", ""}
    result, _ = send(app, "GET", f"{API}/{logo_id}")
    if urllib.parse.unquote(logo_id) not in falcon_reserves:
        assert result.status_code in (200, 404)


@examples(100)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE"]),
    path=st.sampled_from([*GETS, f"{API}/add", f"{API}/from_embedding"]),
    body=st.binary(max_size=40) | anything.map(lambda value: json.dumps(value).encode("utf-8", "replace")),
    content_type=st.sampled_from(
        ["application/json", "application/json; charset=utf-16", "text/plain", "x", "", ";", "a/b/c"]
    ),
)
def test_any_body_to_any_route_is_answered_or_refused(
    app: AnnApp, method: str, path: str, body: bytes, content_type: str
) -> None:
    _, stored = send(app, method, path, body=body, content_type=content_type)
    assert stored == 0


@st.composite
def embeddings(draw: st.DrawFn) -> Any:
    some = draw(st.lists(st.floats() | integers | scalars, min_size=1, max_size=4)) or [0]
    length = draw(st.sampled_from([1280, 1280, 1280, 0, 1, 1279, 1281]))
    values = (some * length)[:length]
    body: dict[str, Any] = {"embedding": draw(anything) if draw(sometimes) else values}
    if draw(st.booleans()):
        body["count"] = draw(integers | anything)
    return body


@examples(150)
@given(embeddings())
def test_any_embedding_is_answered_or_refused(app: AnnApp, body: Any) -> None:
    result, stored = send(app, "POST", f"{API}/from_embedding", body=json.dumps(body))
    assert stored == 0
    if result.status_code == 200:
        distances = [row["distance"] for row in result.json["results"]]
        assert distances == sorted(distances)
        assert result.json["count"] == len(distances) == min(int(body.get("count", 1)), len(INDEXED))


@st.composite
def adds(draw: st.DrawFn, pictures: PhotoServer) -> Any:
    """Draw a valid body with one invalid part, because the service stops at the first one."""
    bad = draw(st.sampled_from(["nothing", "id", "id", "box", "box", "url", "logos", "body", "missing"]))
    edges = st.sampled_from([0, 0.0, 0.25, 0.5, 1, 1.0]) | st.floats() | integers
    ids = st.sampled_from([2**63, 2**64 - 1, 2**53 + 0.0, 900017.5]) | integers | anything
    boxes = st.lists(edges, min_size=4, max_size=4) | anything
    urls = st.sampled_from([pictures.url("/none"), "http://127.0.0.1:1/"]) | st.text(max_size=20) | anything
    logos = [
        {
            "id": draw(ids if bad == "id" and place == 0 else st.integers(1, 2**63 - 1) | st.sampled_from(LOGO_IDS)),
            "bounding_box": draw(boxes)
            if bad == "box"
            else draw(st.sampled_from([[0, 0, 1, 1], [0.2, 0.2, 0.7, 0.7]])),
        }
        for place in range(draw(st.integers(1, 3)))
    ]
    body: Any = {
        "image_url": draw(urls) if bad == "url" else pictures.url("/1.jpg"),
        "logos": draw(anything) if bad == "logos" else logos,
    }
    if bad == "missing":
        missing = draw(st.sampled_from(["image_url", "logos", "id", "bounding_box"]))
        for part in (body, *logos):
            part.pop(missing, None)
    return draw(anything) if bad == "body" else body


@examples(150)
@given(st.data())
def test_any_add_stores_what_it_says_or_nothing(app: AnnApp, pictures: PhotoServer, data: st.DataObject) -> None:
    body = data.draw(adds(pictures))
    result, stored = send(app, "POST", f"{API}/add", body=json.dumps(body))
    if result.status_code == 200:
        assert result.json == {"added": stored}
        assert stored <= len(body["logos"])
