"""Milvus' index types: the parameters to build them with, and the meaning of their search effort.

From Milvus' documentation of its in-memory and on-disk indexes (milvus.io/docs/index.md); `docs/scale-out.md` says what
each costs.
"""

from __future__ import annotations

from dataclasses import dataclass

AUTO = "auto"
KINDS = ("FLAT", "IVF_FLAT", "HNSW", "SCANN", "DISKANN")
"""The types that return exact distances: IVF_SQ8 and IVF_PQ return distances to compressed vectors."""

HNSW_FROM = 10_000
"""The number of logos from which `AUTO` is a graph: fewer are searched exactly in a few milliseconds."""

_SEGMENT_ROWS = 100_000  # approximate size of a sealed segment, at 5 KB a logo; each segment is indexed by itself
_MOST_LISTS = 65_536


@dataclass(frozen=True, slots=True)
class IndexKind:
    """An index type, with its parameters.

    Attributes:
        name: one of `KINDS`.
        params: build parameters.
        least: the search effort to begin with, if more may find more; see `search_params`.
        most: the largest effort that Milvus accepts.
    """

    name: str
    params: dict[str, int | bool]
    least: int
    most: int

    @classmethod
    def of(cls, name: str, logos: int) -> IndexKind:
        """Return an index type with parameters for this many logos; `AUTO` chooses one."""
        if name == AUTO:
            name = "FLAT" if logos < HNSW_FROM else "HNSW"
        lists = min(_MOST_LISTS, max(1, round(4 * min(logos, _SEGMENT_ROWS) ** 0.5)))
        if name == "FLAT":
            return cls(name, {}, 1, 1)
        if name == "HNSW":
            return cls(name, {"M": 16, "efConstruction": 200}, 100, 32_768)
        if name == "DISKANN":
            return cls(name, {}, 100, 65_535)
        if name == "SCANN":
            return cls(name, {"nlist": lists, "with_raw_data": True}, min(8, lists), lists)
        return cls(name, {"nlist": lists}, min(8, lists), lists)


def search_params(kind: str, effort: int, count: int) -> dict[str, int]:
    """Return the parameters of a search for `count` neighbours.

    Args:
        kind: the collection's index type.
        effort: for a hundred neighbours; it grows in proportion for more. It is the number of lists to search, or the
            length of the list of candidates, which is at least `count`.
        count: number of neighbours.
    """
    enough = max(effort, effort * count // 100)
    if kind == "HNSW":
        return {"ef": min(max(enough, count), 32_768)}
    if kind == "DISKANN":
        return {"search_list": min(max(enough, count), 65_535)}
    if kind == "SCANN":
        return {"nprobe": min(effort, _MOST_LISTS), "reorder_k": min(max(10 * count, 500), 16_384)}
    return {} if kind == "FLAT" else {"nprobe": min(effort, _MOST_LISTS)}
