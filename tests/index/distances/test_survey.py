"""The survey of distances: what it measures, how it is stored, and the groups that near pairs form."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from index.distances.all_pairs import all_near_pairs
from index.distances.groups import Group, groups_of
from index.distances.survey import ALL_PAIRS_OF, CUT_OFF, SEARCHED, survey
from index.distances.survey_file import SURVEY_NAME, NearPairs, Survey, read_survey, survey_stamp, write_survey
from index.errors import IndexDamagedError
from index.exact import ExactIndex

DIM = 16


def drawn(count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Draw logos of which every tenth has a near copy, and the first one twenty."""
    rng = np.random.default_rng(count)
    vectors = rng.standard_normal((count, DIM)).astype(np.float32)
    copies = np.concatenate([vectors[::10], np.repeat(vectors[:1], 20, axis=0)])
    all_vectors = np.concatenate([vectors, copies + rng.standard_normal(copies.shape).astype(np.float32) / 1000])
    return np.arange(1001, 1001 + len(all_vectors)), all_vectors


def surveyed(
    ids: NDArray[np.int64], vectors: NDArray[np.float32], *, searched: int = SEARCHED, all_pairs_of: int = ALL_PAIRS_OF
) -> Survey:
    rows = dict(zip(ids.tolist(), vectors, strict=True))
    index = ExactIndex(ids.tolist(), vectors)

    def of_logos(some: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.array([rows[logo_id] for logo_id in some.tolist()], np.float32).reshape(-1, DIM)

    return survey(index, ids, of_logos, searched=searched, all_pairs_of=all_pairs_of)


def test_distances_are_those_of_the_vectors() -> None:
    ids, vectors = drawn(100)
    found = surveyed(ids, vectors)
    between = np.linalg.norm(vectors[:, np.newaxis] - vectors, axis=2)
    any_two = between[np.triu_indices(len(ids), 1)]
    assert found.any_two == pytest.approx(np.percentile(any_two, range(101)), abs=1e-4)
    np.fill_diagonal(between, np.inf)
    assert found.nearest == pytest.approx(np.percentile(between.min(axis=1), range(101)), abs=1e-4)
    assert found.searched == len(ids)
    assert found.cut_off == pytest.approx(CUT_OFF * np.median(any_two), abs=1e-4)


@pytest.mark.parametrize("all_pairs_of", [0, ALL_PAIRS_OF], ids=["searched", "all pairs"])
def test_every_copy_is_in_the_group_of_its_original(all_pairs_of: int) -> None:
    ids, vectors = drawn(100)
    groups = groups_of(surveyed(ids, vectors, all_pairs_of=all_pairs_of).pairs, 0.1)
    assert [len(group.logo_ids) for group in groups] == [22, *[2] * 9]
    assert groups[0].logo_ids[:2] == [1001, 1101]
    assert {tuple(group.logo_ids) for group in groups[1:]} == {(1001 + 10 * i, 1101 + i) for i in range(1, 10)}
    assert all(0 < group.distance < 0.02 for group in groups)


def test_all_near_pairs_are_found() -> None:
    ids, vectors = drawn(1500)
    found = surveyed(ids, vectors)
    between = np.linalg.norm(vectors[:, np.newaxis].astype(np.float64) - vectors, axis=2)
    one, other = np.nonzero(np.triu(between <= found.cut_off, 1))
    assert {(*pair,) for pair in found.pairs.logo_ids.tolist()} == {
        *zip(ids[one].tolist(), ids[other].tolist(), strict=True)
    }
    assert np.sort(found.pairs.distances) == pytest.approx(np.sort(between[one, other]), abs=1e-6)


def test_what_is_alike_in_the_strongest_directions_alone_does_not_crowd_out_a_near_pair() -> None:
    rng = np.random.default_rng(3)
    strong = np.repeat(rng.standard_normal((40, 60)) * 10, 30, axis=0)  # 40 groups of 30, alike in 60 directions
    weak = rng.standard_normal((len(strong), 200)) * 0.5
    vectors = np.hstack([strong, weak]).astype(np.float32)
    vectors[5] = vectors[1190] = vectors[0]
    vectors[1190, -1] += 0.01
    ids = np.arange(1, 1 + len(vectors))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("index.distances.all_pairs.MOST_OF_A_LOGO", 3)
        pairs, _ = all_near_pairs(ids, lambda some: vectors[some - 1], 1.0)
    assert {(*pair,) for pair in pairs.tolist()} == {(1, 6), (1, 1191), (6, 1191)}


def test_very_many_equal_pictures_are_one_group() -> None:
    ids, vectors = drawn(20)
    equal = np.repeat(vectors[:1], 400, axis=0)
    found = surveyed(np.arange(1, 1 + len(equal) + len(ids)), np.concatenate([equal, vectors[1:], vectors[1:2]]))
    assert len(found.pairs.distances) < 400 * 160  # of 79,800
    assert len(groups_of(found.pairs, 0.0)[0].logo_ids) == 400


def test_a_sample_finds_the_pairs_that_one_of_its_logos_is_in() -> None:
    ids, vectors = drawn(400)
    some, all_of_them = surveyed(ids, vectors, searched=100, all_pairs_of=0), surveyed(ids, vectors)
    of_some, of_all = ({(*pair,) for pair in found.pairs.logo_ids.tolist()} for found in (some, all_of_them))
    assert some.searched == 100
    assert set() < of_some < of_all


def test_one_logo_has_no_distances() -> None:
    found = surveyed(np.array([7]), np.ones((1, DIM), np.float32))
    assert (len(found.any_two), len(found.nearest), len(found.pairs.distances), found.searched) == (0, 0, 0, 1)


def test_a_survey_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_survey(tmp_path) is None
    assert survey_stamp(tmp_path) is None
    written = surveyed(*drawn(100))
    write_survey(tmp_path, written)
    read = read_survey(tmp_path)
    assert read is not None
    assert survey_stamp(tmp_path) is not None
    assert read.any_two == pytest.approx(written.any_two, abs=1e-6)
    assert read.nearest == pytest.approx(written.nearest, abs=1e-6)
    assert read.pairs.logo_ids.tolist() == written.pairs.logo_ids.tolist()
    assert read.pairs.distances == pytest.approx(written.pairs.distances, abs=1e-6)
    assert read.searched == written.searched
    assert read.cut_off == pytest.approx(written.cut_off, abs=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"generation": "another"},
        {"any_two": [1.0]},
        {"nearest": [-1.0] * 101},
        {"cut_off": "0.5"},
        {"searched": 1.5},
        {"pairs": {"one": [1], "other": [2], "distance": []}},
        {"pairs": {"one": [0], "other": [2], "distance": [0.1]}},
        {"pairs": {"one": [2**63], "other": [2], "distance": [0.1]}},
        {"pairs": None},
        {"more": 1},
    ],
)
def test_a_damaged_survey_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    write_survey(tmp_path, surveyed(*drawn(10)))
    path = tmp_path / SURVEY_NAME
    fields = orjson.loads(gzip.decompress(path.read_bytes()))
    path.write_bytes(gzip.compress(orjson.dumps(fields | changes)))
    with pytest.raises(IndexDamagedError, match=SURVEY_NAME):
        read_survey(tmp_path)


def test_a_survey_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    write_survey(tmp_path, surveyed(*drawn(10)))
    path = tmp_path / SURVEY_NAME
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(IndexDamagedError):
        read_survey(tmp_path)


PAIRS = NearPairs(np.array([[1, 2], [5, 6], [2, 3], [3, 4], [6, 7]]), np.array([0.0, 0.1, 0.2, 0.3, 0.4]))


@pytest.mark.parametrize(
    ("max_distance", "without", "expected"),
    [
        (1.0, [], [Group([1, 2, 3, 4], 0.3), Group([5, 6, 7], 0.4)]),
        (0.2, [], [Group([1, 2, 3], 0.2), Group([5, 6], 0.1)]),
        (0.0, [], [Group([1, 2], 0.0)]),
        (1.0, [2], [Group([5, 6, 7], 0.4), Group([3, 4], 0.3)]),
        (1.0, range(1, 8), []),
    ],
)
def test_chains_of_near_pairs_are_groups(max_distance: float, without: list[int], expected: list[Group]) -> None:
    assert groups_of(PAIRS, max_distance, without=without) == expected
