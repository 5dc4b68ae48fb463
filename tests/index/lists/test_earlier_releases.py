"""Indexes that earlier releases reduced: refused by name, while what a service answers from goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from index.catalog import IndexCatalog
from index.errors import IndexUnavailableError
from index.files.digests import record_of
from index.files.generations import publish
from index.files.manifest import RECORDS_NAME, Manifest
from tests.index.lists.samples import DIM, build, kept, logos_of

LOGOS = logos_of(100)


def reduced(directory: Path) -> Manifest:
    """Make a generation whose manifest is one of an earlier release."""
    manifest = build(directory, LOGOS)
    fields = json.loads((directory / "index.json").read_bytes())
    lists = fields.pop("lists")
    fields["reduction"] = {"tree_dim": 64, "code_dim": 252, "scale": 0.1}
    fields["reduction"] |= {name: lists[name] for name in ("components", "records")}
    (directory / "index.json").write_text(json.dumps(fields))
    return manifest


def without_filters(lists: dict[str, Any]) -> None:
    """As before filtered queries were measured."""
    del lists["filtered"]


def with_one_step(lists: dict[str, Any]) -> None:
    """As before long records had half bytes."""
    lists["step"] = 0.01


def catalog_of(data_dir: Path) -> IndexCatalog:
    return IndexCatalog(data_dir, dim=DIM, default="logos", vectors=kept(LOGOS))


def test_a_reduced_index_is_refused_with_the_command_that_builds_anew(tmp_path: Path) -> None:
    publish(tmp_path / "logos", reduced)
    catalog = catalog_of(tmp_path)
    with pytest.raises(
        IndexUnavailableError, match=r"reduced index of an earlier release: run `manage\.py generate-inde"
    ):
        catalog.get(None)

    publish(tmp_path / "logos", lambda directory: build(directory, LOGOS))
    catalog.refresh()
    assert len(catalog.get(None)) == 100


@pytest.mark.parametrize("earlier", [without_filters, with_one_step])
def test_lists_of_an_earlier_build_are_refused_with_the_command_that_builds_anew(
    tmp_path: Path, earlier: Callable[[dict[str, Any]], None]
) -> None:
    def read_in_another_way(directory: Path) -> Manifest:
        manifest = build(directory, LOGOS)
        fields = json.loads((directory / "index.json").read_bytes())
        earlier(fields["lists"])
        (directory / "index.json").write_text(json.dumps(fields))
        return manifest

    publish(tmp_path / "logos", read_in_another_way)
    with pytest.raises(IndexUnavailableError, match=r"lists of an earlier build: run `manage\.py generate"):
        catalog_of(tmp_path).get(None)


def test_records_of_another_size_are_those_of_an_earlier_build(tmp_path: Path) -> None:
    def with_longer_records(directory: Path) -> Manifest:
        manifest = build(directory, LOGOS)
        with (directory / RECORDS_NAME).open("ab") as file:
            file.write(bytes(4 * manifest.items))
        fields = json.loads((directory / "index.json").read_bytes())
        fields["lists"]["records"] = asdict(record_of(directory / RECORDS_NAME))
        (directory / "index.json").write_text(json.dumps(fields))
        return manifest

    publish(tmp_path / "logos", with_longer_records)
    with pytest.raises(IndexUnavailableError, match=r"lists of an earlier build: run `manage\.py generate"):
        catalog_of(tmp_path).get(None)


def test_what_was_loaded_answers_until_the_index_is_built_anew(tmp_path: Path) -> None:
    built = publish(tmp_path / "logos", lambda directory: build(directory, LOGOS))
    catalog = catalog_of(tmp_path)
    publish(tmp_path / "logos", reduced)
    catalog.refresh()
    status = catalog.status_of(None)
    assert (status.source, status.items) == (built.name, 100)
    assert "reduced index" in str(status.error)
    assert catalog.get(None).nearest_to_logo(int(LOGOS[0][3]), 4).logo_ids[0] == LOGOS[0][3]
