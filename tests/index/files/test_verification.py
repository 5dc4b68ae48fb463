from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from index.errors import IndexDamagedError
from index.files.audit import audit
from index.files.generations import publish
from index.files.verification import verify_files
from tests.index.samples import build, some_logos, write_pair


def test_the_content_of_sound_files_is_returned(tmp_path: Path) -> None:
    build(tmp_path, some_logos(100), trees=7)
    read: list[int] = []

    files = verify_files(tmp_path, dim=8, digests=True, progress=read.append)

    assert (len(files.logo_ids), files.trees) == (100, 7)
    assert sum(read) == (tmp_path / "index.bin").stat().st_size


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dim": 9}, "its vectors have 9 values, those of the store 8"),
        ({"items": 99}, "it has 100 logos, index.json says 99"),
        ({"trees": 11}, "it has 10 trees, index.json says 11"),
        ({"index_txt": {"size": 5, "sha256": "0" * 64}}, r"index.txt: it has \d+ bytes, index.json says 5"),
        ({"index_bin": {"size": 5, "sha256": "0" * 64}}, r"index.bin: it has \d+ bytes, index.json says 5"),
    ],
)
def test_files_that_are_not_what_the_manifest_says_are_refused(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    build(tmp_path, some_logos(100))
    manifest = tmp_path / "index.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))

    with pytest.raises(IndexDamagedError, match=reason):
        verify_files(tmp_path, dim=8)


def test_only_the_digest_tells_a_changed_coordinate(tmp_path: Path) -> None:
    build(tmp_path, some_logos(100))
    content = bytearray((tmp_path / "index.bin").read_bytes())
    content[20] ^= 1  # in the vector of the first logo
    (tmp_path / "index.bin").write_bytes(content)

    verify_files(tmp_path, dim=8)
    with pytest.raises(IndexDamagedError, match=r"index\.bin: its SHA-256 is"):
        verify_files(tmp_path, dim=8, digests=True)


@pytest.mark.parametrize("digests", [False, True])
def test_a_changed_digit_of_an_id_is_never_another_logo(tmp_path: Path, digests: bool) -> None:
    build(tmp_path, some_logos(100))
    content = (tmp_path / "index.txt").read_bytes()
    first = content.index(b"\n")
    (tmp_path / "index.txt").write_bytes(b"9" * first + content[first:])

    with pytest.raises(IndexDamagedError, match=r"index\.txt: its SHA-256 is"):
        verify_files(tmp_path, dim=8, digests=digests)


@pytest.mark.parametrize(("built", "stored"), [("a", "a"), ("", "a"), ("a", "")])
def test_equal_or_unknown_weights_are_accepted(tmp_path: Path, built: str, stored: str) -> None:
    build(tmp_path, some_logos(10), weights_digest=built)

    verify_files(tmp_path, dim=8, weights_digest=stored)


def test_vectors_of_other_weights_are_refused(tmp_path: Path) -> None:
    build(tmp_path, some_logos(10), weights_digest="a")

    with pytest.raises(IndexDamagedError, match="generate the index again"):
        verify_files(tmp_path, dim=8, weights_digest="b")


def test_a_generation_without_a_manifest_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / "generations" / "20250101T000000Z", some_logos(10))

    with pytest.raises(IndexDamagedError, match=r"index\.json"):
        verify_files(tmp_path / "generations" / "20250101T000000Z", dim=8)


def test_an_audit_names_what_is_damaged_and_what_is_good(tmp_path: Path) -> None:
    good = publish(tmp_path / "a", lambda directory: build(directory, some_logos(10)))
    damaged = publish(tmp_path / "b", lambda directory: build(directory, some_logos(10)))
    (damaged / "index.txt").write_text("1\n")
    write_pair(tmp_path / "c", some_logos(10))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "current").symlink_to("generations/gone")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "store.hdf5").touch()

    found = dict(audit(tmp_path, dim=8))

    assert found[good] is None
    assert "it has 1 logos" in str(found[damaged])
    assert found[tmp_path / "c"] is None
    assert "No such file" in str(found[tmp_path / "d" / "generations" / "gone"])
    assert len(found) == 4
