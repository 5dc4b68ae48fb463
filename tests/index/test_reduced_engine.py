"""The reduced index, held to exact search."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index.annoy.engine import AnnoySearchIndex
from index.build_reduced import build_reduced
from index.errors import DimensionError, IndexBuildError, IndexDamagedError, UnusableVectorError, VectorUnavailableError
from index.exact import ExactIndex
from index.files.manifest import COMPONENTS_NAME, RECORDS_NAME, Manifest, read_manifest
from index.loading import load_index
from index.protocol import SearchIndex, Vectors
from index.recall import QUERIES
from index.reduced_engine import ReducedSearchIndex
from tests.index.samples import Logos
from tests.index.test_reduction import some_vectors

DIM = 40


def logos_of(count: int, seed: int = 0) -> Logos:
    rng = np.random.default_rng(seed + 100)
    return rng.permutation(np.arange(1, 3 * count + 1))[:count], some_vectors(count, DIM, latent=12, seed=seed)


def kept(logos: Logos, *, lost: tuple[int, ...] = ()) -> Vectors:
    """What gives the vectors of logos, but for those that are lost."""
    rows = {logo_id: row for row, logo_id in enumerate(logos[0].tolist()) if logo_id not in lost}
    nothing = np.full(logos[1].shape[1], np.nan, np.float32)

    def vectors(logo_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.array([logos[1][rows[i]] if i in rows else nothing for i in logo_ids.tolist()], np.float32)

    return vectors


class SomeLogos:
    """A source of logos; `read` says which were read."""

    dim = DIM

    def __init__(self, logos: Logos) -> None:
        self.ids, self.vectors = logos
        self.read: list[int] = []

    def sample(self, count: int, seed: int) -> Logos:
        return self.ids[:count], self.vectors[:count]

    def checksums(self) -> NDArray[np.uint32]:
        return np.array([zlib.crc32(vector.tobytes()) for vector in self.vectors], np.uint32)

    def blocks_of(self, places: NDArray[np.int64]) -> Iterator[Logos]:
        for first in range(0, len(places), 700):
            some = places[first : first + 700]
            self.read += self.ids[some].tolist()
            yield self.ids[some], self.vectors[some]


def build(directory: Path, logos: Logos | SomeLogos, kept_in: Path | None = None, **options: Any) -> Manifest:
    directory.mkdir(parents=True, exist_ok=True)
    source = logos if isinstance(logos, SomeLogos) else SomeLogos(logos)
    options = {"trees": 10, "jobs": 1, **options}
    vectors = kept((source.ids, source.vectors))
    return build_reduced(directory, source, vectors, kept_in or directory / "kept", **options)


@pytest.fixture(scope="module")
def logos() -> Logos:
    return logos_of(3000)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, logos: Logos) -> Path:
    directory = tmp_path_factory.mktemp("reduced")
    build(directory, logos, seed=1)
    return directory


@pytest.fixture
def index(directory: Path, logos: Logos) -> SearchIndex:
    return load_index(directory, dim=DIM, vectors=kept(logos), search_k=30_000)


def test_neighbours_and_distances_are_those_of_exact_search(index: SearchIndex, logos: Logos) -> None:
    exact = ExactIndex(*logos)
    assert isinstance(index, ReducedSearchIndex)
    for query in logos_of(20, seed=1)[1]:
        expected, found = exact.nearest_to_vector(query, 50), index.nearest_to_vector(query, 50)
        assert found.logo_ids == expected.logo_ids
        assert found.distances == pytest.approx(expected.distances, rel=1e-5)
    for logo_id in logos[0][:20].tolist():
        assert index.nearest_to_logo(logo_id, 50).logo_ids == exact.nearest_to_logo(logo_id, 50).logo_ids


@pytest.mark.parametrize("count", [1, 2, 100, 500])
def test_as_many_are_answered_as_were_asked_for(index: SearchIndex, logos: Logos, count: int) -> None:
    assert len(index.nearest_to_vector(logos[1][0], count).logo_ids) == count
    found = index.nearest_to_logo(int(logos[0][0]), count)
    assert (len(found.logo_ids), found.logo_ids[0], found.distances[0]) == (count, logos[0][0], 0.0)
    assert found.distances == sorted(found.distances)


def test_more_than_there_are_gives_all(tmp_path: Path) -> None:
    logos = logos_of(120)
    build(tmp_path, logos)
    index = load_index(tmp_path, dim=DIM, vectors=kept(logos))
    assert sorted(index.nearest_to_vector(logos[1][3], 500).logo_ids) == sorted(logos[0].tolist())
    assert sorted(index.nearest_to_logo(int(logos[0][3]), 500).logo_ids) == sorted(logos[0].tolist())


def test_recall_is_measured_and_reaches_its_targets(directory: Path, logos: Logos) -> None:
    recall = read_manifest(directory).recall
    assert recall is not None
    assert recall.queries == QUERIES
    assert recall.at_10 >= 0.99
    assert recall.at_100 >= 0.95

    index, exact = load_index(directory, dim=DIM, vectors=kept(logos)), ExactIndex(*logos)
    hits = [
        len(set(index.nearest_to_logo(i, 101).logo_ids[1:11]) & set(exact.nearest_to_logo(i, 11).logo_ids[1:])) / 10
        for i in logos[0][:400].tolist()
    ]
    assert np.mean(hits) == pytest.approx(recall.at_10, abs=0.02)
    assert index.recall == recall


def test_a_vector_that_cannot_be_had_is_left_out(directory: Path, logos: Logos) -> None:
    nearest = ExactIndex(*logos).nearest_to_vector(logos[1][0], 40).logo_ids
    lost = tuple(nearest[1:31])
    index = load_index(directory, dim=DIM, vectors=kept(logos, lost=lost), search_k=30_000)

    found = index.nearest_to_vector(logos[1][0], 10).logo_ids

    assert found == [nearest[0], *nearest[31:]]
    with pytest.raises(VectorUnavailableError, match=str(lost[0])):
        index.nearest_to_logo(lost[0], 10)


def test_most_vectors_lost_still_gives_as_many_as_can_be_had(directory: Path, logos: Logos) -> None:
    lost = tuple(ExactIndex(*logos).nearest_to_vector(logos[1][0], 500).logo_ids)
    index = load_index(directory, dim=DIM, vectors=kept(logos, lost=lost), search_k=30_000)
    assert len(index.nearest_to_vector(logos[1][0], 100).logo_ids) == 100


def test_queries_that_cannot_be_searched_for_are_refused(index: SearchIndex) -> None:
    with pytest.raises(DimensionError):
        index.nearest_to_vector(np.zeros(DIM - 1, np.float32), 1)
    with pytest.raises(UnusableVectorError):
        index.nearest_to_vector(np.full(DIM, np.nan, np.float32), 1)
    with pytest.raises(ValueError, match="at least 1"):
        index.nearest_to_vector(np.zeros(DIM, np.float32), 0)
    with pytest.raises(KeyError):
        index.nearest_to_logo(10**12, 1)


def test_threads_share_an_index(index: SearchIndex, logos: Logos) -> None:
    ids = logos[0][:200].tolist()
    one_by_one = [index.nearest_to_logo(logo_id, 20) for logo_id in ids]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda logo_id: index.nearest_to_logo(logo_id, 20), ids)) == one_by_one


def test_it_is_not_served_without_the_vectors(directory: Path) -> None:
    with pytest.raises(IndexDamagedError, match="with the store at hand"):
        load_index(directory, dim=DIM)
    with pytest.raises(IndexDamagedError, match="with the store at hand"):
        AnnoySearchIndex.load(directory, dim=DIM)


@pytest.mark.parametrize("name", [COMPONENTS_NAME, RECORDS_NAME])
@pytest.mark.parametrize("damage", ["missing", "cut", "longer"])
def test_files_that_are_not_whole_are_refused(tmp_path: Path, name: str, damage: str) -> None:
    logos = logos_of(100)
    build(tmp_path, logos)
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-1] if damage == "cut" else content + b"\0")
    with pytest.raises(IndexDamagedError, match=name):
        load_index(tmp_path, dim=DIM, vectors=kept(logos))


def test_a_changed_bit_of_the_records_is_seen_by_their_digest(tmp_path: Path) -> None:
    logos = logos_of(100)
    build(tmp_path, logos)
    content = bytearray((tmp_path / RECORDS_NAME).read_bytes())
    content[50] ^= 1
    (tmp_path / RECORDS_NAME).write_bytes(content)
    load_index(tmp_path, dim=DIM, vectors=kept(logos))  # at a start: it can cost recall, but gives no wrong distance
    with pytest.raises(IndexDamagedError, match="SHA-256"):
        load_index(tmp_path, dim=DIM, vectors=kept(logos), digests=True)


@pytest.mark.parametrize(
    ("field", "value"), [("tree_dim", 0), ("tree_dim", 99), ("code_dim", 41), ("scale", 0.0), ("scale", 1e400)]
)
def test_a_manifest_with_an_impossible_reduction_is_refused(tmp_path: Path, field: str, value: float) -> None:
    logos = logos_of(100)
    build(tmp_path, logos)
    manifest = json.loads((tmp_path / "index.json").read_bytes())
    manifest["reduction"][field] = value
    (tmp_path / "index.json").write_text(json.dumps(manifest))
    with pytest.raises(IndexDamagedError):
        load_index(tmp_path, dim=DIM, vectors=kept(logos))


def test_unusable_vectors_are_left_out(tmp_path: Path) -> None:
    logo_ids, vectors = logos_of(200)
    vectors[7] = np.nan
    vectors[8] = 1e30
    manifest = build(tmp_path, (logo_ids, vectors))
    assert manifest.items == 198
    index = load_index(tmp_path, dim=DIM, vectors=kept((logo_ids, vectors)))
    assert logo_ids[7] not in index
    assert index.nearest_to_logo(int(logo_ids[9]), 5).logo_ids[0] == logo_ids[9]


def test_a_sample_without_a_usable_vector_cannot_be_reduced(tmp_path: Path) -> None:
    logo_ids, vectors = logos_of(20)
    vectors[:] = np.nan
    with pytest.raises(IndexBuildError, match="nothing to index"):
        build(tmp_path, (logo_ids, vectors))
