from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.files.logo_ids import MAX_LOGO_ID, LogoIds


def test_ids_and_items_are_found_from_each_other() -> None:
    logo_ids = LogoIds([30, 10, MAX_LOGO_ID, 20])

    assert [logo_ids.item_of(logo_id) for logo_id in (10, 20, 30, MAX_LOGO_ID)] == [1, 3, 0, 2]
    assert logo_ids.of_items(np.array([3, 0])) == [20, 30]
    assert len(logo_ids) == 4


@pytest.mark.parametrize("logo_id", [11, 0, -10, 31, MAX_LOGO_ID, MAX_LOGO_ID + 1, 10**30])
def test_an_id_that_is_not_there_is_not_found(logo_id: int) -> None:
    logo_ids = LogoIds([30, 10, 20])

    assert logo_id not in logo_ids
    with pytest.raises(KeyError):
        logo_ids.item_of(logo_id)


def test_a_random_id_is_any_of_them() -> None:
    logo_ids = LogoIds([30, 10, 20])

    assert {logo_ids.random() for _ in range(300)} == {10, 20, 30}


def test_no_ids_have_no_random_one() -> None:
    assert LogoIds([]).random() is None
    assert 1 not in LogoIds([])


@pytest.mark.parametrize(
    ("ids", "reason"), [([1, 2, 1], "logo 1 occurs twice"), ([3, 0], "ids are positive"), ([-1], "ids are positive")]
)
def test_ids_that_cannot_be_are_refused(ids: list[int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        LogoIds(ids)


def test_text_gives_back_what_was_written() -> None:
    ids = np.random.default_rng(0).permutation(10_000) + 1

    parsed = LogoIds.parse(LogoIds(ids).format())

    assert parsed.of_items(np.arange(10_000)) == ids.tolist()


def test_the_largest_id_can_be_read() -> None:
    assert LogoIds.parse(b"9223372036854775807\n").of_items(np.arange(1)) == [MAX_LOGO_ID]


def test_empty_text_has_no_ids() -> None:
    assert len(LogoIds.parse(b"")) == 0


@pytest.mark.parametrize(
    "text",
    [
        b"1\n2",  # cut: it may have been 23
        b"\n",
        b"1\n\n2\n",
        b"\n1\n",
        b"1 2\n",
        b" 1\n",
        b"1\r\n2\r\n",
        b"+1\n",
        b"-1\n",
        b"1.0\n",
        b"1e3\n",
        b"1_0\n",
        b"0x1\n",
        b"abc\n",
        b"1\x00\n",
        "٣\n".encode(),
        b"\xff\xfe\n",
        b"0\n",
        b"5\n5\n",
        b"9223372036854775808\n",
        b"9999999999999999999\n",
        b"18446744073709551617\n",
        b"1" * 1000 + b"\n",
    ],
)
def test_garbage_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"it was truncated|one logo id a line|64 bits|positive|twice"):
        LogoIds.parse(text)


@pytest.mark.parametrize("few", [0, 1000])
@given(items=st.sets(st.integers(1, 50)), asked=st.lists(st.integers(1, 60)))
def test_absent_ids_are_those_of_no_item(few: int, items: set[int], asked: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("index.files.logo_ids._FEW", few)
        absent = LogoIds([*items]).absent(np.array(asked, np.int64))
    assert absent.tolist() == [logo_id for logo_id in asked if logo_id not in items]
