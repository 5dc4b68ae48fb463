"""What a store must hold after everything that was done to it; every test here uses this to judge.

Embedding and provenance are functions of a logo's id, so any row can be checked without knowing who wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from embeddings.store.layout import ModelStamp
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore

STAMP = ModelStamp("tortured", "digest")


def vectors_of(ids: ArrayLike, dim: int) -> NDArray[np.float32]:
    """Return the embeddings, (n, dim), that every writer stores for these ids, (n,)."""
    embeddings: NDArray[np.float32] = np.sin(np.asarray(ids, np.int64)[:, None] * np.arange(1, dim + 1))
    return embeddings.astype(np.float32)


def provenance_of(ids: Iterable[int]) -> list[Provenance]:
    """Return the provenance that every writer stores for these ids."""
    origins = ((f"https://images.test/{logo_id // 3}.jpg", 1 / (2 + logo_id % 97)) for logo_id in ids)
    return [Provenance(url, (0.0, y_max / 3, y_max, 1.0)) for url, y_max in origins]


@dataclass
class Expectation:
    """What was acknowledged. Requests without an acknowledgement may have been executed or not.

    Attributes:
        stored: ids acknowledged as stored, and without a later request to delete them.
        deleted: ids acknowledged as deleted, and without a later request to add them.
        bare: ids of logos that may lack provenance: those of a file of the original.
    """

    stored: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    bare: set[int] = field(default_factory=set)

    def losses(self, path: Path, *, unfinished: bool = False) -> list[str]:
        """Open a store and return what is wrong with it: nothing, if it keeps every promise.

        Args:
            path: the store file.
            unfinished: whether it is a backup whose last run may have been interrupted, so that an id may be in two
                rows of the file. The store must then return the later one, as if the other did not exist.
        """
        with EmbeddingStore(path) as store:
            blocks = [*store.snapshot().blocks_with_provenance()]
            ids = np.concatenate([np.zeros(0, np.int64), *(block.ids for block in blocks)])
            found = set(ids.tolist())
            wrong = [f"lost {sorted(self.stored - found)}"] if self.stored - found else []
            if self.deleted & found:
                wrong.append(f"deleted, and back again: {sorted(self.deleted & found)}")
            if not len(found) == len(ids) == len(store):
                wrong.append(f"stored twice: {len(ids) - len(found)} of {len(ids)}, or counted wrongly: {len(store)}")
            for block, embeddings, origins in blocks:
                torn = (embeddings != vectors_of(block, store.dim)).any(axis=1)
                wrong += [f"served a wrong embedding of logo {logo_id}" for logo_id in block[torn].tolist()]
                wrong += [
                    f"lost the provenance of logo {logo_id}, or served a wrong one: {origin}"
                    for logo_id, origin, due in zip(block.tolist(), origins, provenance_of(block.tolist()), strict=True)
                    if origin != due and (origin is not None or logo_id not in self.bare)
                ]
            wrong += [f"damaged: {row}" for row in store.verify()]
        return wrong + [f"h5py disagrees: {difference}" for difference in _differences(path, ids, unfinished)]


def _differences(path: Path, ids: NDArray[np.int64], unfinished: bool) -> list[str]:
    """Read the store as any HDF5 tool would, and return the differences from the store's results."""
    with h5py.File(path, "r") as file:
        slots = file["external_id"][:]
        rows = np.flatnonzero(slots > 0)
        if unfinished:
            rows = np.sort([*dict(zip(slots[rows].tolist(), rows.tolist(), strict=True)).values()]).astype(int)
        if not np.array_equal(slots[rows], ids):
            return [f"its ids are {slots[rows].tolist()}"]
        embeddings = file["embedding"][: rows[-1] + 1][rows] if len(rows) else np.zeros((0, file["embedding"].shape[1]))
        if not np.array_equal(embeddings, vectors_of(ids, embeddings.shape[1])):
            return ["its embeddings"]
        urls = file["provenance"].fields("image_url")[: rows[-1] + 1][rows].tolist() if len(rows) else []
        due = [origin.image_url.encode() for origin in provenance_of(ids.tolist())]
        return (
            []
            if {*zip(urls, due, strict=True)} <= {*zip(due, due, strict=True), *((b"", url) for url in due)}
            else ["its provenance"]
        )
