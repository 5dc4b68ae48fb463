"""Files that cannot be served: what a catalog says of each, and what it serves instead."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from index.errors import IndexUnavailableError, UnknownIndexError
from index.files.generations import publish
from index.loading import LoadedIndex, load_index
from tests.index.catalogs import QUERY, catalog_of, complaints, cut, publish_logos
from tests.index.samples import build, some_logos, without_privileges, write_pair


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
