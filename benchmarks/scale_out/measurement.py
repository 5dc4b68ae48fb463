"""A collection of drawn logos, filled once and then indexed and searched with each index type.

Sealed rows are compacted before they are indexed, as in a collection that has existed for a while: a query searches
every segment, so their number determines its cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

import numpy as np
from grpc import RpcError
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from benchmarks.results import Record
from benchmarks.rivals.engine import blocks
from benchmarks.rivals.vectors import VectorFiles, count_found
from benchmarks.scale_out.index_types import COUNTS, IndexType
from benchmarks.scale_out.server import Server

COLLECTION = "scale_out"
ROWS_A_MESSAGE = 1000
INDEXED_ROWS = 1024  # smaller segments have no index
ROUNDS = 3
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 3600.0


def fill(client: MilvusClient, files: VectorFiles, server: Server) -> Record:
    """Create the collection of all vectors, sealed; the ids are their rows."""
    vectors = files.vectors
    if client.has_collection(COLLECTION):
        client.drop_collection(COLLECTION)
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("logo_id", DataType.INT64, is_primary=True)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
    client.create_collection(COLLECTION, schema=schema, consistency_level="Bounded", num_shards=1)
    disk = server.disk()
    with server.spending() as spent:
        for first, block in blocks(vectors):
            for start in range(0, len(block), ROWS_A_MESSAGE):
                part = enumerate(block[start : start + ROWS_A_MESSAGE], first + start)
                client.upsert(COLLECTION, [{"logo_id": row, "embedding": vector} for row, vector in part])
    with server.spending() as flushed:
        client.flush(COLLECTION)
    return {
        "fill_seconds": round(spent.seconds, 2),
        "fill_cpu_seconds": round(spent.cpu_seconds, 2),
        "flush_seconds": round(flushed.seconds, 2),
        "fill_disk_bytes": server.disk() - disk,
    }


def compact(client: MilvusClient) -> None:
    """Merge the segments as far as the server lets them grow, and remove replaced rows, as it would do later anyway.

    Milvus 2.3 does this only with indexed segments.
    """
    if sum(segment_rows(client)) < INDEXED_ROWS:
        return
    _index(client, IndexType("FLAT"), 1)
    for _ in range(2):
        job = client.compact(COLLECTION)
        _wait(lambda job=job: client.get_compaction_state(job) == "Completed")  # type: ignore[misc]
        _wait(lambda: _all_indexed(client))
    client.drop_index(COLLECTION, "embedding")


def measure(client: MilvusClient, files: VectorFiles, server: Server, kind: IndexType) -> Iterator[Record]:
    """Index the collection, search it, and drop the index; yield a record for each effort and number of neighbours.

    Raises:
        MilvusException: the server does not build such an index.
    """
    rows = len(files.vectors)
    segments = len(segment_rows(client))
    disk = server.disk()
    with server.spending() as spent:
        _index(client, kind, rows // segments)
    disk = server.disk() - disk
    server.restart()
    _wait(lambda: _answers(client))
    empty = server.memory()
    with server.spending() as loading:
        client.load_collection(COLLECTION)
    try:
        queries = np.array(files.vectors[files.queries])
        _ask(client, queries[:20], {}, COUNTS[0])
        about: Record = {
            "index": kind.name,
            "build": kind.build(rows // segments),
            "segments": segments,
            "index_seconds": round(spent.seconds, 2),
            "index_cpu_seconds": round(spent.cpu_seconds, 2),
            "load_seconds": round(loading.seconds, 2),
            "disk_bytes": disk,
            "memory_bytes": server.memory() - empty,
        }
        for count in COUNTS:
            for effort in sorted({max(effort, count * kind.at_least_count) for effort in kind.efforts}):
                search = kind.search(effort, count)
                yield about | {"effort": effort, "count": count} | asdict(_asked(client, files, server, search, count))
    finally:
        client.release_collection(COLLECTION)
        client.drop_index(COLLECTION, "embedding")


def segment_rows(client: MilvusClient) -> list[int]:
    """Return the number of rows of each flushed segment."""
    return [segment.num_rows for segment in client.list_persistent_segments(COLLECTION) if segment.num_rows]


@dataclass(frozen=True, slots=True)
class Asked:
    """The result of queries of one kind, one after the other.

    Attributes:
        recall: the share of the true nearest that were found.
        p50_ms: wall time of a query, the median of `ROUNDS` rounds.
        p95_ms: the same.
        cpu_ms: time of all the server's processors, for a query.
    """

    recall: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float


def _asked(client: MilvusClient, files: VectorFiles, server: Server, search: dict[str, int], count: int) -> Asked:
    queries, truth = np.array(files.vectors[files.queries]), files.truth[:, :count]
    _ask(client, queries[:20], search, count)
    p50, p95, found = [], [], 0
    with server.spending() as spent:
        for _ in range(ROUNDS):
            answers, times = _ask(client, queries, search, count)
            found = sum(count_found(files.vectors, *of_one) for of_one in zip(queries, answers, truth, strict=True))
            p50.append(median(times))
            p95.append(quantiles(times, n=20)[18])
    cpu_ms = 1e3 * spent.cpu_seconds / (ROUNDS * len(queries))
    return Asked(round(found / truth.size, 4), round(median(p50), 2), round(median(p95), 2), round(cpu_ms, 2))


def _ask(
    client: MilvusClient, queries: np.ndarray[Any, Any], search: dict[str, int], count: int
) -> tuple[list[list[int]], list[float]]:
    """Return the ids and the milliseconds of every query."""
    answers, times = [], []
    for query in queries:
        started = time.perf_counter()
        (hits,) = client.search(
            COLLECTION,
            [query],
            limit=count,
            output_fields=["logo_id"],
            search_params={"metric_type": "L2", "params": search},
        )
        times.append(1e3 * (time.perf_counter() - started))
        answers.append([hit["entity"]["logo_id"] for hit in hits])
    return answers, times


def _index(client: MilvusClient, kind: IndexType, rows: int) -> None:
    indexes = client.prepare_index_params()
    indexes.add_index("embedding", index_type=kind.name, metric_type="L2", params=kind.build(rows))
    client.create_index(COLLECTION, indexes)
    _wait(lambda: _all_indexed(client))


def _answers(client: MilvusClient) -> bool:
    try:
        return bool(client.describe_index(COLLECTION, "embedding", timeout=POLL_SECONDS))
    except (MilvusException, RpcError):
        return False


def _all_indexed(client: MilvusClient) -> bool:
    state = client.describe_index(COLLECTION, "embedding")
    if state.get("state") == "Failed":
        raise MilvusException(message=f"the index failed: {state}")
    return int(state["pending_index_rows"]) == 0


def _wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("the server was not done after an hour")
        time.sleep(POLL_SECONDS)
