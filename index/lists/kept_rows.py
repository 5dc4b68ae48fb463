"""The record of each logo, kept from one build to the next: most of a build is to read all vectors.

A row is kept under the logo's id and the checksum of its stored row, so it is used again only for the same vector. A
build that was killed goes on where it was last on the disk; the nightly one reads what is new since the last.

    state.npz   how the rows were made, what is known of the truth about them, and how many there are
    rows        one `dtype` a logo, appended to

Rows are synced before a state that counts them takes the old one's place, and what lies behind the counted ones is cut
off. So after a crash the state and its rows belong together, or, if the state is damaged, all is read again.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from durable import READABLE, atomic_write, sync_directory
from index.components import Components
from index.lists.records import RecordFormat
from index.recall import Compared, Truth

logger = logging.getLogger(__name__)

STATE_NAME, ROWS_NAME = "state.npz", "rows"

_FORMAT = 4  # 1 is that of the reduced indexes of earlier releases; 2 and 3 had other records
_DAMAGE = (  # what a spoilt archive can let out
    *(OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, RuntimeError),
    *(BadZipFile, zlib.error, struct.error),
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Rows are reused only if this is the same: the length of a vector, and the weights that made it."""

    dim: int
    weights_digest: str


@dataclass(frozen=True, slots=True)
class MadeRows:
    """Some rows, (n,), and which of their vectors are nearest to the logos that recall is measured on."""

    rows: NDArray[np.void]
    compared: Compared

    def __len__(self) -> int:
        return len(self.rows)


class KeptRows:
    """The rows in a directory. One build at a time may use it.

    Args:
        directory: exists.
        made: how the rows are made.
        truth: about the vectors of all rows.
        fitted_to: how many logos there were when the components were found.
        count: how many rows there are.

    Raises:
        ValueError: there are fewer.
    """

    def __init__(self, directory: Path, made: RecordFormat, truth: Truth, fitted_to: int, count: int = 0) -> None:
        self.made = made
        self.truth = truth
        self.fitted_to = fitted_to
        self._directory = directory
        self._dtype = _row(made)
        self._count = count
        self._ids, self._checksums = np.zeros(0, np.int64), np.zeros(0, np.uint32)
        self._file = (directory / ROWS_NAME).open("ab")
        if self._file.tell() < count * self._dtype.itemsize:
            self._file.close()
            raise ValueError(f"{ROWS_NAME} holds fewer than {count} rows")
        self._file.truncate(count * self._dtype.itemsize)

    @classmethod
    def load(cls, directory: Path, origin: Origin) -> KeptRows | None:
        """Load what an earlier build kept; `None` if there is nothing, or it is damaged or made from other vectors."""
        if not (directory / STATE_NAME).exists():
            return None
        try:
            with (directory / STATE_NAME).open("rb") as file, np.load(file, allow_pickle=False) as state:
                made_of = Origin(int(state["dim"]), str(state["weights"]))
                if int(state["format"]) != _FORMAT or made_of != origin:
                    return None
                _check_shapes(state, made_of.dim)
                made = RecordFormat(Components(state["mean"], state["components"]), state["steps"])
                truth = Truth(state["query_ids"], state["queries"], state["nearest"], state["squares"])
                return cls(directory, made, truth, int(state["fitted_to"]), int(state["count"]))
        except _DAMAGE as error:
            logger.warning("%s cannot be used, all logos are read again: %s", directory, error)
            return None

    @staticmethod
    def discard(directory: Path) -> None:
        """Remove what an earlier build kept, the state durably before the rows that it counts."""
        (directory / STATE_NAME).unlink(missing_ok=True)
        sync_directory(directory)
        (directory / ROWS_NAME).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> NDArray[np.void]:
        """All rows, (n,), mapped from the file."""
        self._file.flush()
        if not self._count:
            return np.zeros(0, self._dtype)
        return np.memmap(self._directory / ROWS_NAME, self._dtype, "r", shape=(self._count,))

    def keys(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """Return the id and the checksum of each row, (n,) both."""
        if len(self._ids) < self._count:  # they lie far apart in the file: it is read once for them
            unread = self.rows[len(self._ids) :]
            self._ids = np.concatenate([self._ids, unread["id"]])
            self._checksums = np.concatenate([self._checksums, unread["checksum"]])
        return self._ids, self._checksums

    def made_of(self, ids: NDArray[np.int64], checksums: NDArray[np.uint32], vectors: NDArray[np.float32]) -> MadeRows:
        """Make rows of (n, dim) vectors, which can all be searched for. Threads may do this at the same time."""
        rows = np.empty(len(ids), self._dtype)
        rows["id"], rows["checksum"], rows["record"] = ids, checksums, self.made.encode(vectors)
        return MadeRows(rows, self.truth.compared(ids, vectors))

    def add(self, made: MadeRows) -> None:
        """Add rows after the others."""
        self.truth.merge(made.compared)
        self._file.write(made.rows.data.cast("B"))
        self._count += len(made.rows)

    def save(self, origin: Origin) -> None:
        """Sync the rows, and write a state that counts them, for the next build."""
        self._file.flush()
        os.fsync(self._file.fileno())
        with atomic_write(self._directory / STATE_NAME, mode=READABLE, alone=True) as file:
            np.savez(
                file,
                format=_FORMAT,
                dim=origin.dim,
                weights=origin.weights_digest,
                mean=self.made.components.mean,
                components=self.made.components.directions,
                steps=self.made.steps,
                query_ids=self.truth.logo_ids,
                queries=self.truth.queries,
                nearest=self.truth.nearest,
                squares=self.truth.squares,
                fitted_to=self.fitted_to,
                count=self._count,
            )

    def close(self) -> None:
        """Close the file. The next build cuts off rows that were not saved."""
        self._file.close()


def _check_shapes(state: Mapping[str, NDArray[np.generic]], dim: int) -> None:
    queries, codes = len(state["query_ids"]), len(state["components"])
    nearest = (queries, state["nearest"].shape[-1])
    shapes = {"mean": (dim,), "steps": (codes,), "components": (codes, dim), "queries": (queries, dim)}
    shapes |= {"query_ids": (queries,), "nearest": nearest, "squares": nearest}
    for name, shape in shapes.items():
        if state[name].shape != shape or not np.isfinite(state[name][state[name] != np.inf]).all():
            raise ValueError(f"{name} is not of shape {shape}, or not finite")


def _row(made: RecordFormat) -> np.dtype[np.void]:
    return np.dtype([("id", "<i8"), ("checksum", "<u4"), ("record", "u1", made.row_bytes)])
