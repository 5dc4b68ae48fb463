"""The needs of a number of logos in Milvus, by formula: bytes, machines and money; see docs/benchmarks/milvus.md.

Bytes come from the layout of an index, processor time from measurements of one segment: a query searches every segment,
and as the collection grows, segments get more, not larger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from benchmarks.logos import DIM
from benchmarks.results import Record
from benchmarks.scale_out.index_types import GRAPH, lists

VECTOR = 4 * DIM
ID = 8
SEGMENT_LOGOS = 100_000  # as measured; 512 MB of vectors
SECTOR = 4096
DISKANN_DEGREE = 56
DISKANN_MEMORY = 0.125 + 0.1  # of the vectors: PQCodeBudgetGBRatio and SearchCacheBudgetGBRatio of milvus.yaml
REACHED = {10: 0.95, 100: 0.95}


def graph_bytes() -> float:
    """Return the bytes of a logo's links in HNSW: `2 * M` on the lowest level, `M` on each above, with 1 of M logos."""
    m = GRAPH["M"]
    return 4 * (2 * m + 1) + 4 * (m + 1) / (m - 1)


def list_bytes(segment: int) -> float:
    """Return a logo's share of the centroids of its segment's inverted lists."""
    return lists(segment)["nlist"] * VECTOR / segment


@dataclass(frozen=True, slots=True)
class Layout:
    """The bytes of a logo under one type of index.

    Attributes:
        memory: of a query node.
        local_disk: of a query node.
        filed: whether the index is a separate file in object storage, beside the rows.
    """

    memory: float
    local_disk: float = 0.0
    filed: bool = True


def layouts(segment: int = SEGMENT_LOGOS) -> dict[str, Layout]:
    """Return the layout of every type, with segments of this many logos."""
    return {
        "FLAT": Layout(VECTOR + ID, filed=False),
        "IVF_FLAT": Layout(VECTOR + ID + list_bytes(segment)),
        "IVF_SQ8": Layout(DIM + ID + list_bytes(segment)),
        "HNSW": Layout(VECTOR + ID + graph_bytes()),
        "SCANN": Layout(VECTOR + DIM / 4 + ID + list_bytes(segment)),
        "DISKANN": Layout(DISKANN_MEMORY * VECTOR + ID, SECTOR * ceil((VECTOR + 4 * (DISKANN_DEGREE + 1)) / SECTOR)),
    }


@dataclass(frozen=True, slots=True)
class Prices:
    """Assumed prices, in US dollars: see docs/benchmarks/milvus.md."""

    vcpu_hour: float = 0.0316
    gb_hour: float = 0.0042
    local_disk_gb_month: float = 0.08
    object_gb_month: float = 0.02
    hours_a_month: float = 730.0


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of a query node, and how much of it may be used."""

    vcpus: int = 16
    gigabytes: int = 128
    memory_share: float = 0.7
    cpu_share: float = 0.6


@dataclass(frozen=True, slots=True)
class Plan:
    """The needs of one replica of a collection.

    Attributes:
        memory: of all its query nodes, bytes.
        local_disk: the same.
        object_storage: rows and one index; a rebuild needs twice as much.
        segments: number that each query searches.
        cpu_seconds: of a query; None if not measured.
        machines: number of query nodes, by memory alone.
        queries_a_second: capacity of these.
        dollars_a_month: for these, and for storage.
        dollars_a_million: queries, at that rate around the clock.
    """

    memory: float
    local_disk: float
    object_storage: float
    segments: int
    cpu_seconds: float | None
    machines: int
    queries_a_second: float | None
    dollars_a_month: float
    dollars_a_million: float | None


def plan(
    logos: int,
    layout: Layout,
    cpu_of_query: Callable[[int], float] | None,
    machine: Machine = Machine(),
    prices: Prices = Prices(),
) -> Plan:
    """Compute the needs of one replica for this many logos."""
    memory, local_disk = logos * layout.memory, logos * layout.local_disk
    stored = logos * (VECTOR + ID) + max(memory, local_disk) * layout.filed
    segments = ceil(logos / SEGMENT_LOGOS)
    machines = ceil(memory / (machine.memory_share * machine.gigabytes * 1e9))
    hourly = machines * (machine.vcpus * prices.vcpu_hour + machine.gigabytes * prices.gb_hour)
    disks = local_disk / 1e9 * prices.local_disk_gb_month + stored / 1e9 * prices.object_gb_month
    dollars = hourly * prices.hours_a_month + disks
    cpu_seconds = None if cpu_of_query is None else cpu_of_query(segments)
    rate = None if cpu_seconds is None else machines * machine.vcpus * machine.cpu_share / cpu_seconds
    a_million = None if rate is None else 1e6 * dollars / (rate * 3600 * prices.hours_a_month)
    return Plan(memory, local_disk, stored, segments, cpu_seconds, machines, rate, dollars, a_million)


def cheapest(records: Sequence[Record], logos: int, index: str, count: int) -> Record | None:
    """Return the measurement with the least processor time that finds enough; if none does, the best."""
    found = [r for r in records if (r["logos"], r["index"], r["count"]) == (logos, index, count)]
    enough = [record for record in found if record["recall"] >= REACHED[count]]
    if enough:
        return min(enough, key=lambda record: float(record["cpu_ms"]))
    return max(found, key=lambda record: float(record["recall"]), default=None)
