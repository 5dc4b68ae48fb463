"""What a store must hold after everything that was done to it; every test here uses this to judge.

Embedding and provenance are functions of a logo's id, and of a version if logos are replaced, so any row can be checked
without knowing who wrote it.
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
from embeddings.store.snapshot import Block
from embeddings.store.store import EmbeddingStore

STAMP = ModelStamp("tortured", "digest")


def vectors_of(ids: ArrayLike, dim: int, version: int = 0) -> NDArray[np.float32]:
    """Return the embeddings, (n, dim), that every writer stores for these ids, (n,)."""
    embeddings: NDArray[np.float32] = np.sin(np.asarray(ids, np.int64)[:, None] * np.arange(1, dim + 1) + version)
    return embeddings.astype(np.float32)


def provenance_of(ids: Iterable[int], version: int = 0) -> list[Provenance]:
    """Return the provenance that every writer stores for these ids."""
    of = f"-{version}" if version else ""
    origins = ((f"https://images.test/{logo_id // 3}{of}.jpg", 1 / (2 + logo_id % 97)) for logo_id in ids)
    return [Provenance(url, (0.0, y_max / 3, y_max, 1.0)) for url, y_max in origins]


@dataclass
class Expectation:
    """What was acknowledged. Requests without an acknowledgement may have been executed or not.

    Attributes:
        stored: ids acknowledged as stored, and without a later request to delete them.
        deleted: ids acknowledged as deleted, and without a later request to add them.
        bare: ids of logos that may lack provenance: those of a file of the original.
        versions: the possible versions of logos that were replaced; all others have version 0.
    """

    stored: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    bare: set[int] = field(default_factory=set)
    versions: dict[int, set[int]] = field(default_factory=dict)

    def losses(self, path: Path, *, unfinished: bool = False) -> list[str]:
        """Open a store and return what is wrong with it: nothing, if it keeps every promise.

        Args:
            path: the store file.
            unfinished: whether logos were being replaced, or it is a backup whose last run may have been interrupted,
                so that an id may be in two rows of the file. The store must then return the later one, as if the other
                did not exist.
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
                found_versions = self._versions_in(block, embeddings)
                torn = found_versions < 0
                wrong += [f"served a wrong embedding of logo {logo_id}" for logo_id in block[torn].tolist()]
                wrong += [
                    f"lost the provenance of logo {logo_id}, or served a wrong one: {origin}"
                    for logo_id, origin, version in zip(block.tolist(), origins, found_versions.tolist(), strict=True)
                    if origin != provenance_of([logo_id], max(0, version))[0]
                    and (origin is not None or logo_id not in self.bare)
                ]
            wrong += [f"damaged: {row}" for row in store.verify()]
        return wrong + [f"h5py disagrees: {difference}" for difference in _differences(path, blocks, unfinished)]

    def _versions_in(self, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return which version of each logo its embedding is, (n,); -1 if it is none that may be there."""
        found = np.full(len(ids), -1)
        allowed = [self.versions.get(logo_id, {0}) for logo_id in ids.tolist()]
        for version in set().union(*allowed):
            may_be = np.array([version in versions for versions in allowed])
            found[may_be & (embeddings == vectors_of(ids, embeddings.shape[1], version)).all(axis=1)] = version
        return found


def _differences(path: Path, blocks: list[Block], unfinished: bool) -> list[str]:
    """Read the store as any HDF5 tool would, and return the differences from the store's results."""
    ids = np.concatenate([np.zeros(0, np.int64), *(block.ids for block in blocks)])
    with h5py.File(path, "r") as file:
        slots = file["external_id"][:]
        rows = np.flatnonzero(slots > 0)
        if unfinished:
            rows = np.sort([*dict(zip(slots[rows].tolist(), rows.tolist(), strict=True)).values()]).astype(int)
        if not np.array_equal(slots[rows], ids):
            return [f"its ids are {slots[rows].tolist()}"]
        if not len(rows):
            return []
        if not np.array_equal(file["embedding"][: rows[-1] + 1][rows], np.concatenate([b.embeddings for b in blocks])):
            return ["its embeddings"]
        urls = file["provenance"].fields("image_url")[: rows[-1] + 1][rows].tolist()
        answered = [origin.image_url.encode() if origin else b"" for block in blocks for origin in block.provenance]
        return [] if urls == answered else ["its provenance"]
