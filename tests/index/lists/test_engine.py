"""The index of lists, held to exact search."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from index.annoy.engine import AnnoySearchIndex
from index.errors import DimensionError, IndexBuildError, IndexDamagedError, UnusableVectorError, VectorUnavailableError
from index.exact import ExactIndex
from index.files.manifest import CODES_NAME, COMPONENTS_NAME, RECORDS_NAME, VECTORS_NAME, read_manifest
from index.lists import centres
from index.lists.engine import ListsSearchIndex
from index.loading import load_index
from index.protocol import SearchIndex
from index.recall import QUERIES
from tests.index.lists.samples import DIM, build, kept, logos_of
from tests.index.samples import Logos


@pytest.fixture(scope="module")
def logos() -> Logos:
    return logos_of(3000)


@pytest.fixture(scope="module", params=[(1, False), (30, False), (30, True)], ids=["one list", "30 lists", "a copy"])
def directory(tmp_path_factory: pytest.TempPathFactory, logos: Logos, request: pytest.FixtureRequest) -> Path:
    directory = tmp_path_factory.mktemp("lists")
    lists, copied = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(centres, "LISTED_FROM", 0)
        patch.setattr(centres, "LOGOS_A_LIST", len(logos[0]) // lists)
        made = build(directory, logos, seed=1, copied=copied).lists
    assert made is not None
    assert (made.vectors is not None) == copied
    return directory


@pytest.fixture(scope="module")
def without_copy(tmp_path_factory: pytest.TempPathFactory, logos: Logos) -> Path:
    directory = tmp_path_factory.mktemp("lists")
    build(directory, logos)
    return directory


@pytest.fixture
def index(directory: Path, logos: Logos) -> SearchIndex:
    return load_index(directory, dim=DIM, vectors=kept(logos), search_k=3_000)


def test_neighbours_and_distances_are_those_of_exact_search(index: SearchIndex, logos: Logos) -> None:
    exact = ExactIndex(*logos)
    assert isinstance(index, ListsSearchIndex)
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


@pytest.mark.parametrize("search_k", [1, 2**40])
@pytest.mark.parametrize("count", [1, 100, 500])
def test_a_count_is_met_however_little_is_ranked(directory: Path, logos: Logos, search_k: int, count: int) -> None:
    index = load_index(directory, dim=DIM, vectors=kept(logos), search_k=search_k)
    for query in logos[1][:20]:
        assert len(index.nearest_to_vector(query, count).logo_ids) == count


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


def test_a_vector_that_cannot_be_had_is_left_out(without_copy: Path, logos: Logos) -> None:
    nearest = ExactIndex(*logos).nearest_to_vector(logos[1][0], 40).logo_ids
    lost = tuple(nearest[1:31])
    index = load_index(without_copy, dim=DIM, vectors=kept(logos, lost=lost), search_k=3_000)

    found = index.nearest_to_vector(logos[1][0], 10).logo_ids

    assert found == [nearest[0], *nearest[31:]]
    with pytest.raises(VectorUnavailableError, match=str(lost[0])):
        index.nearest_to_logo(lost[0], 10)


def test_most_vectors_lost_still_gives_as_many_as_can_be_had(without_copy: Path, logos: Logos) -> None:
    lost = tuple(ExactIndex(*logos).nearest_to_vector(logos[1][0], 500).logo_ids)
    index = load_index(without_copy, dim=DIM, vectors=kept(logos, lost=lost), search_k=3_000)
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


@pytest.mark.parametrize("name", [COMPONENTS_NAME, RECORDS_NAME, CODES_NAME, VECTORS_NAME])
@pytest.mark.parametrize("damage", ["missing", "cut", "longer"])
def test_files_that_are_not_whole_are_refused(tmp_path: Path, name: str, damage: str) -> None:
    logos = logos_of(1100)
    build(tmp_path, logos, copied=True)
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
    ("field", "value"),
    [
        *[("coded", 0), ("coded", 99), ("recorded", 41), ("count", 2), ("count", 0)],
        *[
            ("effort", {}),
            ("effort", {"probed": 0, "candidates": 1000, "spare": 40}),
            ("codes", {}),
            ("codes", None),
            ("vectors", 1),
            ("reaches", 1),
            ("reaches", [{"probed": 8}]),
            ("reaches", [{"probed": 8, "offset": "far"}]),
        ],
    ],
)
def test_a_manifest_with_impossible_lists_is_refused(tmp_path: Path, field: str, value: object) -> None:
    logos = logos_of(100)
    build(tmp_path, logos)
    manifest = json.loads((tmp_path / "index.json").read_bytes())
    assert field in manifest["lists"]
    manifest["lists"][field] = value
    (tmp_path / "index.json").write_text(json.dumps(manifest))
    with pytest.raises(IndexDamagedError):
        load_index(tmp_path, dim=DIM, vectors=kept(logos))


def test_an_index_of_a_build_that_knew_no_reach_is_searched(tmp_path: Path, logos: Logos) -> None:
    build(tmp_path, logos)
    manifest = json.loads((tmp_path / "index.json").read_bytes())
    del manifest["lists"]["reaches"]
    (tmp_path / "index.json").write_text(json.dumps(manifest))
    index = load_index(tmp_path, dim=DIM, vectors=kept(logos))
    assert index.nearest_to_logo(int(logos[0][5]), 3).logo_ids[0] == logos[0][5]


def test_a_damaged_vector_of_a_copy_is_never_answered(
    tmp_path: Path, logos: Logos, caplog: pytest.LogCaptureFixture
) -> None:
    build(tmp_path, logos, copied=True)
    nearest = ExactIndex(*logos).nearest_to_vector(logos[1][0], 30).logo_ids
    with (tmp_path / VECTORS_NAME).open("r+b") as file:  # a little: it looks as near as before
        file.seek(4 * DIM * logos[0].tolist().index(nearest[3]))
        file.write(b"\xff\xff")
    index = load_index(tmp_path, dim=DIM, vectors=kept(logos), search_k=3_000)

    assert index.nearest_to_vector(logos[1][0], 29).logo_ids == [*nearest[:3], *nearest[4:]]
    assert nearest[3] not in index.prefetched(logos[0][:9].tolist(), 29).nearest_to_logo(nearest[0], 29).logo_ids
    assert index.nearest_to_logo(nearest[3], 5).logo_ids[0] == nearest[3]  # its vector is read from the store
    assert caplog.text.count("is damaged") == 1
    with pytest.raises(IndexDamagedError, match="SHA-256"):
        load_index(tmp_path, dim=DIM, vectors=kept(logos), digests=True)


def test_unusable_vectors_are_left_out(tmp_path: Path) -> None:
    logo_ids, vectors = logos_of(200)
    vectors[7] = np.nan
    vectors[8] = 1e30
    manifest = build(tmp_path, (logo_ids, vectors))
    assert manifest.items == 198
    index = load_index(tmp_path, dim=DIM, vectors=kept((logo_ids, vectors)))
    assert logo_ids[7] not in index
    assert index.nearest_to_logo(int(logo_ids[9]), 5).logo_ids[0] == logo_ids[9]


def test_logos_without_a_usable_vector_cannot_be_indexed(tmp_path: Path) -> None:
    logo_ids, vectors = logos_of(20)
    vectors[:] = np.nan
    with pytest.raises(IndexBuildError, match="nothing to index"):
        build(tmp_path, (logo_ids, vectors))
