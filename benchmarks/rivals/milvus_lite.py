"""Milvus Lite: Milvus' own client and its server in one process. Distances are squared, which ranks the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.rivals.engine import Engine, FloatArray, Items, blocks

COLLECTION = "logos"
ROWS_A_MESSAGE = 1000


class _MilvusLite(Engine):
    packages = ("milvus-lite", "pymilvus")
    held_bytes_a_value = 8.0  # as measured: its rows, and its index
    kind: str  # of index

    def fit(self, vectors: FloatArray, folder: Path) -> None:
        from pymilvus import DataType, MilvusClient

        count, dim = vectors.shape
        self._lists = max(1, round(4 * count**0.5))
        self._path = str(folder / "milvus.db")
        self._client = MilvusClient(self._path)
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
        self._client.create_collection(COLLECTION, schema=schema)
        for first, block in blocks(vectors):
            for start in range(0, len(block), ROWS_A_MESSAGE):
                part = enumerate(block[start : start + ROWS_A_MESSAGE], first + start)
                self._client.insert(COLLECTION, [{"id": row, "vector": vector} for row, vector in part])
        self._client.flush(COLLECTION)
        indexes = self._client.prepare_index_params()
        of_lists = {"nlist": self._lists} if self.kind.startswith("IVF") else {}
        indexes.add_index("vector", index_type=self.kind, metric_type="L2", params=of_lists)
        self._client.create_index(COLLECTION, indexes)
        self._client.load_collection(COLLECTION)

    def set_effort(self, effort: int | None, count: int) -> None:
        self._of_search = {} if effort is None else {"nprobe": min(effort, self._lists)}

    def query(self, vector: FloatArray, count: int) -> Items:
        (found,) = self._client.search(
            COLLECTION,
            [vector],
            limit=count,
            search_params={"metric_type": "L2", "params": self._of_search},
            output_fields=["id"],  # without this, the vectors are returned too
        )
        return np.asarray([row["id"] for row in found], np.int64)

    def close(self) -> None:
        from milvus_lite.server_manager import server_manager_instance

        self._client.close()
        server_manager_instance.release_server(self._path)  # else the server runs on until this process ends


class MilvusLiteFlat(_MilvusLite):
    """Exact search."""

    title = "Milvus Lite FLAT"
    kind = "FLAT"


class MilvusLiteIvf(_MilvusLite):
    """Inverted lists of whole vectors."""

    title = "Milvus Lite IVF_FLAT"
    kind = "IVF_FLAT"
    effort = "nprobe"
    efforts = (1, 4, 16, 64, 256)
