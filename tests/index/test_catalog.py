"""A catalog finds the indexes of a data directory, and loads new ones."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from index.errors import DimensionError, UnknownIndexError
from tests.index.catalogs import QUERY, catalog_of, complaints, cut, publish_logos
from tests.index.samples import some_logos, write_pair


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


def test_an_index_directory_may_be_a_link(tmp_path: Path) -> None:
    publish_logos(tmp_path / "elsewhere" / "logos", 10)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "logos").symlink_to(tmp_path / "elsewhere" / "logos")

    assert len(catalog_of(tmp_path / "data").get(None)) == 10


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


def test_directories_of_other_stores_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pair(tmp_path / "logos", some_logos(10))
    write_pair(tmp_path / "clip", some_logos(10, dim=3))
    catalog = catalog_of(tmp_path, passes_over=lambda directory: directory.name == "clip")
    assert catalog.names() == ["logos"]
    assert not complaints(caplog)
    with pytest.raises(UnknownIndexError):
        catalog.get("clip")
