from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import orjson
import pytest

from index.annoy import engine as annoy_engine
from index.annoy.engine import AnnoySearchIndex
from index.errors import DimensionError, IndexDamagedError
from index.exact import ExactIndex
from index.files.logo_ids import MAX_LOGO_ID
from index.files.verification import VerifiedFiles, verify_files
from tests.index.samples import build, some_logos, write_pair


@pytest.fixture(params=["generation", "original pair"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The files of `some_logos(1000)`, in both layouts."""
    if request.param == "generation":
        build(tmp_path, some_logos(1000))
    else:
        write_pair(tmp_path, some_logos(1000))
    return tmp_path


def test_neighbours_are_those_of_exact_search_when_all_is_inspected(directory: Path) -> None:
    logo_ids, vectors = some_logos(1000)
    exact = ExactIndex(logo_ids, vectors)
    index = AnnoySearchIndex.load(directory, dim=8, search_k=10_000)

    for query in some_logos(20, seed=1)[1]:
        expected, found = exact.nearest_to_vector(query, 50), index.nearest_to_vector(query, 50)
        assert found.logo_ids == expected.logo_ids
        assert found.distances == pytest.approx(expected.distances, rel=1e-5)
    for logo_id in logo_ids[:20].tolist():
        assert index.nearest_to_logo(logo_id, 50).logo_ids == exact.nearest_to_logo(logo_id, 50).logo_ids


def test_a_query_for_one_searches_as_hard_as_one_for_a_hundred(tmp_path: Path) -> None:
    write_pair(tmp_path, some_logos(3000, dim=32), trees=2)
    floored = AnnoySearchIndex.load(tmp_path, dim=32)
    unfloored = AnnoySearchIndex.load(tmp_path, dim=32, search_k_floor=1)
    queries = np.random.default_rng(1).normal(size=(100, 32)).astype(np.float32)

    nearest = [floored.nearest_to_vector(query, 100).logo_ids[:1] for query in queries]

    assert [floored.nearest_to_vector(query, 1).logo_ids for query in queries] == nearest
    assert [unfloored.nearest_to_vector(query, 1).logo_ids for query in queries] != nearest


def test_a_search_k_is_kept_to(tmp_path: Path) -> None:
    write_pair(tmp_path, some_logos(3000, dim=32), trees=2)
    hasty = AnnoySearchIndex.load(tmp_path, dim=32, search_k=1)
    thorough = AnnoySearchIndex.load(tmp_path, dim=32, search_k=6000)
    exact = ExactIndex(*some_logos(3000, dim=32))
    queries = np.random.default_rng(1).normal(size=(50, 32)).astype(np.float32)
    truth = [exact.nearest_to_vector(query, 1).logo_ids for query in queries]

    assert [thorough.nearest_to_vector(query, 1).logo_ids for query in queries] == truth
    assert [hasty.nearest_to_vector(query, 1).logo_ids for query in queries] != truth


@pytest.mark.parametrize("search_k", [None, 1, 2**40])
@pytest.mark.parametrize("count", [1000, 1001, 500, 2**40])
def test_a_count_is_met_however_little_is_inspected(directory: Path, search_k: int | None, count: int) -> None:
    index = AnnoySearchIndex.load(directory, dim=8, search_k=search_k, search_k_floor=1)
    logo_ids, vectors = some_logos(1000)

    by_vector = index.nearest_to_vector(vectors[0], count)
    by_logo = index.nearest_to_logo(int(logo_ids[0]), count)

    for found in (by_vector, by_logo):
        assert len(found.logo_ids) == len(set(found.logo_ids)) == len(found.distances) == min(count, 1000)
        assert found.distances == sorted(found.distances)


@pytest.mark.parametrize("search_k", [1, None])
@pytest.mark.parametrize("count", [1, 2, 5, 50, 200])
def test_a_logo_comes_first_even_among_duplicates(tmp_path: Path, count: int, search_k: int | None) -> None:
    build(tmp_path, (np.arange(1, 201), np.ones((200, 4), np.float32)))
    index = AnnoySearchIndex.load(tmp_path, dim=4, search_k=search_k)

    for logo_id in (1, 77, 200):
        found = index.nearest_to_logo(logo_id, count)
        assert found.logo_ids[0] == logo_id
        assert found.distances == [0.0] * count
        assert len(set(found.logo_ids)) == count


def test_equally_near_logos_come_in_the_order_they_were_indexed(tmp_path: Path) -> None:
    """Also those whose squared distances differ, by which Annoy orders, but not their roots."""
    steps = np.linspace(1.5, 1.5001, 1000, dtype=np.float32)
    build(tmp_path, (np.arange(1, 1001), np.stack([np.ones(1000), steps[::-1]], axis=1).astype(np.float32)))

    found = AnnoySearchIndex.load(tmp_path, dim=2).nearest_to_vector(np.zeros(2, np.float32), 1000)

    rows = list(zip(found.distances, found.logo_ids, strict=True))
    assert len(set(found.distances)) < 1000
    assert rows == sorted(rows)


def test_answers_are_plain_json(directory: Path) -> None:
    index = AnnoySearchIndex.load(directory, dim=8)

    found = index.nearest_to_logo(int(some_logos(1000)[0][0]), 3)

    assert orjson.loads(orjson.dumps([found.logo_ids, found.distances])) == [found.logo_ids, found.distances]


def test_large_ids_survive(tmp_path: Path) -> None:
    build(tmp_path, (np.array([MAX_LOGO_ID, 2**53 + 1]), np.eye(2, dtype=np.float32)))

    found = AnnoySearchIndex.load(tmp_path, dim=2).nearest_to_logo(MAX_LOGO_ID, 2)

    assert found.logo_ids == [MAX_LOGO_ID, 2**53 + 1]


def test_members_are_known(directory: Path) -> None:
    index = AnnoySearchIndex.load(directory, dim=8)
    logo_ids = set(some_logos(1000)[0].tolist())

    assert len(index) == 1000
    assert index.dim == 8
    assert index.trees == 10
    assert all(logo_id in index for logo_id in logo_ids)
    assert 3001 not in index
    assert index.random_logo() in logo_ids


def test_an_index_of_one_logo_answers(tmp_path: Path) -> None:
    build(tmp_path, (np.array([5]), np.ones((1, 4), np.float32)))
    index = AnnoySearchIndex.load(tmp_path, dim=4)

    assert index.trees == 10  # Annoy says 20
    assert index.nearest_to_logo(5, 100).logo_ids == [5]
    assert index.nearest_to_vector(np.zeros(4, np.float32), 100).distances == [2.0]


def test_bad_questions_are_refused(directory: Path) -> None:
    index = AnnoySearchIndex.load(directory, dim=8)
    known = index.random_logo()
    assert known is not None

    with pytest.raises(KeyError):
        index.nearest_to_logo(999_999, 1)
    with pytest.raises(DimensionError):
        index.nearest_to_vector(np.zeros(7, np.float32), 1)
    with pytest.raises(ValueError, match="not finite"):
        index.nearest_to_vector(np.full(8, np.nan, np.float32), 1)
    for count in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            index.nearest_to_logo(known, count)
        with pytest.raises(ValueError, match="at least 1"):
            index.nearest_to_vector(np.zeros(8, np.float32), count)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_a_damaged_vector_never_gives_a_distance_that_is_no_number(tmp_path: Path, value: float) -> None:
    path = write_pair(tmp_path, some_logos(50, 4))
    nodes = np.fromfile(path, np.float32).reshape(-1, 8)
    nodes[7, 4:] = value
    nodes.tofile(path)
    index = AnnoySearchIndex.load(tmp_path, dim=4)
    logo_ids = some_logos(50, 4)[0].tolist()

    others = index.nearest_to_vector(np.zeros(4, np.float32), 50)
    itself = index.nearest_to_logo(logo_ids[7], 50)

    assert sorted(others.logo_ids) == sorted(set(logo_ids) - {logo_ids[7]})
    assert np.isfinite(others.distances).all()
    assert (itself.logo_ids, itself.distances) == ([logo_ids[7]], [0.0])


def test_files_may_be_replaced_and_removed_under_a_loaded_index(directory: Path) -> None:
    vectors = some_logos(1000)[1]
    index = AnnoySearchIndex.load(directory, dim=8)
    before = index.nearest_to_vector(vectors[5], 20)

    write_pair(directory / "other", some_logos(10))
    (directory / "other" / "index.bin").replace(directory / "index.bin")
    (directory / "index.txt").unlink()

    assert index.nearest_to_vector(vectors[5], 20) == before


def test_an_index_may_be_dropped_while_others_search_it(directory: Path) -> None:
    vectors = some_logos(1000)[1]

    def search(round_: int) -> int:
        found = AnnoySearchIndex.load(directory, dim=8).nearest_to_vector(vectors[round_], 100)
        gc.collect()
        return len(found.logo_ids)

    gc.freeze()  # what others left is not looked through
    try:
        with ThreadPoolExecutor(4) as threads:
            assert set(threads.map(search, range(16))) == {100}
    finally:
        gc.unfreeze()


def test_a_file_that_was_replaced_after_its_check_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = write_pair(directory / "other", some_logos(1000, seed=1))

    def check_then_replace(directory: Path, *, dim: int, weights_digest: str, digests: bool) -> VerifiedFiles:
        files = verify_files(directory, dim=dim, weights_digest=weights_digest, digests=digests)
        other.replace(directory / "index.bin")
        return files

    monkeypatch.setattr(annoy_engine, "verify_files", check_then_replace)

    with pytest.raises(IndexDamagedError, match="was replaced"):
        AnnoySearchIndex.load(directory, dim=8)


def test_a_file_that_vanishes_after_its_check_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check_then_remove(directory: Path, *, dim: int, weights_digest: str, digests: bool) -> VerifiedFiles:
        files = verify_files(directory, dim=dim, weights_digest=weights_digest, digests=digests)
        (directory / "index.bin").unlink()
        return files

    monkeypatch.setattr(annoy_engine, "verify_files", check_then_remove)

    with pytest.raises(IndexDamagedError, match="cannot be loaded"):
        AnnoySearchIndex.load(directory, dim=8)
