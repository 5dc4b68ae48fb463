from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from index.errors import IndexDamagedError
from index.files.manifest import FileRecord, Manifest, read_manifest, write_manifest

MANIFEST = Manifest(
    dim=8,
    items=100,
    trees=10,
    seed=None,
    index_bin=FileRecord(1000, "0" * 64),
    index_txt=FileRecord(200, "a" * 64),
    model="efficientnet-b0",
    weights_digest="b" * 64,
    built_at="2025-01-31T03:00:00+00:00",
    stored_rows=101,
)


@pytest.mark.parametrize("manifest", [MANIFEST, replace(MANIFEST, seed=7, model="", weights_digest="")])
def test_a_manifest_is_read_as_it_was_written(tmp_path: Path, manifest: Manifest) -> None:
    write_manifest(tmp_path, manifest)

    assert read_manifest(tmp_path) == manifest


def test_the_file_says_what_it_is() -> None:
    fields = json.loads(MANIFEST.format())

    assert (fields["format"], fields["metric"], fields["items"]) == (1, "euclidean", 100)
    assert fields["index_bin"] == {"size": 1000, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format": None},
        {"metric": "angular"},
        {"dim": 0},
        {"dim": "8"},
        {"items": 1.0},
        {"items": True},
        {"trees": None},
        {"seed": "1"},
        {"built_at": "yesterday"},
        {"model": 1},
        {"index_bin": None},
        {"index_bin": {"size": 1000}},
        {"index_bin": {"size": 0, "sha256": "0" * 64}},
        {"index_bin": {"size": 1000, "sha256": "0" * 63}},
        {"index_bin": {"size": 1000, "sha256": 0}},
        {"index_txt": {"size": 1000, "sha256": "0" * 64, "more": 1}},
        {"unknown": 1},
    ],
)
def test_a_field_with_a_wrong_value_is_refused(change: dict[str, Any]) -> None:
    fields = json.loads(MANIFEST.format())

    with pytest.raises(ValueError, match=r"of format 1|wrong type|at least 1|isoformat|no SHA-256"):
        Manifest.parse(json.dumps(fields | change).encode())


@pytest.mark.parametrize("name", list(json.loads(MANIFEST.format())))
def test_a_missing_field_is_refused(name: str) -> None:
    fields = json.loads(MANIFEST.format())
    del fields[name]

    with pytest.raises(ValueError, match=name):
        Manifest.parse(json.dumps(fields).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff", b"\0" * 100, b"[" * 100_000])
def test_other_content_is_not_accepted_as_a_manifest(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "index.json").write_bytes(content)

    with pytest.raises(IndexDamagedError, match=r"index\.json"):
        read_manifest(tmp_path)


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexDamagedError, match=r"index\.json"):
        read_manifest(tmp_path)
