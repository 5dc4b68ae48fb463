"""The feed remembers how far the collection is, takes turns, and compares all ids when it cannot know."""

from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings.maintenance.rewrite import rewrite_store
from index.milvus.outbox import STATE_NAME, Outbox
from tests.milvus.fed import IDS, NEW, Service, Start, in_step, new_alias
from tests.milvus.samples import (
    some_vectors,
)
from tests.milvus.servers.lite import LiteServer
from tests.waiting import PATIENCE


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
    assert ("cannot be read, so all ids are compared" in caplog.text) is complains
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
