"""Records are read by compiled code; NumPy, which does the same, is the judge of it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.lists import ranking
from index.lists.ranking import BRACKET, LIBRARY, ZERO, compiled, in_numpy, read_records, reader, whole_numbers


def some_records(rows: int, components: int, in_bytes: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(components)
    records = rng.integers(0, 256, (rows, BRACKET + in_bytes - (in_bytes - components) // 2), np.uint8)
    records[:, :BRACKET] = rng.normal(size=rows).astype("<f4")[:, np.newaxis].view(np.uint8)
    return records


def by_hand(record: NDArray[np.uint8], query: NDArray[np.int16], in_bytes: int) -> int:
    codes = [int(byte) - 256 if byte > 127 else int(byte) for byte in record[BRACKET : BRACKET + in_bytes]]
    packed = record[BRACKET + in_bytes :].tolist()
    codes += [byte & 15 for byte in packed] + [byte >> 4 for byte in packed]
    return sum(code * int(value) for code, value in zip(codes, query, strict=False))


@pytest.mark.parametrize(
    ("components", "in_bytes"), [(1, 1), (40, 40), (193, 192), (194, 192), (301, 150), (1208, 192)]
)
@pytest.mark.parametrize("read", [compiled(LIBRARY), in_numpy], ids=["compiled", "NumPy"])
def test_products_are_those_of_the_codes(read: ranking.Reader, components: int, in_bytes: int) -> None:
    records = some_records(30, components, in_bytes)
    query = np.random.default_rng(1).integers(-32767, 32767, components, np.int16, endpoint=True)
    items = np.array([29, 0, 7, 7])
    brackets, products = read(records, items, query, in_bytes)
    np.testing.assert_array_equal(brackets, records[items, :BRACKET].copy().view("<f4")[:, 0])
    due = [by_hand(records[item], query, in_bytes) for item in items]
    np.testing.assert_allclose(products, due, rtol=1e-5, atol=100)  # NumPy rounds: its products are of float32
    if read is not in_numpy:
        assert products.tolist() == due


def test_the_largest_products_fit() -> None:
    records = np.full((3, BRACKET + 192 + 508), 0xFF, np.uint8)
    records[:, BRACKET : BRACKET + 192] = 0x81  # -127
    query = np.full(1208, -32767, np.int16)
    query[192:] = 32767
    due = 32767 * (192 * 127 + 1016 * 15)
    for read in (compiled(LIBRARY), in_numpy):
        assert read(records, np.arange(3), query, 192)[1].tolist() == pytest.approx([due] * 3, rel=1e-6)


def test_no_record_is_read_for_no_item() -> None:
    brackets, products = read_records(some_records(3, 8, 8), np.zeros(0, np.int64), np.ones(8, np.int16), 8)
    assert (len(brackets), len(products)) == (0, 0)


@pytest.mark.parametrize("item", [-1, 3, 2**40])
def test_an_item_without_a_record_is_an_error(item: int) -> None:
    with pytest.raises(IndexError, match="there are 3 records"):
        read_records(some_records(3, 8, 8), np.array([0, item]), np.ones(8, np.int16), 8)


def test_a_query_in_whole_numbers_is_the_query() -> None:
    query = np.array([0.5, -2.0, 1e-9, 0.0], np.float32)
    whole, step = whole_numbers(query)
    assert whole[1] == -32767
    np.testing.assert_allclose(whole * step, query, atol=step)
    assert whole_numbers(np.zeros(3, np.float32))[0].tolist() == [0, 0, 0]


def test_half_bytes_are_too_large_by_the_same() -> None:
    records = np.array([[0, 0, 0, 0, 0x21], [0, 0, 0, 0, 0x43]], np.uint8)
    products = read_records(records, np.arange(2), np.array([10, 100], np.int16), 0)[1]
    assert products.tolist() == [(1 - ZERO) * 10 + (2 - ZERO) * 100 + 110 * ZERO, 430]


def test_without_the_library_numpy_reads_and_a_warning_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ranking, "LIBRARY", tmp_path / "none.so")
    reader.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert reader() is in_numpy
            assert reader() is in_numpy
    finally:
        reader.cache_clear()
    assert len(caplog.records) == 1
    assert "make run" in caplog.text


def test_this_environment_has_the_library() -> None:
    assert reader() is not in_numpy
