from __future__ import annotations

import pytest

from demo.agreement import brand_agreement

BRANDS = {1: "a", 2: "a", 3: "a", 4: "b", 5: "b"}


def test_neighbours_of_the_same_brand_agree_completely() -> None:
    share = brand_agreement({1: [1, 2, 3], 2: [2, 1, 3]}, BRANDS, nearest=2)
    assert share.found == share.best == 1.0
    assert share.chance == pytest.approx(0.5)


def test_logo_itself_does_not_count() -> None:
    assert brand_agreement({4: [4, 5, 1]}, BRANDS, nearest=1).found == 1.0
    assert brand_agreement({4: [4, 1, 2]}, BRANDS, nearest=1).found == 0.0


def test_neighbours_beyond_the_nearest_do_not_count() -> None:
    assert brand_agreement({4: [1, 5]}, BRANDS, nearest=1).found == 0.0


def test_small_brands_limit_the_best_share() -> None:
    share = brand_agreement({4: [5, 1]}, BRANDS, nearest=2)
    assert share.found == share.best == 0.5
    assert share.chance == pytest.approx(0.25)
