"""Code the first principal components in 4 bits a pair; faiss scans 64 such codes in 2 ns.

Each pair of components becomes the nearest of 16 centroids (product quantisation, Jégou et al. 2011); FastScan compares
32 logos at a time in the processor's registers (André et al. 2015). The codes of a list lie together, and a query scans
only the lists that it chose.

A pair joins a component of large variance with one of small variance, the first with the last, so each 16 centroids
have about as much variance to describe (Ge et al. 2013). With pairs of neighbouring components, a query needs 1,000
candidates instead of 500.

The rest of a logo, what it has outside these components, is coded too, alone: it adds the same to the distance from any
query. Without it, a query needs three times as many candidates. It counts less than in full, because near neighbours
have a part of it in common.

faiss 1.15.1 corrupts its heap in `add_core` of this index, and loses entries when it converts another one: use `add`
alone. It trusts whatever file it reads, so the digest is checked first, on the very bytes that faiss then reads.
"""

from __future__ import annotations

import hashlib
import logging
import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from durable import READABLE, sync_file
from index.errors import IndexDamagedError
from index.files.regular_file import read_regular
from index.lists.mask import Mask
from index.lists.records import MANY

_COMPONENTS, _COMPONENTS_OF_MANY = 192, 126
"""Number of components in centres and codes: fewer of many logos, whose scan is most of a query."""

REST_WEIGHT = 0.6
"""Of the square of the rest: 0.5 finds most in the shorter codes, 0.7 in the longer ones, and 1 a percent less."""

TRAINED_ON = 65_536
"""Number of logos that the centroids are computed from."""

_BITS = 4
_PAIR = 2  # components per code
_IMPLEMENTATION = 13  # of faiss: as quick as any for several queries at once


def coded_components(logos: int, recorded: int) -> int:
    """Return how many of the components in records are coded in an index of this many logos: whole pairs."""
    most = _COMPONENTS if logos < MANY else _COMPONENTS_OF_MANY
    return min(most, max(1, recorded - recorded % _PAIR))


def bytes_a_logo(components: int) -> int:
    """Return the bytes of a logo's code and number."""
    return -(-_codes(components) * _BITS // 8) + 8


class Scanned(NamedTuple):
    """What a scan found, in no order.

    Attributes:
        items: (n, count); -1 where there are fewer.
        squares: (n, count) estimated squared distances; very large where there are fewer.
    """

    items: NDArray[np.int64]
    squares: NDArray[np.float32]


class Codes:
    """The coded logos of an index, in lists. Threads may share it.

    Args:
        index: the index object of faiss.
    """

    def __init__(self, index: Any) -> None:
        self._faiss = import_faiss()
        self._index = index
        self._parameters = cache(lambda probes: self._faiss.IVFSearchParameters(nprobe=probes))

    @classmethod
    def train(
        cls,
        points: NDArray[np.float32],
        rests: NDArray[np.float32],
        centres: NDArray[np.float32],
        *,
        jobs: int = 1,
    ) -> Codes:
        """Find the centroids of the codes from some logos; the codes are added later.

        Args:
            points: (n, dim) first components.
            rests: (n,) distances from the points.
            centres: (k, dim) of the lists.
            jobs: threads that train and add.
        """
        faiss = import_faiss()
        faiss.omp_set_num_threads(jobs)
        codes = _codes(centres.shape[1])
        quantizer = faiss.IndexFlatL2(_PAIR * codes)
        quantizer.add(_arranged(centres))  # without a rest, so that lists do not depend on it
        index = faiss.IndexIVFPQFastScan(quantizer, _PAIR * codes, len(centres), codes, _BITS)
        index.by_residual = False
        index.pq.cp.min_points_per_centroid = 1  # faiss prints warnings below 39
        arranged = _arranged(points, rests)
        index.train(np.resize(arranged, (max(len(points), 2**_BITS), arranged.shape[1])))  # repeats if too few
        return cls(index)

    def add(self, points: NDArray[np.float32], rests: NDArray[np.float32]) -> None:
        """Code more logos, numbered after the others: `(n, dim)` first components, and `(n,)` rests."""
        self._index.add(_arranged(points, rests))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def save(self, path: Path) -> None:
        """Write faiss' file, and sync it."""
        self._faiss.write_index(self._index, str(path))
        sync_file(path, mode=READABLE)

    @classmethod
    def load(cls, path: Path, *, sha256: str, shape: tuple[int, int, int]) -> Codes:
        """Read what `save` wrote, for scans alone: more codes cannot be added.

        Args:
            path: the file.
            sha256: its digest, in hexadecimal digits.
            shape: the number of logos, of lists and of components that it must have.

        Raises:
            IndexDamagedError: it is another file, or not of this shape.
            OSError: it cannot be read.
        """
        content = read_regular(path)
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise IndexDamagedError(f"{path}: its SHA-256 is {found}, index.json says {sha256}")
        faiss = import_faiss()
        try:
            index = faiss.read_index(
                faiss.ZeroCopyIOReader(faiss.swig_ptr(np.frombuffer(content, np.uint8)), len(content))
            )
        except RuntimeError as error:
            raise IndexDamagedError(f"{path}: {error}") from error
        expected = *shape[:2], _PAIR * _codes(shape[2])
        if not isinstance(index, faiss.IndexIVFPQFastScan) or (index.ntotal, index.nlist, index.d) != expected:
            raise IndexDamagedError(f"{path}: it does not hold the codes of {shape[0]} logos in {shape[1]} lists")
        index.implem = _IMPLEMENTATION
        # The centres of its quantizer are views into `content`, which is gone from here on: a scan does not need them.
        return cls(index)

    def scan(
        self, queries: NDArray[np.float32], lists: NDArray[np.int64], count: int, mask: Mask | None = None
    ) -> Scanned:
        """Return the items whose codes are nearest to each query, and their estimated squared distances.

        The GIL is released.

        Args:
            queries: (n, dim) first components.
            lists: (n, k) the lists to scan for each query, nearest first; -1 is passed over.
            count: number of candidates.
            mask: the items that may be returned; `None` for all.
        """
        faiss, probes = self._faiss, lists.shape[1]
        arranged, lists = _arranged(queries), np.ascontiguousarray(lists)
        distances, items = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
        unused = np.zeros(lists.shape, np.float32)  # distances to the centres, which codes of residuals would need
        faiss.omp_set_num_threads(1)  # for this thread, because others search at the same time
        # Not the Python method of that name: it takes the number of lists from the index, which threads share.
        self._index.search_preassigned_c(
            len(queries),
            faiss.swig_ptr(arranged),
            count,
            faiss.swig_ptr(lists),
            faiss.swig_ptr(unused),
            faiss.swig_ptr(distances),
            faiss.swig_ptr(items),
            False,
            self._parameters(probes) if mask is None else self._masked(probes, mask),
        )
        return Scanned(items, distances)

    def _masked(self, probes: int, mask: Mask) -> Any:
        selector = self._faiss.IDSelectorBitmap(len(mask.bits), self._faiss.swig_ptr(mask.bits))
        return self._faiss.IVFSearchParameters(nprobe=probes, sel=selector)


def _codes(components: int) -> int:
    """Return the number of codes of a logo: one for its rest, and one for each pair."""
    return 1 + -(-components // _PAIR)


def _arranged(points: NDArray[np.float32], rests: NDArray[np.float32] | float = 0.0) -> NDArray[np.float32]:
    """Return what is coded of `(n, dim)` points: the rest and nothing, then the components, pairs adjacent."""
    dim = points.shape[1]
    arranged = np.zeros((len(points), _PAIR * _codes(dim)), np.float32)
    arranged[:, 0] = np.multiply(rests, REST_WEIGHT**0.5)
    arranged[:, _PAIR : _PAIR + dim] = points[:, _pairs(dim)]
    return arranged


@cache
def _pairs(dim: int) -> NDArray[np.intp]:
    """Return the components in the order of their pairs: first and last, second and last but one, and so on."""
    order = np.arange(dim)
    return np.stack([order, order[::-1]], axis=1).reshape(-1)[:dim]


@cache
def import_faiss() -> Any:
    """Import faiss only when it is needed: it takes 0.1 s and 15 MB."""
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it logs every start
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # with busy waiting, training takes ten times as long
    import faiss

    return faiss
