"""The collection is kept in step with the store, whatever happens to either of them, or to the server."""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings.errors import EmbeddingsError
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.store import EmbeddingStore
from index.errors import EngineError, EngineUnreachableError, IndexUnavailableError
from index.milvus import collections, feed
from index.milvus.catalog import MilvusCatalog
from index.milvus.collections import Collection
from index.milvus.feed import Feed, upsert
from index.milvus.outbox import STATE_NAME, Outbox
from tests.index.samples import Logos, some_logos
from tests.milvus.lite import LiteServer
from tests.milvus.samples import (
    DIM,
    STAMP,
    held,
    milvus_at,
    new_collection,
    some_vectors,
    store_with,
    stored,
)
from tests.milvus.server import MilvusServer
from tests.waiting import PATIENCE, wait_until

LOGOS = some_logos(50)
IDS = LOGOS[0].tolist()
NEW = some_vectors([9001, 9002, 9003])


class Service:
    """A store and the collection that answers for it, as one process has them.

    Attributes:
        milvus: its connection, which counts what it sends.
        outbox: of the index.
    """

    def __init__(self, server: MilvusServer, path: Path, **options: Any) -> None:
        self.milvus = milvus_at(server, **{"query_seconds": PATIENCE, "write_seconds": PATIENCE, **options})
        self.store = EmbeddingStore(path)
        self.outbox = Outbox(path.parent / "index")
        self.catalog = MilvusCatalog(
            self.milvus,
            path.parent,
            dim=DIM,
            default="index",
            vectors=self.store.vectors,
            weights_digest=STAMP.digest,
            was_served=lambda: self.outbox.read() is not None,
        )
        self.feed = Feed(
            self.store, self.catalog, self.milvus, self.outbox, seconds=0.05, source_errors=(EmbeddingsError,)
        )

    def add(self, logos: Logos) -> None:
        self.store.append(*logos)
        self.feed.send(logos[0].tolist())

    def delete(self, logo_ids: list[int]) -> None:
        self.store.delete(logo_ids)
        self.feed.forget(logo_ids)

    def sent_again(self) -> list[int]:
        """Catch up, and answer what was sent."""
        before = len(self.milvus.sent)
        self.feed.catch_up()
        return self.milvus.sent[before:]

    def close(self) -> None:
        self.feed.close()
        self.catalog.close()
        self.store.close()


Start = Callable[..., Service]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store_with(tmp_path / "s.hdf5", LOGOS).close()
    return tmp_path / "s.hdf5"


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    services = []

    def start_one(server: MilvusServer, **options: Any) -> Service:
        services.append(Service(server, path, **options))
        return services[-1]

    yield start_one
    for service in services:
        service.close()


def new_alias(server: MilvusServer, logos: Logos = LOGOS, name: str = "logos_index_20261129T030000Z") -> Collection:
    """A collection that the alias of the index stands for."""
    milvus = milvus_at(server)
    collection = new_collection(milvus, logos, name=name)
    known = collections.aliased(milvus, "logos_index")
    milvus.call("alter_alias" if known else "create_alias", name, "logos_index", seconds=PATIENCE)
    milvus.close()
    return collection


def in_step(service: Service, collection: Collection) -> bool:
    return held(service.milvus, collection.name) == stored(service.store)


def test_a_new_logo_is_found_at_once_by_another_client(milvus: MilvusServer, start: Start, path: Path) -> None:
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
    assert "are deleted, and Milvus is told later" in caplog.text
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
    wait_until(lambda: "stored logos wait for Milvus" in caplog.text)
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
    wait_until(lambda: "stored logos wait for Milvus" in caplog.text)
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


@pytest.mark.parametrize(
    ("content", "complains"),
    [
        (None, False),
        ("", True),
        ("[]", True),
        ('{"collection": "logos_index_20261129T030000Z"}', True),
        ('{"collection": "logos_index_20261129T030000Z", "mark": {"row": 50}}', False),
        ('{"collection": "logos_index_20261129T030000Z", "mark": null}', False),
        ('{"collection": "logos_index_20250101T000000Z", "mark": MARK}', False),
    ],
)
def test_a_memory_that_is_lost_or_of_another_collection_has_all_ids_compared(
    lite: LiteServer, start: Start, content: str | None, complains: bool, caplog: pytest.LogCaptureFixture
) -> None:
    collection = new_alias(lite)
    service = start(lite)
    service.feed.catch_up()
    state = service.store.path.parent / "index" / STATE_NAME
    mark = state.read_text().partition('"mark": ')[2].removesuffix("}")
    service.milvus.call("delete", collection.name, ids=[IDS[7]], seconds=PATIENCE)
    service.store.delete([IDS[8]])
    if content is None:
        state.unlink()
    else:
        state.write_text(content.replace("MARK", mark))

    assert service.sent_again() == [IDS[7]]

    assert in_step(service, collection)
    assert ("cannot be read, all ids are compared" in caplog.text) is complains
    assert service.outbox.read() == (collection.name, service.store.mark().as_json())
    assert service.sent_again() == []


def test_a_compacted_store_is_compared(lite: LiteServer, start: Start) -> None:
    collection = new_alias(lite)
    service = start(lite)
    service.feed.catch_up()
    service.store.delete(IDS[:5])
    service.store.append(*NEW)
    rewrite_store(service.store.path)
    assert service.sent_again() == NEW[0].tolist()
    assert in_step(service, collection)


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


def test_what_waits_is_what_was_stored_since_all_was_there(lite: LiteServer, start: Start) -> None:
    new_alias(lite)
    service = start(lite)
    assert service.feed.count_unsent() == 50  # nobody knows better
    service.feed.catch_up()
    assert service.feed.count_unsent() == 0
    service.store.append(*NEW)
    assert service.feed.count_unsent() == 3
    service.store.delete([9001])
    assert service.feed.count_unsent() == 2
    calls = service.milvus.calls.total()
    service.feed.count_unsent()
    assert service.milvus.calls.total() == calls


def hold_turn(index_dir: Path, seconds: float, ready: Any) -> None:
    with Outbox(index_dir).turn(wait=True) as ours:
        assert ours
        ready.set()
        time.sleep(seconds)


def test_one_process_at_a_time_catches_up(lite: LiteServer, start: Start) -> None:
    new_alias(lite)
    service = start(lite)
    service.store.append(*NEW)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=hold_turn, args=(service.store.path.parent / "index", PATIENCE, ready))
    other.start()
    try:
        assert ready.wait(PATIENCE)
        assert service.sent_again() == []
        assert service.outbox.read() is None
        with service.outbox.turn(wait=False) as ours:
            assert not ours
    finally:
        other.kill()  # the kernel gives its turn back
        other.join()
    assert service.sent_again() == NEW[0].tolist()


def test_who_waits_for_the_turn_gets_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "index")
    order: list[str] = []

    def wait() -> None:
        with outbox.turn(wait=True) as ours:
            assert ours
            order.append("second")

    with outbox.turn(wait=True):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.1)
        order.append("first")
    waiting.join(PATIENCE)
    assert order == ["first", "second"]


def test_two_processes_that_add_and_catch_up_at_once_leave_every_logo_once(lite: LiteServer, start: Start) -> None:
    collection = new_alias(lite)
    services = [start(lite), start(lite)]

    def write(service: Service, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for turn in range(12):
            ids = rng.choice(np.arange(9000, 9020), 3, replace=False).tolist()
            if turn % 3 == 2:
                service.delete(ids)
            else:
                service.add(some_vectors(ids, seed=100 * seed + turn))
            service.feed.catch_up()

    threads = [threading.Thread(target=write, args=(service, seed)) for seed, service in enumerate(services)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    services[0].feed.catch_up()
    assert in_step(services[0], collection)


def test_a_service_that_has_not_seen_the_new_collection_yet_compares_no_ids_with_the_old_one(
    lite: LiteServer, start: Start
) -> None:
    new_alias(lite)
    service = start(lite)
    service.feed.catch_up()
    newer = new_alias(lite, name="logos_index_20261130T030000Z")
    service.outbox.write(newer.name, service.store.mark())  # as a build does, with the switch
    calls = service.milvus.calls["get"]
    service.feed.catch_up()
    assert service.milvus.calls["get"] == calls
    known = service.outbox.read()
    assert known is not None
    assert known[0] == newer.name
    service.store.append(*NEW)
    service.feed.catch_up()
    assert in_step(service, newer)


def test_an_older_server_that_was_put_back_is_given_what_it_lacks_once_the_memory_is_forgotten(
    lite: LiteServer, start: Start
) -> None:
    collection = new_alias(lite)
    service = start(lite)
    service.feed.catch_up()
    service.milvus.call("delete", collection.name, ids=IDS[:4], seconds=PATIENCE)
    assert service.sent_again() == []
    service.outbox.forget()
    service.outbox.forget()  # nothing is forgotten twice
    assert sorted(service.sent_again()) == sorted(IDS[:4])


def test_upserting_answers_how_many_were_sent(lite: LiteServer, path: Path) -> None:
    milvus = milvus_at(lite, rows_a_message=4)
    collection = new_collection(milvus, (LOGOS[0][:1], LOGOS[1][:1]))
    with EmbeddingStore(path) as store:
        assert upsert(milvus, collection.name, np.array([*IDS[:9], 12_345]), store) == 9
        assert upsert(milvus, collection.name, np.array([], np.int64), store) == 0
    assert set(held(milvus, collection.name)) == set(IDS[:9])


def test_what_was_sent_to_the_collection_before_a_switch_is_sent_to_the_one_after_it(
    lite: LiteServer, start: Start
) -> None:
    """A service may not have seen the switch when it is asked to add."""
    new_alias(lite)
    service = start(lite)
    service.feed.catch_up()
    newer = new_alias(lite, name="logos_index_20261130T030000Z")
    service.outbox.write(newer.name, service.store.mark())
    service.add(NEW)
    service.feed.catch_up()
    assert in_step(service, newer)
