"""Records are read by compiled code; NumPy, which does the same, is the judge of it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.lists import ranking
from index.lists.ranking import HEAD, LIBRARY, ZERO, Compiled, InNumPy, Reader, reader, whole_numbers

READERS = pytest.mark.parametrize("of", [Compiled(LIBRARY), InNumPy()], ids=["compiled", "NumPy"])
ITEMS = np.array([29, 0, 7, 7])


def some_records(in_bytes: int, in_halves: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(in_bytes + in_halves)
    records = rng.integers(0, 256, (30, HEAD + in_bytes + -(-in_halves // 2)), np.uint8)
    records[:, :HEAD] = rng.normal(size=(30, 2)).astype("<f4").view(np.uint8)
    return records


def some_query(codes: int) -> NDArray[np.int16]:
    return np.random.default_rng(1).integers(-32767, 32767, codes, np.int16, endpoint=True)


def assert_same(of: Reader, found: NDArray[np.int32], due: NDArray[np.int64]) -> None:
    np.testing.assert_allclose(found, due, rtol=1e-5, atol=100)  # products of NumPy's are rounded: they are of float32
    if not isinstance(of, InNumPy):
        np.testing.assert_array_equal(found, due)


@READERS
@pytest.mark.parametrize("in_bytes", [1, 40, 184])
def test_the_first_part_is_two_numbers_and_codes_in_bytes(of: Reader, in_bytes: int) -> None:
    records, query = some_records(in_bytes, 50), some_query(in_bytes)
    numbers, products = of.first(records, ITEMS, query)
    np.testing.assert_array_equal(numbers, records[ITEMS, :HEAD].copy().view("<f4"))
    assert_same(of, products, records[ITEMS, HEAD : HEAD + in_bytes].view(np.int8).astype(np.int64) @ query)


@READERS
@pytest.mark.parametrize("in_halves", [0, 1, 2, 117, 1024])
def test_the_other_part_is_codes_in_half_bytes(of: Reader, in_halves: int) -> None:
    records, query = some_records(40, in_halves), some_query(in_halves)
    packed = records[ITEMS, HEAD + 40 :].astype(np.int64)
    codes: NDArray[np.int64] = np.hstack([packed & 15, packed >> 4])[:, :in_halves]
    assert_same(of, of.others(records[:, HEAD + 40 :], ITEMS, query), codes.dot(query))


@READERS
def test_the_largest_products_fit(of: Reader) -> None:
    records = np.full((3, HEAD + 184 + 512), 0xFF, np.uint8)
    records[:, HEAD : HEAD + 184] = 0x81  # -127
    _, products = of.first(records, np.arange(3), np.full(184, -32767, np.int16))
    assert products.tolist() == pytest.approx([32767 * 184 * 127] * 3, rel=1e-5)
    products = of.others(records[:, HEAD + 184 :], np.arange(3), np.full(1024, 32767, np.int16))
    assert products.tolist() == pytest.approx([32767 * 1024 * 15] * 3, rel=1e-5)


@READERS
def test_no_record_is_read_for_no_item(of: Reader) -> None:
    records, none = some_records(8, 8), np.zeros(0, np.int64)
    assert [len(read) for read in of.first(records, none, some_query(8))] == [0, 0]
    assert len(of.others(records[:, HEAD + 8 :], none, some_query(8))) == 0


@READERS
def test_half_bytes_are_too_large_by_the_same(of: Reader) -> None:
    products = of.others(np.array([[0x21], [0x43]], np.uint8), np.arange(2), np.array([10, 100], np.int16))
    assert products.tolist() == [(1 - ZERO) * 10 + (2 - ZERO) * 100 + 110 * ZERO, 430]


def test_a_query_in_whole_numbers_is_the_query() -> None:
    query = np.array([0.5, -2.0, 1e-9, 0.0], np.float32)
    whole, step = whole_numbers(query)
    assert whole[1] == -32767
    np.testing.assert_allclose(whole * step, query, atol=step)
    assert whole_numbers(np.zeros(3, np.float32))[0].tolist() == [0, 0, 0]


def test_without_the_library_numpy_reads_and_a_warning_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ranking, "LIBRARY", tmp_path / "none.so")
    reader.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert isinstance(reader(), InNumPy)
            assert isinstance(reader(), InNumPy)
    finally:
        reader.cache_clear()
    assert len(caplog.records) == 1
    assert "make run" in caplog.text


def test_this_environment_has_the_library() -> None:
    assert isinstance(reader(), Compiled)
