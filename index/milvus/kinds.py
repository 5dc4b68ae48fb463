"""Milvus' index types: the parameters that we build them with, and what their search effort is.

From Milvus' documentation of its in-memory and on-disk indexes (milvus.io/docs/index.md); `docs/scale-out.md` says what
each costs.
"""

from __future__ import annotations

from dataclasses import dataclass

AUTO = "auto"
KINDS = ("FLAT", "IVF_FLAT", "HNSW", "SCANN", "DISKANN")
"""Those that answer exact distances: IVF_SQ8 and IVF_PQ measure to what they made of the vectors."""

HNSW_FROM = 10_000
"""Logos from which on `AUTO` is a graph: fewer are searched exactly in a few milliseconds."""

_SEGMENT_ROWS = 100_000  # about what a sealed segment holds of 5 KB each, and is indexed by itself
_MOST_LISTS = 65_536


@dataclass(frozen=True, slots=True)
class IndexKind:
    """An index type, with its parameters.

    Attributes:
        name: one of `KINDS`.
        params: that it is built with.
        least: the search effort to begin with, if more may find more; see `search_params`.
        most: the largest effort that Milvus takes.
    """

    name: str
    params: dict[str, int | bool]
    least: int
    most: int

    @classmethod
    def of(cls, name: str, logos: int) -> IndexKind:
        """Answer an index type as it fits so many logos; `AUTO` chooses one."""
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
    """Answer how a collection is searched for so many neighbours.

    Args:
        kind: its index type.
        effort: for a hundred neighbours; more take more in proportion. Lists to look into, or the length of the list
            of candidates, which is at least `count`.
        count: of neighbours.
    """
    enough = max(effort, effort * count // 100)
    if kind == "HNSW":
        return {"ef": min(max(enough, count), 32_768)}
    if kind == "DISKANN":
        return {"search_list": min(max(enough, count), 65_535)}
    if kind == "SCANN":
        return {"nprobe": min(effort, _MOST_LISTS), "reorder_k": min(max(10 * count, 500), 16_384)}
    return {} if kind == "FLAT" else {"nprobe": min(effort, _MOST_LISTS)}
