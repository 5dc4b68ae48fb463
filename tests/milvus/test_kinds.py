"""Index types and their search parameters."""

from __future__ import annotations

import pytest

from index.milvus.kinds import AUTO, HNSW_FROM, KINDS, IndexKind, search_params
from settings_milvus import MILVUS_KINDS


def test_the_setting_takes_every_kind() -> None:
    assert set(MILVUS_KINDS) == {AUTO, *KINDS}


@pytest.mark.parametrize(
    ("logos", "kind"), [(1, "FLAT"), (HNSW_FROM - 1, "FLAT"), (HNSW_FROM, "HNSW"), (10**7, "HNSW")]
)
def test_few_logos_are_searched_exactly(logos: int, kind: str) -> None:
    assert IndexKind.of(AUTO, logos) == IndexKind.of(kind, logos)
    assert IndexKind.of(AUTO, logos).name == kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("logos", [1, 2, 50, 20_000, 10**6, 10**8])
def test_every_kind_fits_any_number_of_logos(kind: str, logos: int) -> None:
    found = IndexKind.of(kind, logos)
    assert found.name == kind
    assert 1 <= found.least <= found.most
    assert 1 <= found.params.get("nlist", 1) <= 65_536


def test_lists_are_four_roots_of_what_a_segment_holds() -> None:
    assert IndexKind.of("IVF_FLAT", 10_000).params == {"nlist": 400}
    assert IndexKind.of("IVF_FLAT", 10**6).params == IndexKind.of("IVF_FLAT", 10**5).params


@pytest.mark.parametrize(
    ("kind", "effort", "count", "params"),
    [
        ("FLAT", 1, 100, {}),
        ("HNSW", 100, 10, {"ef": 100}),
        ("HNSW", 100, 100, {"ef": 100}),
        ("HNSW", 100, 500, {"ef": 500}),
        ("HNSW", 140, 500, {"ef": 700}),
        ("HNSW", 5000, 16_384, {"ef": 32_768}),
        ("DISKANN", 100, 10, {"search_list": 100}),
        ("DISKANN", 196, 1000, {"search_list": 1960}),
        ("DISKANN", 10_000, 16_384, {"search_list": 65_535}),
        ("IVF_FLAT", 16, 100, {"nprobe": 16}),
        ("IVF_FLAT", 16, 16_384, {"nprobe": 16}),
        ("IVF_FLAT", 100_000, 10, {"nprobe": 65_536}),
        ("SCANN", 16, 10, {"nprobe": 16, "reorder_k": 500}),
        ("SCANN", 16, 1000, {"nprobe": 16, "reorder_k": 10_000}),
        ("SCANN", 100_000, 16_384, {"nprobe": 65_536, "reorder_k": 16_384}),
    ],
)
def test_more_neighbours_take_more_effort_up_to_what_milvus_takes(
    kind: str, effort: int, count: int, params: dict[str, int]
) -> None:
    assert search_params(kind, effort, count) == params


@pytest.mark.parametrize("kind", ["HNSW", "DISKANN", "SCANN"])
@pytest.mark.parametrize("effort", [1, 100, 10_000])
@pytest.mark.parametrize("count", [1, 99, 101, 16_384])
def test_candidates_are_as_many_as_neighbours_at_least(kind: str, effort: int, count: int) -> None:
    params = search_params(kind, effort, count)
    assert params.get("ef", params.get("search_list", params.get("reorder_k", 0))) >= count
