"""Attributes are merged, counted and found, by any number of threads and processes."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from embeddings.attributes.attribute_store import AttributeStore
from embeddings.attributes.copies import faults_of
from embeddings.attributes.limits import AttributeLimits
from embeddings.attributes.pairs import KeyCount, ValueCount
from embeddings.errors import AttributeValueError, StoreUnavailableError

BIG = 2**63 - 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AttributeStore]:
    with AttributeStore(tmp_path / "attributes") as store:
        yield store
        assert faults_of(store.database) == []


def test_attributes_are_merged_and_null_removes(store: AttributeStore) -> None:
    store.merge({3: {"type": "brand", "value": "Ferrero"}, BIG: {"type": "label"}})
    store.merge({3: {"value": "Kinder", "server_type": "off"}, BIG: {"type": None, "missing": None}})
    assert store.get([3, BIG, 7]) == {3: {"server_type": "off", "type": "brand", "value": "Kinder"}}
    assert [*store.get([3])[3]] == ["server_type", "type", "value"]
    assert store.values_of("value", [3, 7, BIG]) == {3: "Kinder"}
    assert store.values_of("unknown", [3]) == {}


def test_a_bulk_happens_whole_or_not_at_all(store: AttributeStore) -> None:
    store.merge({1: {"type": "brand"}})
    before = store.change()
    for bad in ({"Bad": "x"}, {"value": "a\nb"}):
        with pytest.raises(AttributeValueError, match="attributes of logo 2"):
            store.merge({1: {"type": "label"}, 2: bad, 3: {"type": "label"}})
    with pytest.raises(AttributeValueError, match="attributes of logo 2: it would have 17; a logo can have 16"):
        store.merge({1: {"type": "label"}, 2: {f"k{number}": "x" for number in range(17)}})
    assert store.get([1, 2, 3]) == {1: {"type": "brand"}}
    assert store.change() == before


def test_a_logo_that_has_all_it_may_can_still_change_them(store: AttributeStore) -> None:
    store.merge({1: {f"k{number}": "x" for number in range(16)}})
    store.merge({1: {"k3": "y", "k5": None, "new": "z"}})
    assert len(store.get([1])[1]) == 16
    with pytest.raises(AttributeValueError, match="logo 1"):
        store.merge({1: {"another": "z"}})


@pytest.mark.parametrize("key", ["", "Type", "1st", "_x", "a-b", "a b", "é", "a" * 33, "a\n"])
def test_a_key_that_is_no_name_is_refused(store: AttributeStore, key: str) -> None:
    with pytest.raises(AttributeValueError, match=r"logo 5: .* is not a key: up to 32 lower-case"):
        store.merge({5: {key: "x"}})


@pytest.mark.parametrize(
    "value", ["", "a" * 257, "a\0", "tab\t", "line\n", "\x85", "\u2028", "\ud800", "\x7f", 5, True]
)
def test_a_value_that_cannot_be_printed_is_refused(store: AttributeStore, value: str) -> None:
    with pytest.raises(AttributeValueError, match="logo 5: the value of k "):
        store.merge({5: {"k": value}})


@pytest.mark.parametrize(
    "value", ["é", "日本語", "a\u00a0b", "👩‍🍳", "e\u0301", "'; DROP TABLE key; --", "a:b,c\\", "x" * 256]
)
def test_a_value_comes_back_as_it_was(store: AttributeStore, value: str) -> None:
    store.merge({5: {"k": value}})
    assert store.get([5]) == {5: {"k": value}}
    assert store.ids_with("k", value).tolist() == [5]


def test_limits_can_be_others(tmp_path: Path) -> None:
    with AttributeStore(tmp_path / "a", limits=AttributeLimits(1, 2, 3)) as store:
        store.merge({1: {"ab": "xyz"}})
        for attributes in ({"abc": "x"}, {"ab": "wxyz"}, {"c": "x"}):
            with pytest.raises(AttributeValueError):
                store.merge({1: attributes})


def test_ids_with_a_value_are_sorted_and_follow_every_change(store: AttributeStore) -> None:
    store.merge({logo_id: {"type": "brand"} for logo_id in (9, 2**40, 1, BIG)})
    assert store.ids_with("type", "brand").tolist() == [1, 9, 2**40, BIG]
    store.merge({9: {"type": "label"}, 4: {"type": "brand"}})
    assert store.ids_with("type", "brand").tolist() == [1, 4, 2**40, BIG]
    store.drop([BIG, 4, 77])
    ids = store.ids_with("type", "brand")
    assert ids.tolist() == [1, 2**40]
    assert ids.dtype == np.int64
    assert store.ids_with("type", "other").tolist() == store.ids_with("other", "brand").tolist() == []


def test_dropped_logos_have_no_attributes(store: AttributeStore) -> None:
    store.merge({1: {"type": "brand"}, 2: {"type": "brand", "value": "x"}})
    store.drop([2])
    assert store.get([1, 2]) == {1: {"type": "brand"}}
    assert store.logo_ids().tolist() == [1]
    assert len(store) == 1
    assert store.keys() == [KeyCount("type", 1, 1)]


def test_values_are_counted_and_completed(store: AttributeStore) -> None:
    values = ["Ferrero"] * 3 + ["ferme"] * 5 + ["Kinder", "straße", "Ferrari", "Ärzte"]
    store.merge({logo_id: {"value": value, "n": "1"} for logo_id, value in enumerate(values, 1)})
    assert store.keys() == [KeyCount("n", 12, 1), KeyCount("value", 12, 6)]
    found = [ValueCount("ferme", 5), ValueCount("Ferrero", 3), ValueCount("Ferrari", 1)]
    assert store.counts("value", prefix="fer") == store.counts("value", prefix="FER") == found
    assert store.counts("value", prefix="fer", limit=2) == found[:2]
    assert [count.value for count in store.counts("value")] == [
        "ferme",
        "Ferrero",
        "Ferrari",
        "Kinder",
        "straße",
        "Ärzte",
    ]
    assert store.counts("value", prefix="STRASSE") == [ValueCount("straße", 1)]
    assert store.counts("value", prefix="ä") == [ValueCount("Ärzte", 1)]
    assert store.counts("value", prefix="%") == store.counts("other") == []
    store.merge({1: {"value": None}, 2: {"value": "Kinder"}})
    assert store.counts("value", prefix="ferre") == [ValueCount("Ferrero", 1)]


def test_all_logos_are_walked_over_as_of_one_moment(store: AttributeStore) -> None:
    given = {logo_id: {"type": f"t{logo_id % 3}", "b": "x"} for logo_id in range(500, 0, -1)}
    store.merge(given)
    walk = store.items()
    first = next(walk)
    store.merge({400: {"type": None}, 1000: {"type": "late"}})
    found = [first, *walk]
    assert dict(found) == given
    assert [logo_id for logo_id, _ in found] == [*range(1, 501)]
    assert [*first[1]] == ["b", "type"]
    assert dict(store.items())[1000] == {"type": "late"}


def test_the_change_counter_moves_with_every_change_and_never_back(store: AttributeStore) -> None:
    changes = [store.change()]
    for attributes in ({"a": "x"}, {"a": "y"}, None):
        store.merge({1: attributes}) if attributes else store.drop([1])
        changes.append(store.change())
        store.get([1])
        assert store.change() == changes[-1]
    assert changes == sorted(set(changes))


def test_only_what_was_added_is_read_again_until_something_is_lost(store: AttributeStore) -> None:
    store.merge({logo_id: {"type": "brand"} for logo_id in (1, 2)})
    state, ids, complete = store.ids_since("type", "brand", None)
    assert (ids.tolist(), complete) == ([1, 2], True)
    store.merge({7: {"type": "brand"}, 5: {"type": "brand"}, 1: {"type": "brand"}})
    state, ids, complete = store.ids_since("type", "brand", state)
    assert (ids.tolist(), complete) == ([5, 7], False)
    store.merge({2: {"other": "x"}})
    assert store.state("type", "brand") == state
    store.merge({2: {"type": "label"}})
    state, ids, complete = store.ids_since("type", "brand", state)
    assert (ids.tolist(), complete) == ([1, 5, 7], True)
    store.drop([1, 5, 7])
    assert store.state("type", "brand") is None
    store.merge({8: {"type": "brand"}})
    state, ids, complete = store.ids_since("type", "brand", state)
    assert (ids.tolist(), complete) == ([8], True)


def test_another_process_sees_what_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "attributes"
    with AttributeStore(path) as store, multiprocessing.get_context("spawn").Pool(1) as pool:
        for value in ("x", "y"):
            store.merge({1: {"k": value}})
            assert pool.apply(read, [path]) == {1: {"k": value}}
        pool.apply(write, [path, 2, 1])
        assert store.ids_with("k", "2").tolist() == [2000]


def read(path: Path) -> dict[int, dict[str, str]]:
    with AttributeStore(path) as store:
        return store.get([1])


def write(path: Path, number: int, logos: int) -> None:
    """Be one of several processes that write at once."""
    with AttributeStore(path) as store:
        for logo_id in range(number * 1000, number * 1000 + logos):
            store.merge({logo_id: {"k": f"{number}", "shared": "x"}, 1: {"last": f"{number}"}})


def test_processes_and_threads_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "attributes"
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        work = pool.starmap_async(write, [(path, number, 40) for number in range(1, 4)])  # they make the file, too
        with AttributeStore(path) as store, ThreadPoolExecutor(4) as threads:
            tasks = [
                threads.submit(store.merge, {100 + number: {"k": "thread", "shared": "x"}}) for number in range(40)
            ]
            for task in tasks:
                task.result()
            work.get()
            assert store.ids_with("shared", "x").tolist() == [
                *range(100, 140),
                *(number * 1000 + place for number in (1, 2, 3) for place in range(40)),
            ]
            assert {count.value: count.logos for count in store.counts("k")} == {
                "thread": 40,
                "1": 40,
                "2": 40,
                "3": 40,
            }
            assert faults_of(store.database) == []


def test_a_reader_does_not_wait_for_a_writer(store: AttributeStore) -> None:
    store.merge({1: {"k": "x"}})
    with store.database.writing() as connection:
        connection.execute("DELETE FROM attribute")
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(store.get, [1]).result() == {1: {"k": "x"}}
        connection.execute("ROLLBACK")
        connection.execute("BEGIN")


def test_a_writer_that_waits_too_long_says_so(tmp_path: Path) -> None:
    path = tmp_path / "attributes"
    with AttributeStore(path, wait_seconds=0.01) as store, AttributeStore(path) as other:
        with other.database.writing(), pytest.raises(StoreUnavailableError, match="try again later"):
            store.merge({1: {"k": "x"}})
        late = ThreadPoolExecutor(1)
        with store.database.writing(), late, pytest.raises(StoreUnavailableError, match="try again later"):
            late.submit(store.merge, {1: {"k": "x"}}).result()
        store.merge({1: {"k": "x"}})


def test_connections_of_ended_threads_are_closed(store: AttributeStore) -> None:
    def descriptors() -> int:
        return len([*Path("/proc/self/fd").iterdir()])

    def read_in_a_thread() -> None:
        thread = threading.Thread(target=store.get, args=([1],))
        thread.start()
        thread.join()

    read_in_a_thread()  # SQLite keeps a descriptor for the next connection
    before = descriptors()
    for _ in range(5):
        read_in_a_thread()
    assert descriptors() == before


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = AttributeStore(tmp_path / "attributes")
    store.close()
    with pytest.raises(StoreUnavailableError, match="has been closed"):
        store.get([1])
