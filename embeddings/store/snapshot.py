"""The logos in the store at one moment, from which an index is built."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embeddings.store.id_table import WINDOW
from embeddings.store.provenance import Provenance, provenance_in
from embeddings.store.store_file import StoreFile
from embeddings.store.stored_vectors import UncheckedRows

logger = logging.getLogger(__name__)


class Block(NamedTuple):
    """Some logos of a snapshot: n ids, their embeddings, (n, dim), and their provenance, None if unknown."""

    ids: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    provenance: list[Provenance | None]


class Snapshot:
    """The logos stored at one moment. They do not change when the store does, or moves to another file.

    Attributes:
        ids: (n,) their ids, in the order they were stored.
        dim: the length of an embedding.
        damaged: how many logos the last pass through `blocks` skipped.
    """

    def __init__(self, file: StoreFile, rows: NDArray[np.int64], ids: NDArray[np.int64]) -> None:
        self.ids = ids
        self.dim = file.dim
        self.damaged = 0
        self._file = file
        self._rows = rows

    def place_of(self, row: int) -> int:
        """Return the place in `ids` of the first logo at or after a row of the store."""
        return int(self._rows.searchsorted(row))

    def row_after(self, place: int) -> int:
        """Return the row of the store after that of the logo at a place in `ids`."""
        return int(self._rows[place]) + 1

    def __len__(self) -> int:
        return len(self.ids)

    def sample(self, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Draw at most `count` logos at random: ids, (n,), and embeddings, (n, dim). Damaged ones are skipped."""
        drawn = np.random.default_rng(seed).permutation(len(self))[:count]
        drawn.sort()
        embeddings = UncheckedRows(self._file, self._rows[drawn], self.ids[drawn]).checked()
        intact = np.isfinite(embeddings).all(axis=1)
        return self.ids[drawn[intact]], embeddings[intact]

    def checksums(self) -> NDArray[np.uint32]:
        """Return the stored checksum of each logo's id and embedding, (n,)."""
        return self._file.checksums(self._rows)

    def blocks_of(
        self, places: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Yield only the logos at ascending places of `ids`, as `placed_blocks` does."""
        some = Snapshot(self._file, self._rows[places], self.ids[places])
        for at, ids, embeddings in some.placed_blocks():
            yield places[at], ids, embeddings
        self.damaged = some.damaged

    def blocks(self, rows: int = WINDOW) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield ids, (n,), and embeddings, (n, dim), in stored order; at most `rows` of them at a time.

        Each row is checked against its checksum. Damaged ones are skipped, logged and counted.
        """
        for _, ids, embeddings in self._walk(rows):
            yield ids, embeddings

    def placed_blocks(
        self, rows: int = WINDOW
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Yield logos as `blocks` does, preceded by their places in `ids`, (n,)."""
        return self._walk(rows)

    def blocks_with_provenance(self, rows: int = WINDOW) -> Iterator[Block]:
        """Yield logos as `blocks` does, with their provenance."""
        for places, ids, embeddings in self._walk(rows):
            yield Block(ids, embeddings, self.provenance(places))

    def provenance(self, places: NDArray[np.int64]) -> list[Provenance | None]:
        """Return the provenance of the logos at n ascending places of `ids`; None if unknown or damaged."""
        rows = self._rows[places]
        found: list[Provenance | None] = []
        while len(rows):
            run, rows = np.split(rows, [rows.searchsorted(rows[0] + WINDOW)])
            slots = np.zeros(run[-1] - run[0] + 1, np.int64)
            slots[run - run[0]] = self.ids[places[len(found) : len(found) + len(run)]]
            found += provenance_in(self._file.records(int(run[0]), slots)[0][run - run[0]])
        return found

    def _walk(self, rows: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Yield places in `ids`, ids and embeddings."""
        self.damaged = 0
        for start in range(0, int(self._rows[-1]) + 1 if len(self) else 0, rows):
            of_block = slice(*self._rows.searchsorted([start, start + rows]))
            ids, places = self.ids[of_block], self._rows[of_block] - start
            if not len(ids):
                continue
            slots = np.zeros(places[-1] + 1, np.int64)
            slots[places] = ids
            embeddings, good = self._file.checked(start, slots)
            intact = good[places]
            if not intact.all():
                self.damaged += int(np.count_nonzero(~intact))
                logger.error("Left out logos %s: damaged rows of %s", ids[~intact].tolist(), self._file.path)
            yield np.arange(of_block.start, of_block.stop)[intact], ids[intact], embeddings[good]
