"""The index types that are measured and computed: how they are built, and their search efforts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

COUNTS = (10, 100)


@dataclass(frozen=True, slots=True)
class IndexType:
    """One of Milvus' types.

    Attributes:
        name: in Milvus.
        build: returns the build parameters, given the rows of a segment.
        effort: the search parameter that trades time for recall; empty if there is none.
        efforts: its values; with `at_least_count`, smaller ones are raised to the number of neighbours.
        at_least_count: whether Milvus requires that.
        reordered: candidates ranked again by their full vectors, for each neighbour requested; 0 for none.
    """

    name: str
    build: Callable[[int], dict[str, int]] = field(default=lambda _: {})
    effort: str = ""
    efforts: tuple[int, ...] = (0,)
    at_least_count: bool = False
    reordered: int = 0

    def search(self, effort: int, count: int) -> dict[str, int]:
        """Return the parameters of a search for `count` neighbours."""
        told = {self.effort: effort} if self.effort else {}
        return told | ({"reorder_k": max(100, self.reordered * count)} if self.reordered else {})


def lists(rows: int) -> dict[str, int]:
    """Return parameters of inverted lists for `rows` rows: four times their root, as Milvus' documentation advises."""
    return {"nlist": min(65_536, max(1, round(4 * rows**0.5)))}


GRAPH = {"M": 16, "efConstruction": 200}
INDEX_TYPES = {
    kind.name: kind
    for kind in (
        IndexType("FLAT"),
        IndexType("IVF_FLAT", lists, "nprobe", (8, 16, 32, 64, 128)),
        IndexType("IVF_SQ8", lists, "nprobe", (8, 16, 32, 64, 128)),
        IndexType("HNSW", lambda _: GRAPH, "ef", (16, 32, 64, 128, 256), at_least_count=True),
        IndexType("SCANN", lists, "nprobe", (8, 16, 32, 64, 128), reordered=5),
        IndexType("DISKANN", effort="search_list", efforts=(16, 32, 64, 128, 256), at_least_count=True),
    )
}
