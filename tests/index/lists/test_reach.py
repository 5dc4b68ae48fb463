"""Queries scan as many lists on average as they are to, and more of them where their neighbours are far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index.files.manifest import read_manifest
from index.lists import centres
from index.lists.codes import Codes, Scanned
from index.lists.reach import FIRST, find_reaches, lists_to_scan
from index.loading import load_index
from tests.index.lists.samples import DIM, build, kept, logos_of

RNG = np.random.default_rng(0)
SQUARES = np.sort(RNG.gamma(4, size=(300, 500)).astype(np.float32), axis=1)
LAST = RNG.gamma(2, size=300).astype(np.float32)
REACHES = find_reaches((10, 30, 100), SQUARES, LAST)
LOGOS = logos_of(6000)


@pytest.mark.parametrize("probed", [10, 30, 100])
def test_the_average_is_what_it_is_to_be(probed: int) -> None:
    numbers = lists_to_scan(REACHES, probed, SQUARES, LAST)
    assert numbers.mean() == pytest.approx(probed, rel=0.02)
    assert numbers.min() >= FIRST
    assert numbers.max() <= 2.4 * probed


def test_between_two_averages_is_between_two_reaches() -> None:
    assert 30 < lists_to_scan(REACHES, 60, SQUARES, LAST).mean() < 100


def test_the_farther_the_neighbours_the_more_lists() -> None:
    squares = np.repeat(SQUARES[:1], 5, axis=0)
    numbers = lists_to_scan(REACHES, 30, squares, np.array([0, 1, 2, 3, np.finfo(np.float32).max], np.float32))
    assert (np.diff(numbers) >= 0).all()
    assert (numbers[0], numbers[-1]) == (FIRST, 72)


def test_without_a_reach_all_queries_scan_as_many() -> None:
    assert set(lists_to_scan((), 70, SQUARES, LAST).tolist()) == {70}
    assert set(lists_to_scan(REACHES, 101, SQUARES, LAST).tolist()) == {101}
    assert set(lists_to_scan((), 999, SQUARES, LAST).tolist()) == {500}


def test_too_few_neighbours_in_the_first_lists_are_very_far() -> None:
    last = np.where(np.arange(300) < 100, np.float32(np.inf), LAST)
    reaches = find_reaches((30,), SQUARES, last)
    assert lists_to_scan(reaches, 30, SQUARES, last).mean() == pytest.approx(30, rel=0.05)
    assert np.isfinite(reaches[0].offset)
    assert np.isfinite(find_reaches((30,), SQUARES, np.full(300, np.inf, np.float32))[0].offset)


def test_an_index_scans_fewer_lists_for_logos_with_near_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(centres, "LOGOS_A_LIST", 100)
    monkeypatch.setattr(centres, "LISTED_FROM", 0)
    monkeypatch.setattr("index.lists.tune.LEAST_SCANNED", 800)
    monkeypatch.setattr("index.lists.tune.MOST_SCANNED", 4000)
    build(tmp_path, LOGOS, seed=1)
    manifest = read_manifest(tmp_path)
    assert manifest.lists is not None
    reaches = manifest.lists.reaches
    assert [reach.probed for reach in reaches] == sorted({reach.probed for reach in reaches})
    index = load_index(tmp_path, dim=DIM, vectors=kept(LOGOS))
    scanned: list[int] = []
    scan = Codes.scan

    def counted(
        codes: Codes, queries: NDArray[np.float32], lists: NDArray[np.int64], *arguments: Any, **options: Any
    ) -> Scanned:
        scanned.append(int((lists >= 0).sum()))
        return scan(codes, queries, lists, *arguments, **options)

    monkeypatch.setattr(Codes, "scan", counted)
    numbers = []
    for logo_id in LOGOS[0][:200].tolist():
        scanned.clear()
        index.nearest_to_logo(logo_id, 50)
        numbers.append(scanned[-1])  # before it come the first lists alone
    assert len(set(numbers)) > 1
    assert min(numbers) >= FIRST
    assert np.mean(numbers) == pytest.approx(manifest.lists.effort.probed, rel=0.3)


def test_a_batch_scans_as_its_logos_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centres, "LOGOS_A_LIST", 100)
    monkeypatch.setattr(centres, "LISTED_FROM", 0)
    monkeypatch.setattr("index.lists.tune.LEAST_SCANNED", 800)
    build(tmp_path, LOGOS, seed=1)
    index = load_index(tmp_path, dim=DIM, vectors=kept(LOGOS))
    ids = LOGOS[0][:40].tolist()
    prefetched = index.prefetched(ids, 30)
    for logo_id in ids:
        assert prefetched.nearest_to_logo(logo_id, 30) == index.nearest_to_logo(logo_id, 30)
