"""The collection is kept in step with the store, whatever happens to either of them, or to the server."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings.store.store import EmbeddingStore
from index.errors import EngineError, EngineUnreachableError, IndexUnavailableError
from index.milvus import feed
from index.milvus.feed import upsert
from tests.milvus.fed import IDS, LOGOS, NEW, Start, in_step, new_alias
from tests.milvus.samples import (
    DIM,
    held,
    milvus_at,
    new_collection,
    some_vectors,
)
from tests.milvus.servers.lite import LiteServer
from tests.milvus.servers.server import MilvusServer
from tests.waiting import PATIENCE, wait_until


def test_a_new_logo_is_found_at_once_by_another_client(milvus: MilvusServer, start: Start) -> None:
    """Queries are read with bounded staleness, so that takes more than sending it."""
    new_alias(milvus)
    service, other = start(milvus), start(milvus)
    other.catalog.get(None).nearest_to_logo(IDS[0], 5)
    for logo_id, vector in zip(NEW[0].tolist(), NEW[1], strict=True):
        service.add((np.array([logo_id]), vector[np.newaxis]))
        found = other.catalog.get(None).nearest_to_vector(vector, 3)
        assert (found.logo_ids[0], found.distances[0]) == (logo_id, 0.0)
        assert logo_id in other.catalog.get(None)


def test_a_deleted_logo_is_forgotten(lite: LiteServer, start: Start) -> None:
    collection = new_alias(lite)
    service = start(lite)
    service.delete(IDS[:3])
    assert in_step(service, collection)
    assert service.sent_again() == []


def test_a_logo_that_comes_again_has_its_new_vector(lite: LiteServer, start: Start) -> None:
    collection = new_alias(lite)
    service = start(lite)
    service.delete([IDS[0]])
    service.add(some_vectors([IDS[0]]))
    assert in_step(service, collection)
    service.feed.catch_up()
    assert in_step(service, collection)


@pytest.mark.parametrize("told", [False, True])
def test_a_logo_that_came_again_while_the_engine_was_away_has_its_new_vector(
    lite: LiteServer, start: Start, told: bool
) -> None:
    collection = new_alias(lite)
    service = start(lite)
    if told:  # how far it is
        service.feed.catch_up()
    service.store.delete(IDS[:2])
    service.store.append(*some_vectors([IDS[0], 9001]))
    service.feed.catch_up()
    assert in_step(service, collection)


def test_only_what_is_lacking_is_sent(lite: LiteServer, start: Start) -> None:
    new_alias(lite, (LOGOS[0][:40], LOGOS[1][:40]))
    service = start(lite)
    assert sorted(service.sent_again()) == sorted(IDS[40:])  # nobody knew how far it was: all are compared
    assert service.sent_again() == []
    service.store.append(*NEW)
    assert service.sent_again() == NEW[0].tolist()
    calls = service.milvus.calls.total()
    assert service.sent_again() == []
    assert service.milvus.calls.total() == calls  # what is known to be there is not asked for


def test_what_was_stored_while_the_engine_was_down_is_sent_when_it_is_back(
    lite: LiteServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    collection = new_alias(lite)
    service = start(lite)
    service.feed.catch_up()
    lite.kill()

    service.add(NEW)
    service.delete(IDS[:2])

    assert "are stored, and sent to Milvus later" in caplog.text
    assert "are deleted here, and later in Milvus" in caplog.text
    assert service.feed.count_unsent() == 3
    with pytest.raises(EngineUnreachableError):
        service.feed.catch_up()
    lite.start()

    def caught_up() -> bool:
        service.catalog.refresh()
        try:
            service.feed.catch_up()
        except (EngineError, IndexUnavailableError):
            return False
        return service.feed.count_unsent() == 0

    wait_until(caught_up)
    assert in_step(service, collection)


def test_the_thread_of_the_feed_catches_up_and_says_once_why_it_cannot(
    lite: LiteServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    collection = new_alias(lite)
    service = start(lite)
    service.feed.start()
    wait_until(lambda: service.outbox.read() is not None)
    lite.kill()
    service.store.append(*NEW)
    wait_until(lambda: "stored logos are not in Milvus yet" in caplog.text)
    time.sleep(0.3)  # several tries
    lite.start()
    service.catalog.refresh()
    wait_until(lambda: (service.catalog.refresh(), service.feed.count_unsent() == 0)[1])  # type: ignore[func-returns-value]
    assert "sent 3 logos to the collection" in caplog.text
    warnings = [record.getMessage() for record in caplog.records if "wait for Milvus" in record.message]
    assert len(set(warnings)) == len(warnings)
    assert in_step(service, collection)


def test_a_fault_does_not_end_the_thread_of_the_feed(
    lite: LiteServer, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    new_alias(lite)
    service = start(lite)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(feed, "bring_up", fail)
        service.feed.start()
        wait_until(lambda: "ZeroDivisionError" in caplog.text)
    wait_until(lambda: service.outbox.read() is not None)


def test_a_store_that_cannot_be_read_is_told_once(
    lite: LiteServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    new_alias(lite)
    service = start(lite)
    service.store.path.unlink()
    service.store.path.write_bytes(b"no store")
    service.feed.start()
    wait_until(lambda: "stored logos are not in Milvus yet" in caplog.text)
    time.sleep(0.3)  # several more looks
    told = [record for record in caplog.records if record.name == "index.milvus.feed"]
    assert [record.exc_info for record in told] == [None]


def test_a_new_logo_is_waited_for_as_long_as_a_strong_read_takes_however_long_it_took_to_send(
    lite: LiteServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.2 to 0.5 s. A read that is cut short counts as an engine that is gone, and has all queries refused."""
    new_alias(lite)
    service = start(lite, write_seconds=0.2)
    call, seconds_of_reads = service.milvus.call, list[float]()

    def call_slowly(method: str, *args: Any, seconds: float, **options: Any) -> Any:
        if method == "upsert":
            time.sleep(0.2)
        elif options.get("consistency_level") == "Strong":
            seconds_of_reads.append(seconds)
        return call(method, *args, seconds=PATIENCE, **options)

    monkeypatch.setattr(service.milvus, "call", call_slowly)
    service.add(NEW)
    assert seconds_of_reads == [1.0]


def test_logos_that_cannot_be_searched_for_are_not_sent(lite: LiteServer, start: Start) -> None:
    collection = new_alias(lite)
    service = start(lite)
    too_long = np.array([9004]), np.full((1, DIM), 1e30, np.float32)
    service.add(too_long)
    service.store.append(*NEW)
    assert service.sent_again() == NEW[0].tolist()
    assert set(held(service.milvus, collection.name)) == {*IDS, *NEW[0].tolist()}


def test_logos_are_sent_in_several_messages_and_asked_for_in_several(
    lite: LiteServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_IDS_AT_ONCE", 16)
    collection = new_alias(lite, (LOGOS[0][:3], LOGOS[1][:3]))
    service = start(lite, rows_a_message=7)
    service.store.delete(IDS[:2])
    assert sorted(service.sent_again()) == sorted(IDS[3:])
    assert service.milvus.calls["upsert"] >= 7
    assert in_step(service, collection)
    service.store.delete(IDS[2:40])
    service.feed.catch_up()
    assert service.milvus.calls["delete"] >= 3
    assert in_step(service, collection)


def test_before_the_first_build_there_is_nothing_to_send_to(lite: LiteServer, start: Start) -> None:
    service = start(lite)
    service.add(NEW)
    service.delete(IDS[:1])
    service.feed.catch_up()
    assert service.milvus.sent == []
    assert service.outbox.read() is None
    assert service.feed.count_unsent() == 52
    assert service.feed.feeds(service.catalog.get(None))


def test_upserting_answers_how_many_were_sent(lite: LiteServer, fed_path: Path) -> None:
    milvus = milvus_at(lite, rows_a_message=4)
    collection = new_collection(milvus, (LOGOS[0][:1], LOGOS[1][:1]))
    with EmbeddingStore(fed_path) as store:
        assert upsert(milvus, collection, np.array([*IDS[:9], 12_345]), store, in_build=False) == 9
        assert upsert(milvus, collection, np.array([], np.int64), store, in_build=False) == 0
    assert set(held(milvus, collection.name)) == set(IDS[:9])
