"""An index of lists searches only the logos of a mask, as well as all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.errors import VectorUnavailableError
from index.exact import ExactIndex
from index.files.logo_ids import LogoIds
from index.files.manifest import read_manifest
from index.files.verification import verify_files
from index.lists import centres, filtered, mask
from index.lists.effort import Effort
from index.lists.engine import ListsSearchIndex
from index.lists.filtered import FilteredRecall, filtered_effort, measure_filtered
from index.lists.mask import Mask, MaskedLogoIds
from index.loading import load_index
from index.protocol import Neighbours
from index.recall import Truth
from index.status import Recall
from tests.index.lists.samples import DIM, build, kept, logos_of
from tests.index.samples import Logos

SHARES = 0.5, 0.05, 0.005


@pytest.fixture(scope="module")
def logos() -> Logos:
    return logos_of(6000)


@pytest.fixture(
    scope="module", params=[(False, 0), (True, 0), (True, 6000)], ids=["from the store", "a copy", "one list"]
)
def directory(tmp_path_factory: pytest.TempPathFactory, logos: Logos, request: pytest.FixtureRequest) -> Path:
    directory = tmp_path_factory.mktemp("lists")
    copied, listed_from = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(centres, "LOGOS_A_LIST", 100)
        patch.setattr(centres, "LISTED_FROM", listed_from)
        patch.setattr("index.lists.tune.LEAST_SCANNED", 600)
        patch.setattr(mask, "FEWEST", 10)
        patch.setattr(filtered, "FEWEST", 10)
        build(directory, logos, seed=1, copied=copied)
    return directory


@pytest.fixture
def index(directory: Path, logos: Logos, monkeypatch: pytest.MonkeyPatch) -> ListsSearchIndex:
    monkeypatch.setattr("index.lists.engine.FEWEST", 1)
    index = load_index(directory, dim=DIM, vectors=kept(logos))
    assert isinstance(index, ListsSearchIndex)
    return index


def some_of(logos: Logos, share: float) -> Logos:
    rows = np.sort(np.random.default_rng(7).choice(len(logos[0]), round(share * len(logos[0])), replace=False))
    return logos[0][rows], logos[1][rows]


@pytest.mark.parametrize("share", SHARES)
def test_recall_among_those_that_match_is_that_of_all(index: ListsSearchIndex, logos: Logos, share: float) -> None:
    def recall(index: object, exact: ExactIndex) -> float:
        assert hasattr(index, "nearest_to_vector")
        wanted = min(20, len(exact))
        hits = [
            len({*index.nearest_to_vector(query, wanted).logo_ids} & {*exact.nearest_to_vector(query, wanted).logo_ids})
            for query in logos_of(60, seed=1)[1]
        ]
        return sum(hits) / (wanted * len(hits))

    matching = some_of(logos, share)
    among = index.among(np.sort(matching[0]))
    assert among is not None
    assert recall(among, ExactIndex(*matching)) >= recall(index, ExactIndex(*logos)) - 0.01


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("count", [1, 10, 500])
def test_as_many_are_found_as_match(index: ListsSearchIndex, logos: Logos, share: float, count: int) -> None:
    matching = some_of(logos, share)
    among = index.among(np.sort(np.append(matching[0], [2**40, 2**50])))  # these are not indexed
    assert among is not None
    wanted = min(count, len(matching[0]))
    for query in logos[1][:5]:
        found = among.nearest_to_vector(query, count)
        assert len({*found.logo_ids}) == wanted
        assert {*found.logo_ids} <= {*matching[0].tolist()}
    first = int(matching[0][3])
    itself = among.nearest_to_logo(first, count)
    assert (itself.logo_ids[0], itself.distances[0], len(itself.logo_ids)) == (first, 0.0, wanted)
    prefetched = among.prefetched(matching[0][:9].tolist(), count)
    assert prefetched.nearest_to_logo(first, count) == itself


def test_others_count_as_not_indexed(index: ListsSearchIndex, logos: Logos) -> None:
    matching, other = logos[0][::3], int(logos[0][1])
    among = index.among(np.sort(matching))
    assert among is not None
    assert (len(among), len(index)) == (2000, 6000)
    assert other not in among
    assert int(matching[5]) in among
    assert sorted(among.absent(logos[0])) == sorted({*logos[0].tolist()} - {*matching.tolist()})
    assert among.random_logo() in matching
    with pytest.raises(KeyError):
        among.nearest_to_logo(other, 5)
    assert index.nearest_to_logo(other, 5).logo_ids[0] == other


def test_few_are_left_to_a_scan(index: ListsSearchIndex, logos: Logos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.lists.engine.FEWEST", 1000)
    assert index.among(np.sort(logos[0][:999])) is None
    assert index.among(np.sort(logos[0][:1000])) is not None


def test_the_build_measures_filtered_queries_and_widens_them(directory: Path) -> None:
    manifest = read_manifest(directory)
    assert manifest.lists is not None
    assert manifest.recall is not None
    measured = manifest.lists.filtered
    assert [round(known.share, 1) for known in measured] == [0.5, 0.1, 0.0]
    for known in measured:
        assert known.at_10 >= manifest.recall.at_10 - 0.01
        assert known.at_100 >= manifest.recall.at_100 - 0.01
    probed = [manifest.lists.effort.probed, *(known.probed for known in measured)]
    assert probed == sorted(probed)
    assert probed[-1] > probed[0] or manifest.lists.count == 1


def test_the_lists_that_the_last_index_scanned_are_tried_first(
    index: ListsSearchIndex, directory: Path, logos: Logos, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, files = read_manifest(directory), verify_files(directory, dim=DIM)
    assert manifest.lists is not None
    truth = Truth(logos[0][:20], logos[1][:20])
    truth.take_in(*logos)
    lists = manifest.lists.count

    measured = measure_filtered(
        index.masked,
        files.logo_ids,
        truth,
        replace(manifest.lists.effort, probed=1),
        Recall(1, 0.5, 0.5, 20),
        lists=lists,
        last={0.5: 1.0},
    )

    assert {known.probed for known in measured} == {lists}


def test_a_logo_that_was_deleted_meanwhile_is_left_out_of_what_is_measured(
    index: ListsSearchIndex, directory: Path, logos: Logos, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, files, deleted = read_manifest(directory), verify_files(directory, dim=DIM), int(logos[0][0])
    assert manifest.lists is not None
    truth = Truth(logos[0][:20], logos[1][:20])
    truth.take_in(*logos)

    def nearest(of: ListsSearchIndex, logo_id: int, count: int) -> Neighbours:
        if logo_id == deleted:
            raise VectorUnavailableError(str(logo_id))
        return search(of, logo_id, count)

    search = ListsSearchIndex.nearest_to_logo
    monkeypatch.setattr(ListsSearchIndex, "nearest_to_logo", nearest)
    monkeypatch.setattr(filtered, "FEWEST", 10)
    lists = manifest.lists
    measured = measure_filtered(
        index.masked, files.logo_ids, truth, lists.effort, Recall(1, 0.9, 0.9, 20), lists=lists.count
    )
    assert len(measured) == 3


def test_an_effort_is_that_of_the_next_smaller_share() -> None:
    effort = Effort(10, 300, 20)
    measured = FilteredRecall(0.5, 12, 1.0, 1.0), FilteredRecall(0.05, 20, 1.0, 1.0)
    for share, probed in ((0.9, 12), (0.5, 12), (0.4, 20), (0.05, 20), (0.025, 40), (0.0001, 99)):
        assert filtered_effort(effort, measured, share, 99) == Effort(probed, 300, 20)
    assert filtered_effort(effort, (), 0.5, 99) == Effort(20, 300, 20)


def test_a_mask_has_the_items_that_it_was_made_of() -> None:
    items = np.array([17, 3, 8, 0])
    made = Mask.of(items, 19)
    assert made.items().tolist() == [0, 3, 8, 17]
    assert np.flatnonzero(made.has(np.arange(19))).tolist() == [0, 3, 8, 17]
    masked = MaskedLogoIds(LogoIds(range(101, 120)), made)
    assert [logo_id for logo_id in range(130) if logo_id in masked] == [101, 104, 109, 118]
    assert masked.absent(np.array([101, 102, 999, 118])).tolist() == [102, 999]
    with pytest.raises(ValueError, match="out of range"):
        FilteredRecall(0.0, 1, 1.0, 1.0)
