from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import IndexDamagedError
from index.lists.centres import find_centres, nearest
from index.lists.codes import REST_WEIGHT, Codes, coded_components
from index.lists.records import MANY
from tests.index.lists.samples import some_vectors

POINTS = some_vectors(3000, 16, latent=8)
RESTS = np.linalg.norm(some_vectors(3000, 4, latent=2, seed=2), axis=1).astype(np.float32)
CENTRES = find_centres(POINTS, 20, seed=0)
SHAPE = len(POINTS), len(CENTRES), 16
EVERY_LIST = np.arange(len(CENTRES))[np.newaxis]


def saved(directory: Path) -> tuple[Path, str]:
    codes = Codes.train(POINTS, RESTS, CENTRES)
    for part in np.array_split(np.arange(len(POINTS)), 7):
        codes.add(POINTS[part], RESTS[part])
    codes.save(directory / "index.codes")
    return directory / "index.codes", hashlib.sha256((directory / "index.codes").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> Codes:
    path, sha256 = saved(tmp_path_factory.mktemp("codes"))
    return Codes.load(path, sha256=sha256, shape=SHAPE)


def exact(query: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    return np.argsort(np.hypot(np.linalg.norm(POINTS - query, axis=1), RESTS))[:count]


def test_candidates_hold_the_nearest(codes: Codes) -> None:
    queries = some_vectors(30, 16, latent=8, seed=1)
    found = codes.scan(queries, np.repeat(EVERY_LIST, 30, axis=0), 300).items
    assert found.shape == (30, 300)
    assert (
        np.mean([np.isin(exact(query, 20), items).mean() for query, items in zip(queries, found, strict=True)]) > 0.99
    )


def test_only_the_chosen_lists_are_scanned(codes: Codes) -> None:
    items = codes.scan(POINTS[:1], np.array([[3, 7]]), 3000).items[0]
    in_lists = np.flatnonzero(np.isin(nearest(POINTS, CENTRES), [3, 7]))
    assert sorted(items[items >= 0].tolist()) == in_lists.tolist()
    assert (items < 0).sum() == 3000 - len(in_lists)


def test_a_list_of_minus_one_is_passed_over(codes: Codes) -> None:
    padded = codes.scan(POINTS[:2], np.array([[3, 7], [3, -1]]), 3000).items
    alone = codes.scan(POINTS[1:2], np.array([[3]]), 3000).items
    assert sorted(padded[1].tolist()) == sorted(alone[0].tolist())


def test_threads_with_different_numbers_of_lists_share_the_codes(codes: Codes) -> None:
    def ask(place: int) -> list[int]:
        items = codes.scan(POINTS[place : place + 1], EVERY_LIST[:, : 1 + place % 20], 200).items[0]
        return [int(item) for item in items]

    one_by_one = [ask(place) for place in range(200)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(200))) == one_by_one


def test_estimates_are_of_the_squared_distances(codes: Codes) -> None:
    found = codes.scan(POINTS[:9], np.repeat(EVERY_LIST, 9, axis=0), 2500)
    for query, items, squares in zip(POINTS[:9], found.items, found.squares, strict=True):
        exact = ((POINTS[items] - query) ** 2).sum(axis=1) + REST_WEIGHT * RESTS[items] ** 2
        assert np.corrcoef(exact, squares)[0, 1] > 0.8
        assert squares.mean() == pytest.approx(exact.mean(), rel=0.2)
    assert (codes.scan(POINTS[:2], np.array([[3], [7]]), 3000).squares.max(axis=1) > 1e30).all()


def test_fewer_points_than_centroids_are_coded() -> None:
    codes = Codes.train(POINTS[:3], RESTS[:3], POINTS[:1])
    codes.add(POINTS[:3], RESTS[:3])
    assert sorted(codes.scan(POINTS[:1], np.array([[0]]), 5).items[0].tolist()) == [-1, -1, 0, 1, 2]


def test_a_file_with_another_digest_is_not_given_to_faiss(tmp_path: Path) -> None:
    path, sha256 = saved(tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(IndexDamagedError, match="SHA-256"):
        Codes.load(path, sha256=sha256, shape=SHAPE)


@pytest.mark.parametrize("shape", [(2999, SHAPE[1], 16), (3000, SHAPE[1] + 1, 16), (3000, SHAPE[1], 8)])
def test_codes_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    path, sha256 = saved(tmp_path)
    with pytest.raises(IndexDamagedError, match="codes of"):
        Codes.load(path, sha256=sha256, shape=shape)


@pytest.mark.parametrize("content", [b"", b"IwPf", b"x" * 1000])
def test_what_faiss_cannot_read_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "index.codes"
    path.write_bytes(content)
    with pytest.raises(IndexDamagedError, match=r"index\.codes"):
        Codes.load(path, sha256=hashlib.sha256(content).hexdigest(), shape=SHAPE)


def test_pairs_of_components_are_coded() -> None:
    assert [coded_components(1000, recorded) for recorded in (1, 2, 3, 40, 1208)] == [1, 2, 2, 40, 192]
    assert [coded_components(MANY, recorded) for recorded in (40, 1208)] == [40, 126]
