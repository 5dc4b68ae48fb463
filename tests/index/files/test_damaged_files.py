"""An index with damaged files is refused, or gives right results; the process survives."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from index.annoy.engine import AnnoySearchIndex
from index.annoy.file_check import check_annoy_file, node_size
from index.errors import IndexDamagedError
from tests.index.samples import Logos, build, some_logos, without_privileges, write_pair

SHAPES = [
    # logos, values, trees, jobs
    (1, 4, 1, 1),
    (1, 1280, 10, 2),
    (2, 4, 10, 1),
    (10, 4, 1, 1),
    (10, 4, 100, 2),
    (10, 1280, 10, 1),
    (300, 4, 10, 2),
    (300, 4, 100, 1),
    (300, 1280, 10, 1),
    (3000, 4, 1, 1),
    (3000, 4, 10, 2),
    (3000, 1280, 1, 2),
]


def assert_truthful(index: AnnoySearchIndex, logos: Logos) -> None:
    """Check that every logo is found, with its own id and distance."""
    logo_ids, vectors = logos
    found = index.nearest_to_vector(vectors[0], len(logo_ids))
    assert sorted(found.logo_ids) == sorted(logo_ids.tolist())
    places = {int(logo_id): place for place, logo_id in enumerate(logo_ids)}
    differences = vectors[[places[logo_id] for logo_id in found.logo_ids]] - vectors[0]
    assert found.distances == pytest.approx(np.sqrt((differences**2).sum(axis=1)), rel=1e-4, abs=1e-4)


@contextmanager
def whole_afterwards(directory: Path, logos: Logos) -> Iterator[None]:
    """Check that an index that was loaded before still gives results."""
    untouched = directory.parent / "untouched"
    shutil.copytree(directory, untouched)
    index = AnnoySearchIndex.load(untouched, dim=logos[1].shape[1])
    yield
    assert_truthful(index, logos)


@pytest.mark.parametrize(("count", "dim", "trees", "jobs"), SHAPES)
def test_a_cut_pair_is_refused_wherever_it_is_cut(tmp_path: Path, count: int, dim: int, trees: int, jobs: int) -> None:
    logos = some_logos(count, dim)
    path = write_pair(tmp_path / "pair", logos, trees, jobs)
    size, node = path.stat().st_size, node_size(dim)
    rng = np.random.default_rng(0)
    cuts = {int(cut) for cut in rng.integers(0, size, 40)}
    cuts |= {size - node * nodes for nodes in range(1, 3 * trees + 3)}  # within the copies of the roots, and before
    cuts |= {node * int(nodes) for nodes in rng.integers(0, size // node, 40)}
    cuts |= {size - 1, size - node - 1, 1, 0}

    with whole_afterwards(tmp_path / "pair", logos):
        for cut in sorted((cut for cut in cuts if cut >= 0), reverse=True):
            os.truncate(path, cut)
            if count <= dim + 2 and cut > node * count and (cut - node * count) % (2 * node) == 0:
                # Each of these trees is a single bucket with all logos, so this is a good file with fewer trees.
                assert_truthful(AnnoySearchIndex.load(path.parent, dim=dim), logos)
            else:
                with pytest.raises(IndexDamagedError):
                    AnnoySearchIndex.load(path.parent, dim=dim)


@pytest.mark.parametrize(("count", "dim", "trees", "jobs"), SHAPES)
def test_a_cut_generation_is_refused_wherever_it_is_cut(
    tmp_path: Path, count: int, dim: int, trees: int, jobs: int
) -> None:
    logos = some_logos(count, dim)
    build(tmp_path / "built", logos, trees=trees, jobs=jobs)
    path = tmp_path / "built" / "index.bin"
    size, node = path.stat().st_size, node_size(dim)

    for cut in (size - 1, size - node, size - 2 * node, size // 2, node, 0):
        os.truncate(path, cut)
        with pytest.raises(IndexDamagedError):
            AnnoySearchIndex.load(path.parent, dim=dim)


@pytest.mark.parametrize("count", [1, 5, 10, 300])
def test_nodes_added_at_the_end_are_refused(tmp_path: Path, count: int) -> None:
    path = write_pair(tmp_path, some_logos(count, 4), trees=3)
    whole = path.read_bytes()

    for added in (b"\0" * node_size(4), whole[-node_size(4) :], whole[: node_size(4)], b"x"):
        path.write_bytes(whole + added)
        with pytest.raises(IndexDamagedError):
            AnnoySearchIndex.load(tmp_path, dim=4)


@pytest.mark.parametrize(("count", "dim"), [(1, 4), (10, 1280), (300, 4), (300, 64)])
def test_any_changed_byte_outside_the_vectors_is_refused_or_harmless(tmp_path: Path, count: int, dim: int) -> None:
    """The structure does not reveal every change, but no change causes a wrong result."""
    logos = some_logos(count, dim)
    path = write_pair(tmp_path, logos, trees=5)
    whole = path.read_bytes()
    node = node_size(dim)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(300):
        number = int(rng.integers(0, len(whole) // node))
        span = 16 if number < count else node
        place = number * node + int(rng.integers(0, span))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ int(rng.integers(1, 256))]) + whole[place + 1 :])
        try:
            index = AnnoySearchIndex.load(tmp_path, dim=dim)
        except IndexDamagedError:
            refused += 1
            continue
        found = index.nearest_to_vector(logos[1][0], count)
        places = {int(logo_id): place for place, logo_id in enumerate(logos[0])}
        differences = logos[1][[places[logo_id] for logo_id in found.logo_ids]] - logos[1][0]
        assert found.distances == pytest.approx(np.sqrt((differences**2).sum(axis=1)), rel=1e-4, abs=1e-4)
    assert refused > 10


@pytest.mark.parametrize("count", [1, 2, 10, 100])
def test_a_changed_number_of_descendants_is_refused_in_any_node(tmp_path: Path, count: int) -> None:
    path = write_pair(tmp_path, some_logos(count, 4), trees=3)
    whole = np.fromfile(path, np.int32).reshape(-1, 8)

    for number in range(len(whole)):
        for wrong in (-1, 0, 2 if number < count else 1, 3, 7, count, 2**31 - 1, -(2**31)):
            if wrong == whole[number, 0]:
                continue
            damaged = whole.copy()
            damaged[number, 0] = wrong
            damaged.tofile(path)
            with pytest.raises(IndexDamagedError):
                AnnoySearchIndex.load(tmp_path, dim=4)


def test_a_child_that_is_out_of_range_or_elsewhere_in_the_tree_is_refused(tmp_path: Path) -> None:
    path = write_pair(tmp_path, some_logos(100, 4), trees=3)
    whole = np.fromfile(path, np.int32).reshape(-1, 8)

    for number in range(100, len(whole)):
        used = min(int(whole[number, 0]), 6) if whole[number, 0] <= 6 else 2
        place = 2 + number % used
        for wrong in {-1, 100, number, len(whole) - 1, len(whole), 2**31 - 1} - {int(whole[number, place])}:
            damaged = whole.copy()
            damaged[number, place] = wrong
            damaged.tofile(path)
            with pytest.raises(IndexDamagedError):
                AnnoySearchIndex.load(tmp_path, dim=4)


def test_a_negative_number_of_descendants_is_refused_even_if_the_sums_are_right(tmp_path: Path) -> None:
    nodes = np.zeros((16, 8), np.int32)
    nodes[:10, 0] = 1
    nodes[10, 0] = -1
    nodes[11, 0], nodes[11, 2:7] = 5, range(5)
    nodes[12, 0], nodes[12, 2:] = 6, range(4, 10)
    nodes[13, 0], nodes[13, 2:4] = 5 + 6, (11, 12)
    nodes[14:, 0], nodes[14:, 2:4] = 5 + 6 - 1, (10, 13)
    nodes.tofile(tmp_path / "index.bin")
    (tmp_path / "index.txt").write_text("".join(f"{logo_id}\n" for logo_id in range(1, 11)))

    with pytest.raises(IndexDamagedError, match="something other than logos"):
        AnnoySearchIndex.load(tmp_path, dim=4)


@pytest.mark.parametrize("count", [5, 300])
def test_a_stray_node_among_the_roots_at_the_end_is_refused(tmp_path: Path, count: int) -> None:
    path = write_pair(tmp_path, some_logos(count, 4), trees=2)
    nodes = np.fromfile(path, np.int32).reshape(-1, 8)
    np.insert(nodes, len(nodes) - 1, [1, 0, 0, 0, 0, 0, 0, 0], axis=0).tofile(path)

    with pytest.raises(IndexDamagedError):
        AnnoySearchIndex.load(tmp_path, dim=4)


def test_what_lies_behind_the_last_child_of_a_bucket_does_not_matter(tmp_path: Path) -> None:
    logos = some_logos(100, 8)
    path = write_pair(tmp_path, logos)
    nodes = np.fromfile(path, np.int32).reshape(-1, 12)
    buckets = np.flatnonzero((np.arange(len(nodes)) >= 100) & (nodes[:, 0] < 10))
    nodes[buckets, -1] = -1
    nodes.tofile(path)

    assert_truthful(AnnoySearchIndex.load(tmp_path, dim=8), logos)


def test_roots_that_were_overwritten_at_the_end_are_refused(tmp_path: Path) -> None:
    path = write_pair(tmp_path, some_logos(300, 4), trees=3)
    nodes = np.fromfile(path, np.int32).reshape(-1, 8)
    nodes[-1] = nodes[-2]
    nodes.tofile(path)

    with pytest.raises(IndexDamagedError, match="not those of its trees"):
        AnnoySearchIndex.load(tmp_path, dim=4)


@pytest.mark.parametrize("count", [50, 2000])  # one block, and several
def test_a_file_that_is_cut_while_it_is_read_is_refused(tmp_path: Path, count: int) -> None:
    path = write_pair(tmp_path, some_logos(count, 1280), trees=1)

    with FileIO(path) as file, pytest.raises(IndexDamagedError, match="while it was read"):
        check_annoy_file(file, dim=1280, items=count, seen=lambda _content: os.truncate(path, 100))


def test_random_bytes_are_refused(tmp_path: Path) -> None:
    path = write_pair(tmp_path, some_logos(10, 4))
    rng = np.random.default_rng(0)

    for size in (1, 32, 320, 32_000, 100_001):
        path.write_bytes(rng.bytes(size))
        with pytest.raises(IndexDamagedError):
            AnnoySearchIndex.load(tmp_path, dim=4)


def test_zeros_are_refused(tmp_path: Path) -> None:
    """Some file systems leave zeros in a file that was written just before a power cut."""
    path = write_pair(tmp_path, some_logos(10, 4))
    path.write_bytes(bytes(path.stat().st_size))

    with pytest.raises(IndexDamagedError):
        AnnoySearchIndex.load(tmp_path, dim=4)
    (tmp_path / "index.txt").write_bytes(b"")
    with pytest.raises(IndexDamagedError):
        AnnoySearchIndex.load(tmp_path, dim=4)


def test_an_index_without_logos_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, some_logos(0, 4))

    with pytest.raises(IndexDamagedError, match="no logos"):
        AnnoySearchIndex.load(tmp_path, dim=4)


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 8, 12, 28, 1280])
def test_vectors_of_another_dimension_are_refused(tmp_path: Path, dim: int) -> None:
    write_pair(tmp_path / "pair", some_logos(300, 4))
    build(tmp_path / "built", some_logos(300, 4))

    for directory in (tmp_path / "pair", tmp_path / "built"):
        with pytest.raises(IndexDamagedError):
            AnnoySearchIndex.load(directory, dim=dim)


@pytest.mark.parametrize("change", ["one less", "one more", "none", "half a line"])
def test_another_number_of_ids_is_refused(tmp_path: Path, change: str) -> None:
    write_pair(tmp_path, some_logos(30, 4))
    lines = (tmp_path / "index.txt").read_bytes().splitlines(keepends=True)
    changed = {"one less": lines[:-1], "one more": [*lines, b"999\n"], "none": [], "half a line": [*lines[:-1], b"9"]}
    (tmp_path / "index.txt").write_bytes(b"".join(changed[change]))

    with pytest.raises(IndexDamagedError):
        AnnoySearchIndex.load(tmp_path, dim=4)


@pytest.mark.parametrize("name", ["index.bin", "index.txt", "index.json"])
@pytest.mark.parametrize("instead", ["nothing", "a directory", "a pipe", "a loop of links", "an empty file"])
def test_other_things_than_files_are_refused(tmp_path: Path, name: str, instead: str) -> None:
    generation = tmp_path / "generations" / "20250101T000000Z"
    build(generation, some_logos(30, 4))
    path = generation / name
    path.unlink()
    match instead:
        case "a directory":
            path.mkdir()
        case "a pipe":
            os.mkfifo(path)
        case "a loop of links":
            path.symlink_to(path)
        case "an empty file":
            path.touch()

    with pytest.raises(IndexDamagedError, match=r"index\.(bin|txt|json)"):
        AnnoySearchIndex.load(generation, dim=4)


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, some_logos(30, 4))
    (tmp_path / "index.bin").chmod(0)
    with without_privileges(), pytest.raises(IndexDamagedError, match="Permission denied"):
        AnnoySearchIndex.load(tmp_path, dim=4)
