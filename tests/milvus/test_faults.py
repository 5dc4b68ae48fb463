"""A Milvus that is away, stands still or is slow: what is answered meanwhile, and that all is well again by itself."""

from __future__ import annotations

import concurrent.futures
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import falcon.testing
import pytest

from api.app import AnnApp
from index.errors import EngineTimeoutError
from tests.milvus import indexed
from tests.milvus.indexed import INDEXED, LOGO_IDS, STORED_ONLY, VECTORS, A
from tests.milvus.servers.lite import LiteServer
from tests.milvus.servers.server import MilvusServer
from tests.milvus.servers.slow_proxy import SlowProxy
from tests.photo_server import PhotoServer, photo
from tests.waiting import wait_until

Client = falcon.testing.TestClient
Serve = Callable[..., Client]
OpenApp = Callable[..., AnnApp]
CATALOG, FEED = "index.milvus.catalog", "index.milvus.feed"
LIMIT = 4.0  # seconds: enough for a call that is answered, on a busy machine, and not long to wait for
WITHIN = 60.0  # seconds: how much later than its time-out a call may end, on a busy machine
LONG = 300.0  # seconds: a time-out that nobody waits for


@dataclass
class Timed:
    """An answer, and how many seconds it took."""

    answer: falcon.testing.Result
    seconds: float


def timed(ask: Callable[[], falcon.testing.Result]) -> Timed:
    began = time.monotonic()
    answer = ask()
    return Timed(answer, time.monotonic() - began)


def get(client: Client, path: str) -> Timed:
    return timed(lambda: client.simulate_get(f"{A}{path}"))


def add(client: Client, url: str, *logo_ids: int) -> Timed:
    logos = [{"id": logo_id, "bounding_box": [0, 0, 1, 1]} for logo_id in logo_ids]
    return timed(lambda: client.simulate_post(f"{A}/add", json={"image_url": url, "logos": logos}))


def queries(client: Client) -> list[Timed]:
    """The answers of every route that needs an index."""
    vector = {"embedding": VECTORS[0].tolist()}
    return [
        get(client, f"/{INDEXED[0]}"),
        get(client, f"/{STORED_ONLY[0]}"),
        get(client, ""),
        get(client, f"/batch?logo_ids={INDEXED[0]},{STORED_ONLY[0]}"),
        timed(lambda: client.simulate_post(f"{A}/from_embedding", json=vector)),
        timed(lambda: client.simulate_post(f"{A}/from_image", body=photo(1), headers={"Content-Type": "image/jpeg"})),
    ]


def assert_refused(answer: falcon.testing.Result, why: str) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"] == "1"
    assert answer.json["title"] == "index unavailable"
    assert why in answer.json["description"]


def assert_queries_are_refused(client: Client, why: str) -> None:
    for refused in queries(client):
        assert_refused(refused.answer, why)
        assert refused.seconds < WITHIN


def assert_nobody_asks(calls: list[str], client: Client, why: str) -> None:
    """Queries are refused without a call to Milvus, which might not be answered."""
    calls.clear()
    assert_queries_are_refused(client, why)
    assert {"search", "query", "get"}.isdisjoint(calls)


def assert_what_needs_no_index_goes_on(client: Client, photos: PhotoServer, new_logo: int) -> None:
    known = f"/batch?logo_ids={LOGO_IDS[0]}"
    for timed_one, answer in (
        (get(client, "/stored"), None),
        (get(client, "/count"), None),
        (get(client, known.replace("batch", "provenance")), None),
        (add(client, "http://127.0.0.1:1/none.jpg", LOGO_IDS[0]), {"added": 0}),
        (add(client, photos.url("/1.jpg"), new_logo), {"added": 1}),
    ):
        assert timed_one.answer.status_code == 200, timed_one.answer.text
        assert answer is None or timed_one.answer.json == answer
        assert timed_one.seconds < WITHIN  # an add fetches and embeds, but does not wait for Milvus


def index_check(client: Client) -> tuple[int, bool, str]:
    answer = client.simulate_get("/readyz")
    check = answer.json["checks"]["index"]
    return answer.status_code, check["ok"], check["detail"]


def is_ready(client: Client) -> bool:
    return client.simulate_get("/readyz").status_code == 200


def assert_not_ready(client: Client, why: str) -> None:
    status, ok, detail = index_check(client)
    assert (status, ok) == (503, False)
    assert why in detail
    health = client.simulate_get("/api/v1/health")
    assert health.status_code == 500
    failed = {row["checker"] for row in health.json["results"] if not row["passed"]}
    assert failed == {"index", "newest index"}
    assert client.simulate_get("/livez").status_code == 200
    assert "robotoff_ann_ready 0.0" in client.simulate_get("/metrics").text
    of_index = client.simulate_get(f"{A}/status")
    assert of_index.status_code == 200
    assert why in of_index.json["error"]


def found(client: Client, logo_id: int = INDEXED[0]) -> set[int]:
    answer = client.simulate_get(f"{A}/{logo_id}?count=100")
    return {row["logo_id"] for row in answer.json["results"]} if answer.status_code == 200 else set()


def lines(caplog: pytest.LogCaptureFixture, name: str, level: int) -> list[str]:
    return [row.getMessage() for row in caplog.records if row.name == name and row.levelno == level]


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_a_service_starts_without_milvus_and_answers_as_soon_as_it_is_there(
    lite: LiteServer,
    data_dir: Path,
    open_app: OpenApp,
    photos: PhotoServer,
    calls: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    indexed.note_as_indexed(data_dir, indexed.index(lite))
    lite.stop()
    began = time.monotonic()
    client = Client(open_app(lite, milvus_connect_seconds=1, milvus_query_seconds=LONG, milvus_write_seconds=LONG))
    assert time.monotonic() - began < 1 + WITHIN  # it waits for a sign of life once
    assert_queries_are_refused(client, lite.uri)
    assert_not_ready(client, lite.uri)
    assert_what_needs_no_index_goes_on(client, photos, 900)
    looks = len(calls)
    wait_until(lambda: len(calls) > looks + 5)
    (line,) = lines(caplog, CATALOG, logging.ERROR)
    assert lite.uri in line
    lite.start()
    wait_until(lambda: is_ready(client))
    wait_until(lambda: found(client) == {*INDEXED, 900})
    assert found(client, 900) == set(INDEXED)


def test_a_killed_milvus_is_told_at_once_and_all_is_well_when_it_is_back(
    milvus: MilvusServer, serve: Serve, photos: PhotoServer, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    client = serve(milvus, milvus_query_seconds=LONG, milvus_write_seconds=LONG)
    assert found(client) == set(INDEXED)
    milvus.kill()
    assert_queries_are_refused(client, milvus.uri)
    assert_not_ready(client, milvus.uri)
    assert_what_needs_no_index_goes_on(client, photos, 900)
    assert client.simulate_delete(f"{A}/{INDEXED[3]}").json == {"deleted": 1}
    looks = len(calls)
    wait_until(lambda: len(calls) > looks + 5)
    assert len(lines(caplog, CATALOG, logging.ERROR)) == 1
    assert len(lines(caplog, FEED, logging.WARNING)) == 3  # of the logo added, the one deleted, and the thread
    milvus.start()
    wait_until(lambda: is_ready(client))
    wait_until(lambda: found(client) == {*INDEXED, 900} - {INDEXED[3]})
    assert f"Milvus at {milvus.uri} answers" in caplog.text
    assert len([row for row in caplog.records if row.exc_info]) == 0


def test_one_query_waits_for_a_milvus_that_stands_still_and_the_next_ones_do_not(
    milvus: MilvusServer, serve: Serve, photos: PhotoServer, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    client = serve(milvus, milvus_query_seconds=LIMIT, milvus_connect_seconds=LIMIT, reload_seconds=LONG)
    assert found(client) == set(INDEXED)
    milvus.pause()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:  # those who come before anybody knows
        first = list(pool.map(lambda _: get(client, f"/{INDEXED[0]}"), range(8)))
    for refused in first:
        assert_refused(refused.answer, milvus.uri)
        assert refused.seconds < LIMIT + WITHIN
    wait_until(lambda: not is_ready(client))  # the look that they caused is not answered either
    assert_nobody_asks(calls, client, milvus.uri)
    assert_not_ready(client, milvus.uri)
    assert_what_needs_no_index_goes_on(client, photos, 900)
    assert len(lines(caplog, CATALOG, logging.ERROR)) == 1
    milvus.resume()
    client.app.parts.catalog.refresh()  # type: ignore[attr-defined]
    assert is_ready(client)
    assert found(client) == set(INDEXED)
    client.app.parts.engine.feed.catch_up()  # type: ignore[attr-defined]
    wait_until(lambda: found(client) == {*INDEXED, 900})


def test_an_add_is_stored_in_time_though_milvus_stands_still(
    lite: LiteServer, serve: Serve, photos: PhotoServer, calls: list[str]
) -> None:
    client = serve(lite, milvus_write_seconds=LIMIT, milvus_connect_seconds=LIMIT, reload_seconds=LONG)
    lite.pause()
    first = add(client, photos.url("/1.jpg"), 900, 901)  # nobody knows yet
    assert first.answer.json == {"added": 2}
    assert LIMIT - 0.1 < first.seconds < LIMIT + WITHIN
    wait_until(lambda: not is_ready(client))
    calls.clear()
    assert add(client, photos.url("/2.jpg"), 902).answer.json == {"added": 1}
    assert "upsert" not in calls
    assert client.simulate_get(f"{A}/count").json == {"count": 63}
    assert_refused(client.simulate_get(f"{A}/900"), lite.uri)
    lite.resume()
    client.app.parts.catalog.refresh()  # type: ignore[attr-defined]
    assert is_ready(client)
    client.app.parts.engine.feed.catch_up()  # type: ignore[attr-defined]
    assert found(client, 900) == {*INDEXED, 901, 902}


def test_a_batch_of_many_ends_within_its_seconds_in_a_slow_milvus(
    lite: LiteServer, serve: Serve, calls: list[str]
) -> None:
    with SlowProxy(lite.port) as proxy:
        client = serve(lite, milvus_uri=proxy.uri, milvus_query_seconds=LIMIT, reload_seconds=LONG)
        path = f"/batch?logo_ids={','.join(map(str, LOGO_IDS))}&count=3"
        calls.clear()
        slow = get(client, path)  # 60 logos, in three questions, whether they are indexed or only stored
        assert (slow.answer.status_code, slow.answer.json["count"]) == (200, 60)
        assert len([method for method in calls if method in ("search", "query", "get")]) == 3
        forgotten = INDEXED[1:13]
        for logo_id in forgotten:
            assert client.simulate_delete(f"{A}/{logo_id}").status_code == 200
        rows = [
            {"logo_id": logo_id, "embedding": VECTORS[LOGO_IDS.index(logo_id)], "in_build": True}
            for logo_id in forgotten
        ]
        lite.client().upsert(f"{indexed.ALIAS}_20261129T030000Z", rows)  # as if Milvus had not been told
        proxy.delay_seconds = LIMIT / 8
        too_slow = get(client, path)  # many have deleted neighbours, so that each of these is asked for again
        assert_refused(too_slow.answer, proxy.uri)
        assert LIMIT - 0.1 < too_slow.seconds < LIMIT + WITHIN
        proxy.delay_seconds = 0
        wait_until(lambda: client.app.parts.catalog.refresh() or is_ready(client))  # type: ignore[attr-defined]
        assert get(client, path).answer.json["count"] == 60 - len(forgotten)


def test_a_query_that_takes_too_long_is_refused_in_time_and_others_do_not_wait(
    lite: LiteServer, serve: Serve, calls: list[str]
) -> None:
    limits = {"milvus_query_seconds": LIMIT, "milvus_connect_seconds": LIMIT, "reload_seconds": LONG}
    with SlowProxy(lite.port) as proxy:
        client = serve(lite, milvus_uri=proxy.uri, **limits)
        proxy.delay_seconds = 2 * LIMIT
        first = get(client, f"/{INDEXED[0]}")
        assert_refused(first.answer, proxy.uri)
        assert LIMIT - 0.1 < first.seconds < LIMIT + WITHIN
        wait_until(lambda: not is_ready(client))
        assert_nobody_asks(calls, client, proxy.uri)
        proxy.delay_seconds = 0
        wait_until(lambda: client.app.parts.catalog.refresh() or is_ready(client))  # type: ignore[attr-defined]
        assert found(client) == set(INDEXED)


def test_a_query_that_takes_too_long_by_itself_shuts_out_nobody(lite: LiteServer, serve: Serve) -> None:
    """A batch of a thousand logos may, in a Milvus that is well."""
    client = serve(lite, reload_seconds=LONG)
    catalog = client.app.parts.catalog  # type: ignore[attr-defined]
    catalog._milvus.on_silence(EngineTimeoutError("search: Deadline Exceeded"))
    assert found(client) == set(INDEXED)
    assert is_ready(client)
