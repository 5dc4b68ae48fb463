"""A filter is left to the engine where it can search some logos alone, and new logos are found beside these."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from api.journeys.logo_attributes import LogoAttributes
from api.journeys.matching import Filters
from api.journeys.unindexed import UnindexedLogos
from embeddings.attributes.filters import parse_where
from index.exact import ExactIndex
from index.protocol import SearchIndex
from tests.stores import new_store

RNG = np.random.default_rng(2)
IDS = np.arange(1, 61)
VECTORS = RNG.normal(size=(60, 6)).astype(np.float32)
RED = parse_where("colour:red")


class Selective(ExactIndex):
    """An exact index that searches two or more logos alone, and notes which."""

    def __init__(self, rows: slice) -> None:
        super().__init__(IDS[rows], VECTORS[rows])
        self.selected: list[list[int]] = []

    def among(self, logo_ids: NDArray[np.int64]) -> SearchIndex | None:
        held = logo_ids[~np.isin(logo_ids, self.absent(logo_ids))]
        self.selected.append(held.tolist())
        return ExactIndex(held, VECTORS[held - 1]) if len(held) > 1 else None


@pytest.fixture
def attributes(tmp_path: Path) -> Iterator[LogoAttributes]:
    attributes = LogoAttributes(tmp_path / "s.hdf5")
    yield attributes
    attributes.close()


def test_the_engine_selects_once_until_something_changes(attributes: LogoAttributes) -> None:
    index, other = Selective(slice(40)), Selective(slice(40))
    filters = Filters(attributes, lambda ids: VECTORS[ids - 1])

    def search(index: Selective) -> list[int]:
        return filters.over(index, RED, built=index, moment=0).nearest_to_vector(VECTORS[0], 50).logo_ids

    attributes.merge({logo_id: {"colour": "red"} for logo_id in (3, 5, 7, 50)})
    assert sorted(search(index)) == sorted(search(index)) == [3, 5, 7]
    assert index.selected == [[3, 5, 7]]
    attributes.merge({3: {"colour": None}})
    assert sorted(search(index)) == [5, 7]
    assert index.selected == [[3, 5, 7], [5, 7]]
    assert sorted(search(other)) == [5, 7]
    attributes.merge({5: {"colour": None}})
    assert search(index) == [7]  # by a scan
    assert index.selected[-1] == [7]


def test_new_logos_that_match_are_found_beside_those_selected(attributes: LogoAttributes, tmp_path: Path) -> None:
    attributes.merge({logo_id: {"colour": "red"} for logo_id in IDS[::2].tolist()})
    built = Selective(slice(40))
    with new_store(tmp_path / "s.hdf5", dim=6) as store:
        store.append(IDS, VECTORS)
        index = UnindexedLogos(store, 100).beside(built)
        filters = Filters(attributes, store.vectors)
        matching = filters.over(index, RED, built=built, moment=0)
        expected = ExactIndex(IDS[::2], VECTORS[::2])
        for count in (1, 7, 100):
            for query in RNG.normal(size=(5, 6)).astype(np.float32):
                assert matching.nearest_to_vector(query, count) == expected.nearest_to_vector(query, count)
        assert len(matching) == 30
        assert 59 in matching
        assert 58 not in matching
        with pytest.raises(KeyError):
            matching.nearest_to_logo(58, 3)
        assert matching.nearest_to_logo(59, 5).logo_ids == expected.nearest_to_logo(59, 6).logo_ids[1:]
        assert built.selected == [IDS[:40:2].tolist()]
