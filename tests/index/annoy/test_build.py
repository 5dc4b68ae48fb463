from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.annoy.build import Blocks, build_index, build_pair, estimated_size
from index.annoy.engine import AnnoySearchIndex
from index.errors import BuildInProgressError, IndexBuildError, IndexDamagedError
from index.exact import ExactIndex
from index.files.build_lock import build_lock
from index.files.manifest import read_manifest
from tests.index.samples import Logos, build, killed_before_each_step, some_logos


def in_blocks(logos: Logos, size: int) -> Blocks:
    for start in range(0, len(logos[0]), size):
        yield logos[0][start : start + size], logos[1][start : start + size]


def test_the_files_hold_what_was_given_and_say_so(tmp_path: Path) -> None:
    logos = some_logos(250)
    done: list[int] = []

    manifest = build_index(
        tmp_path,
        in_blocks(logos, 100),
        dim=8,
        rows=250,
        trees=5,
        seed=3,
        jobs=1,
        progress=done.append,
        model_name="efficientnet-b0",
        weights_digest="abc",
        stored_rows=260,
    )

    assert done == [100, 100, 50]
    assert read_manifest(tmp_path) == manifest
    assert (manifest.dim, manifest.items, manifest.trees, manifest.seed) == (8, 250, 5, 3)
    assert (manifest.model, manifest.weights_digest, manifest.stored_rows) == ("efficientnet-b0", "abc", 260)
    assert datetime.now(UTC) - datetime.fromisoformat(manifest.built_at) < timedelta(minutes=5)
    for name, record in (("index.bin", manifest.index_bin), ("index.txt", manifest.index_txt)):
        content = (tmp_path / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (record.size, record.sha256)
    assert (tmp_path / "index.txt").read_text().split() == [str(logo_id) for logo_id in logos[0]]
    found = AnnoySearchIndex.load(tmp_path, dim=8, digests=True).nearest_to_vector(logos[1][9], 250)
    assert found.logo_ids == ExactIndex(*logos).nearest_to_vector(logos[1][9], 250).logo_ids


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("seed", [None, 0, 5])
def test_one_job_with_the_same_seed_gives_the_same_bytes(tmp_path: Path, on_disk: bool, seed: int | None) -> None:
    first = build(tmp_path / "first", some_logos(500), seed=seed, on_disk=on_disk)
    second = build(tmp_path / "second", some_logos(500), seed=seed)

    assert first.index_bin == second.index_bin
    assert first.index_txt == second.index_txt


def test_another_seed_gives_other_trees(tmp_path: Path) -> None:
    first = build(tmp_path / "first", some_logos(500), seed=1)
    second = build(tmp_path / "second", some_logos(500), seed=2)

    assert first.index_bin != second.index_bin


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("jobs", [-1, 1, 2, 7])
def test_any_number_of_jobs_builds_all_trees(tmp_path: Path, jobs: int, on_disk: bool) -> None:
    build(tmp_path, some_logos(2000), trees=25, jobs=jobs, on_disk=on_disk)

    index = AnnoySearchIndex.load(tmp_path, dim=8, digests=True)

    assert index.trees == 25
    assert len(index) == 2000


@pytest.mark.parametrize("on_disk", [False, True])
def test_everyone_may_read_the_files(tmp_path: Path, on_disk: bool) -> None:
    build(tmp_path, some_logos(10), on_disk=on_disk)

    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}


def test_vectors_without_distances_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logo_ids, vectors = some_logos(100)
    vectors[3], vectors[50, 2], vectors[99] = np.nan, np.inf, 1e30

    manifest = build(tmp_path, (logo_ids, vectors))

    index = AnnoySearchIndex.load(tmp_path, dim=8)
    assert (manifest.items, manifest.stored_rows) == (97, 100)
    assert not {int(logo_id) for logo_id in logo_ids[[3, 50, 99]]} & set(
        index.nearest_to_vector(vectors[0], 100).logo_ids
    )
    assert "3 vectors are left out" in caplog.text


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"rows": 0}, "nothing to index"),
        ({"blocks": []}, "nothing to index"),
        ({"blocks": [(np.array([], np.int64), np.empty((0, 8), np.float32))]}, "nothing to index"),
        ({"blocks": [(np.array([1]), np.full((1, 8), np.nan, np.float32))]}, "nothing to index"),
        ({"blocks": [some_logos(5), some_logos(5)]}, "occurs twice"),
        ({"blocks": [(np.array([0]), np.zeros((1, 8), np.float32))]}, "ids are positive"),
        ({"blocks": [(np.array([1]), np.zeros((1, 7), np.float32))]}, "do not match"),
        ({"blocks": [(np.array([1, 2]), np.zeros((1, 8), np.float32))]}, "do not match"),
        ({"trees": 0}, "at least 1"),
        ({"jobs": 0}, "at least 1"),
        ({"jobs": -2}, "at least 1"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"rows": 2**50}, "GB free"),
    ],
)
def test_what_cannot_be_built_is_refused(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    arguments = {"blocks": [some_logos(5)], "dim": 8, "rows": 5, **options}

    with pytest.raises(IndexBuildError, match=reason):
        build_index(tmp_path, arguments.pop("blocks"), **arguments)
    assert not (tmp_path / "index.json").exists()


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_disk_error_is_a_build_error(tmp_path: Path, on_disk: bool) -> None:
    (tmp_path / "index.bin").mkdir()

    with pytest.raises(IndexBuildError):
        build(tmp_path, some_logos(5), on_disk=on_disk)


@pytest.mark.parametrize(("count", "dim", "trees"), [(3000, 4, 10), (3000, 64, 10), (300, 1280, 1)])
def test_the_size_is_estimated(tmp_path: Path, count: int, dim: int, trees: int) -> None:
    manifest = build(tmp_path, some_logos(count, dim), trees=trees)

    assert estimated_size(count, dim, trees) == pytest.approx(manifest.index_bin.size, rel=0.25)


def test_a_pair_is_written_into_a_directory_that_is_made(tmp_path: Path) -> None:
    logos = some_logos(50)

    build_pair(tmp_path / "a" / "b", [logos], dim=8, rows=50)

    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == [".index.lock", "index.bin", "index.txt"]
    assert len(AnnoySearchIndex.load(tmp_path / "a" / "b", dim=8)) == 50


def test_a_pair_can_be_named_by_its_bin_file(tmp_path: Path) -> None:
    build_pair(tmp_path / "logos.bin", [some_logos(50)], dim=8, rows=50)

    assert (tmp_path / "logos.bin").is_file()
    assert len((tmp_path / "logos.txt").read_text().splitlines()) == 50


def test_a_pair_takes_the_place_of_an_older_one_that_is_in_use(tmp_path: Path) -> None:
    build_pair(tmp_path, [some_logos(50)], dim=8, rows=50)
    old = AnnoySearchIndex.load(tmp_path, dim=8)

    build_pair(tmp_path, [some_logos(80, seed=1)], dim=8, rows=80)

    assert len(old.nearest_to_vector(some_logos(50)[1][0], 100).logo_ids) == 50
    assert len(AnnoySearchIndex.load(tmp_path, dim=8)) == 80


def test_a_pair_that_cannot_be_built_leaves_the_older_one(tmp_path: Path) -> None:
    build_pair(tmp_path, [some_logos(50)], dim=8, rows=50)

    with pytest.raises(IndexBuildError):
        build_pair(tmp_path, [some_logos(5), some_logos(5)], dim=8, rows=10)

    assert len(AnnoySearchIndex.load(tmp_path, dim=8)) == 50
    assert sorted(path.name for path in tmp_path.iterdir()) == [".index.lock", "index.bin", "index.txt"]


def test_two_builds_of_one_pair_do_not_meet(tmp_path: Path) -> None:
    with build_lock(tmp_path / ".index.lock", wait=False), pytest.raises(BuildInProgressError, match="another build"):
        build_pair(tmp_path, [some_logos(5)], dim=8, rows=5, wait=False)


def test_a_build_that_is_killed_at_any_step_never_leaves_the_ids_of_another_bin(tmp_path: Path) -> None:
    """Both pairs have 60 logos, so their number would not reveal a mixture."""
    new, old = some_logos(60, seed=0), some_logos(60, seed=1)
    query = np.zeros(8, np.float32)
    pairs = {"old": old, "new": new}
    whole = {name: ExactIndex(*logos).nearest_to_vector(query, 60).logo_ids for name, logos in pairs.items()}
    pair = tmp_path / "pair"
    build_pair(pair, [old], dim=8, rows=60)
    seen = []

    for _ in killed_before_each_step(pair, lambda: build_pair(pair, [new], dim=8, rows=60, trees=2, jobs=1)):
        try:
            found = AnnoySearchIndex.load(pair, dim=8).nearest_to_vector(query, 60).logo_ids
        except IndexDamagedError:
            seen.append("refused")
        else:
            seen.append(next(name for name, logo_ids in whole.items() if logo_ids == found))

        build_pair(pair, [new], dim=8, rows=60, trees=2)  # removes what the kill left
        assert sorted(path.name for path in pair.iterdir()) == [".index.lock", "index.bin", "index.txt"]

    assert list(dict.fromkeys(seen)) == ["old", "refused", "new"]
    assert seen.count("old") > 10
