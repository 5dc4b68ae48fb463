from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.catalog import IndexCatalog
from index.errors import DimensionError, IndexUnavailableError, UnknownIndexError
from index.files.generations import publish
from index.loading import LoadedIndex, load_index
from tests.index.samples import build, some_logos, without_privileges, write_pair
from tests.waiting import wait_until

QUERY = np.zeros(8, np.float32)


def catalog_of(data_dir: Path, **options: Any) -> IndexCatalog:
    return IndexCatalog(data_dir, dim=8, default="logos", **options)


def publish_logos(index_dir: Path, count: int, **options: Any) -> Path:
    return publish(index_dir, lambda directory: build(directory, some_logos(count), **options))


def cut(path: Path) -> None:
    """Damage a file as a copy that was interrupted would, without touching the one that may be mapped."""
    copy = path.with_suffix(".cut")
    copy.write_bytes(path.read_bytes()[:-1])
    copy.replace(path)


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records if record.levelno >= logging.WARNING]


def test_before_there_is_an_index_the_default_one_is_empty(tmp_path: Path) -> None:
    for data_dir in (tmp_path, tmp_path / "missing"):
        catalog = catalog_of(data_dir)
        index = catalog.get(None)
        assert catalog.get("logos") is index
        assert (len(index), index.dim, index.random_logo()) == (0, 8, None)
        assert index.nearest_to_vector(QUERY, 10).logo_ids == []
        with pytest.raises(DimensionError):
            index.nearest_to_vector(np.zeros(9, np.float32), 10)
        assert catalog.names() == ["logos"]
        assert [(status.name, status.items, status.error) for status in catalog.status()] == [("logos", 0, None)]


@pytest.mark.parametrize("name", ["other", "", ".", "..", "../logos", ".hidden", "stray", "file"])
def test_another_name_is_unknown(tmp_path: Path, name: str) -> None:
    write_pair(tmp_path / "logos", some_logos(10))
    write_pair(tmp_path / ".hidden", some_logos(10))
    (tmp_path / "stray").mkdir()
    (tmp_path / "file").touch()

    with pytest.raises(UnknownIndexError, match=f"unknown index: {name}$"):
        catalog_of(tmp_path).get(name)


def test_every_directory_with_an_index_is_served(tmp_path: Path) -> None:
    write_pair(tmp_path / "logos", some_logos(10))
    generation = publish_logos(tmp_path / "brands", 20, trees=7)

    catalog = catalog_of(tmp_path)

    assert catalog.names() == ["brands", "logos"]
    assert (len(catalog.get("brands")), len(catalog.get("logos")), len(catalog.get(None))) == (20, 10, 10)
    brands, logos = catalog.status()
    assert (brands.name, brands.source, brands.items, brands.trees, brands.error) == (
        "brands",
        generation.name,
        20,
        7,
        None,
    )
    assert (logos.name, logos.source, logos.items, logos.trees, logos.error) == ("logos", "original pair", 10, 10, None)


def test_a_generation_wins_over_a_pair(tmp_path: Path) -> None:
    write_pair(tmp_path / "logos", some_logos(10))
    publish_logos(tmp_path / "logos", 20)

    assert len(catalog_of(tmp_path).get(None)) == 20


def test_a_stray_directory_is_named_once_and_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "stray").mkdir()
    (tmp_path / "stray" / "notes.txt").touch()
    write_pair(tmp_path / "logos", some_logos(10))

    catalog = catalog_of(tmp_path)
    catalog.refresh()

    assert complaints(caplog) == ["WARNING"]
    assert catalog.names() == ["logos"]
    assert [status.name for status in catalog.status()] == ["logos"]


def test_a_first_build_under_way_is_no_stray(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "logos" / "generations" / ".building-abc").mkdir(parents=True)

    catalog_of(tmp_path)

    assert complaints(caplog) == []


def test_a_stray_that_becomes_an_index_is_taken_in(tmp_path: Path) -> None:
    (tmp_path / "brands").mkdir()
    catalog = catalog_of(tmp_path)

    publish_logos(tmp_path / "brands", 20)
    catalog.refresh()

    assert len(catalog.get("brands")) == 20


def test_a_first_generation_is_taken_in(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path)

    publish_logos(tmp_path / "logos", 20)
    publish_logos(tmp_path / "brands", 30)
    catalog.refresh()

    assert (len(catalog.get(None)), len(catalog.get("brands"))) == (20, 30)


def test_a_new_generation_is_swapped_in(tmp_path: Path) -> None:
    publish_logos(tmp_path / "logos", 10)
    catalog = catalog_of(tmp_path)
    old = catalog.get(None)

    publish_logos(tmp_path / "logos", 20)
    publish_logos(tmp_path / "logos", 30)  # with which the one in use is removed
    catalog.refresh()

    assert len(catalog.get(None)) == 30
    assert len(old.nearest_to_vector(QUERY, 10).logo_ids) == 10


def test_an_index_that_did_not_change_is_not_loaded_again(tmp_path: Path) -> None:
    publish_logos(tmp_path / "logos", 10)
    write_pair(tmp_path / "brands", some_logos(10))
    catalog = catalog_of(tmp_path)
    before = [catalog.get(name) for name in ("logos", "brands")]

    catalog.refresh()

    assert [catalog.get(name) for name in ("logos", "brands")] == before


def test_a_new_pair_is_swapped_in(tmp_path: Path) -> None:
    write_pair(tmp_path / "logos", some_logos(10))
    catalog = catalog_of(tmp_path)

    write_pair(tmp_path / "logos", some_logos(20))
    catalog.refresh()

    assert len(catalog.get(None)) == 20


def test_a_pair_gives_way_to_a_first_generation(tmp_path: Path) -> None:
    write_pair(tmp_path / "logos", some_logos(10))
    catalog = catalog_of(tmp_path)

    publish_logos(tmp_path / "logos", 20)
    catalog.refresh()

    assert len(catalog.get(None)) == 20


def test_a_bad_generation_is_named_once_and_the_old_one_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = publish_logos(tmp_path / "logos", 10)
    catalog = catalog_of(tmp_path)
    index = catalog.get(None)

    bad = publish_logos(tmp_path / "logos", 20)
    cut(bad / "index.bin")
    for _ in range(3):
        catalog.refresh()

    (status,) = catalog.status()
    assert catalog.get(None) is index
    assert len(index.nearest_to_vector(QUERY, 100).logo_ids) == 10
    assert (status.source, status.items) == (first.name, 10)
    assert f"{bad}/index.bin" in str(status.error)
    assert complaints(caplog) == ["ERROR"]

    good = publish_logos(tmp_path / "logos", 30)
    catalog.refresh()
    (status,) = catalog.status()
    assert (status.source, status.items, status.error) == (good.name, 30, None)


def test_a_changed_value_is_noticed_in_a_running_service(tmp_path: Path) -> None:
    """At the start it is not: the digest of all vectors takes seconds."""
    publish_logos(tmp_path / "logos", 10)
    catalog = catalog_of(tmp_path)
    changed = publish_logos(tmp_path / "logos", 20)
    content = bytearray((changed / "index.bin").read_bytes())
    content[20] ^= 1
    (changed / "index.bin").write_bytes(content)

    catalog.refresh()

    assert len(catalog.get(None)) == 10
    assert "SHA-256" in str(catalog.status()[0].error)
    assert len(catalog_of(tmp_path).get(None)) == 20


def test_a_changed_id_is_noticed_at_the_start(tmp_path: Path) -> None:
    good, changed = publish_logos(tmp_path / "logos", 10), publish_logos(tmp_path / "logos", 20)
    content = (changed / "index.txt").read_bytes()
    first = content.index(b"\n")
    (changed / "index.txt").write_bytes(b"9" * first + content[first:])

    (status,) = catalog_of(tmp_path).status()

    assert (status.source, status.items) == (good.name, 10)
    assert "index.txt: its SHA-256" in str(status.error)


def test_a_mended_generation_is_taken_in(tmp_path: Path) -> None:
    generation = publish_logos(tmp_path / "logos", 10)
    shutil.copy(generation / "index.bin", tmp_path / "good.bin")
    cut(generation / "index.bin")
    catalog = catalog_of(tmp_path)
    with pytest.raises(IndexUnavailableError):
        catalog.get(None)

    (tmp_path / "good.bin").replace(generation / "index.bin")
    catalog.refresh()

    assert len(catalog.get(None)) == 10


def test_a_bad_generation_at_the_start_gives_way_to_the_newest_good_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def publish_and_keep(count: int) -> Path:
        return publish(tmp_path / "logos", lambda directory: build(directory, some_logos(count)), keep=9)

    _, good, bad, current = (publish_and_keep(count) for count in (10, 20, 30, 40))
    cut(bad / "index.bin")
    (current / "index.txt").unlink()

    catalog = catalog_of(tmp_path)

    (status,) = catalog.status()
    assert len(catalog.get(None)) == 20
    assert (status.source, status.items) == (good.name, 20)
    assert f"{current}" in str(status.error)
    assert complaints(caplog) == ["ERROR", "ERROR"]


def test_a_link_to_nothing_gives_way_to_an_older_generation(tmp_path: Path) -> None:
    publish_logos(tmp_path / "logos", 10)
    shutil.rmtree(publish_logos(tmp_path / "logos", 20))

    assert len(catalog_of(tmp_path).get(None)) == 10


def test_a_default_index_that_cannot_be_served_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut(write_pair(tmp_path / "logos", some_logos(10)))
    write_pair(tmp_path / "brands", some_logos(20))

    catalog = catalog_of(tmp_path)

    with pytest.raises(IndexUnavailableError, match=r"index logos cannot be served: .*index\.bin"):
        catalog.get(None)
    assert len(catalog.get("brands")) == 20
    assert catalog.names() == ["brands"]
    assert "index logos" in caplog.text

    publish_logos(tmp_path / "logos", 30)
    catalog.refresh()
    assert len(catalog.get(None)) == 30


def test_another_index_that_cannot_be_served_is_unknown(tmp_path: Path) -> None:
    cut(write_pair(tmp_path / "brands", some_logos(10)))

    catalog = catalog_of(tmp_path)

    with pytest.raises(UnknownIndexError):
        catalog.get("brands")
    assert [status.name for status in catalog.status() if status.error] == ["brands"]


@pytest.mark.parametrize("missing", ["index.bin", "index.txt"])
def test_half_a_pair_is_not_served(tmp_path: Path, missing: str) -> None:
    write_pair(tmp_path / "logos", some_logos(10))
    (tmp_path / "logos" / missing).unlink()

    with pytest.raises(IndexUnavailableError, match=missing):
        catalog_of(tmp_path).get(None)


def test_a_default_index_whose_bad_files_are_removed_counts_as_empty_again(tmp_path: Path) -> None:
    cut(write_pair(tmp_path / "logos", some_logos(10)))
    catalog = catalog_of(tmp_path)

    shutil.rmtree(tmp_path / "logos")
    catalog.refresh()

    assert len(catalog.get(None)) == 0
    assert catalog.status()[0].error is None


def test_an_index_whose_files_are_removed_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    publish_logos(tmp_path / "logos", 10)
    catalog = catalog_of(tmp_path)

    shutil.rmtree(tmp_path / "logos")
    for _ in range(3):
        catalog.refresh()

    assert len(catalog.get(None).nearest_to_vector(QUERY, 100).logo_ids) == 10
    assert complaints(caplog) == ["ERROR"]


def test_vectors_of_other_weights_are_not_served(tmp_path: Path) -> None:
    publish_logos(tmp_path / "logos", 10, weights_digest="a")

    assert len(catalog_of(tmp_path, weights_digest="a").get(None)) == 10
    with pytest.raises(IndexUnavailableError, match="generate the index again"):
        catalog_of(tmp_path, weights_digest="b").get(None)


def test_an_index_directory_may_be_a_link(tmp_path: Path) -> None:
    publish_logos(tmp_path / "elsewhere" / "logos", 10)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "logos").symlink_to(tmp_path / "elsewhere" / "logos")

    assert len(catalog_of(tmp_path / "data").get(None)) == 10


def test_a_directory_that_may_not_be_looked_into_does_not_stop_the_rest() -> None:
    with tempfile.TemporaryDirectory() as name:
        data_dir = Path(name)
        data_dir.chmod(0o755)
        write_pair(data_dir / "logos", some_logos(10))
        write_pair(data_dir / "brands", some_logos(10))
        (data_dir / "brands").chmod(0)

        with without_privileges():
            catalog = catalog_of(data_dir)

        assert len(catalog.get(None)) == 10
        assert "Permission denied" in str(catalog.status()[0].error)


def test_a_link_to_itself_does_not_stop_the_rest(tmp_path: Path) -> None:
    (tmp_path / "brands").mkdir()
    (tmp_path / "brands" / "current").symlink_to("current")
    write_pair(tmp_path / "logos", some_logos(10))

    catalog = catalog_of(tmp_path)

    assert len(catalog.get(None)) == 10
    assert "symbolic links" in str(catalog.status()[0].error)


def test_files_that_change_while_they_are_read_are_left_to_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pair cannot be replaced in one step: the ids that were read may belong to another `index.bin`."""
    write_pair(tmp_path / "logos", some_logos(10))
    with monkeypatch.context() as replaced_meanwhile:

        def load_slowly(directory: Path, **options: Any) -> LoadedIndex:
            index = load_index(directory, **options)
            (directory / "index.txt").write_text("".join(f"{logo_id}\n" for logo_id in range(901, 911)))
            return index

        replaced_meanwhile.setattr("index.catalog.load_index", load_slowly)
        catalog = catalog_of(tmp_path)
    assert "changed while it was read" in str(catalog.status()[0].error)

    catalog.refresh()

    assert 901 in catalog.get(None)


def wait_for(catalog: IndexCatalog, count: int) -> None:
    wait_until(lambda: len(catalog.get(None)) == count)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[IndexCatalog]:
    catalog = catalog_of(tmp_path, reload_seconds=0.01)
    catalog.start()
    yield catalog
    catalog.close()


def test_the_watcher_takes_in_generations_while_queries_run(tmp_path: Path, watched: IndexCatalog) -> None:
    sizes, done = set[int](), threading.Event()

    def ask() -> None:
        while not done.is_set():
            index = watched.get(None)
            found = index.nearest_to_vector(QUERY, 1000)
            assert len(found.logo_ids) == len(index)
            sizes.add(len(index))

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    for count in range(20, 320, 20):
        publish_logos(tmp_path / "logos", count)
        wait_for(watched, count)
    done.set()
    for client in clients:
        client.join()

    assert len(sizes) > 5


def test_the_watcher_survives_what_nobody_foresaw(
    tmp_path: Path, watched: IndexCatalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("index.catalog.load_index", None)
        publish_logos(tmp_path / "logos", 20)
        wait_until(lambda: "the next check is in 0.01 s" in caplog.text)

    wait_for(watched, 20)


def test_closing_stops_the_watcher(tmp_path: Path, watched: IndexCatalog) -> None:
    watched.close()
    watched.close()

    publish_logos(tmp_path / "logos", 20)
    time.sleep(0.1)

    assert len(watched.get(None)) == 0


def test_a_catalog_that_was_never_started_can_be_closed(tmp_path: Path) -> None:
    catalog_of(tmp_path).close()


def test_each_load_is_told_with_how_it_ended(tmp_path: Path) -> None:
    told: list[tuple[str, bool]] = []
    publish_logos(tmp_path / "logos", 10)
    catalog = catalog_of(tmp_path, on_load=lambda name, taken_in: told.append((name, taken_in)))
    catalog.refresh()
    assert told == [("logos", True)]
    cut(publish_logos(tmp_path / "logos", 20) / "index.bin")
    catalog.refresh()
    assert told == [("logos", True), ("logos", False)]


def test_status_tells_when_the_index_was_built_if_that_is_known(tmp_path: Path) -> None:
    publish_logos(tmp_path / "logos", 10)
    write_pair(tmp_path / "pair", some_logos(10))
    logos, pair = catalog_of(tmp_path).status()
    assert logos.built_at is not None
    assert abs(time.time() - logos.built_at.timestamp()) < 300
    assert pair.built_at is None
