"""Code the first principal components in 4 bits a pair; faiss scans such codes at 2 ns a logo.

Each pair of components becomes the nearest of 16 centroids (product quantisation, Jégou et al. 2011); FastScan compares
32 logos at a time in the processor's registers (André et al. 2015). The codes of a list lie together, and a query scans
only the lists that it chose.

A pair joins a component of large variance with one of small variance, the first with the last, so each 16 centroids
have about as much variance to describe (Ge et al. 2013). With pairs of neighbouring components, a query needs 1,000
candidates instead of 500.

faiss 1.15.1 corrupts its heap in `add_core` of this index, and loses entries when it converts another one: use `add`
alone. It trusts whatever file it reads, so the digest is checked first, on the very bytes that faiss then reads.
"""

from __future__ import annotations

import hashlib
import logging
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from durable import READABLE, sync_file
from index.errors import IndexDamagedError
from index.files.regular_file import read_regular
from index.lists.mask import Mask
from index.lists.records import LONG

COMPONENTS, COMPONENTS_OF_MANY = 192, 128
"""Number of components in codes and centres, with short and with long records.

Among 20,000 logos, 192 components need 2,000 candidates where 128 need 2,400. Among millions, the scan is most of a
query, so codes are shorter."""

TRAINED_ON = 65_536
"""Number of logos that the centroids are computed from."""

_BITS = 4
_PAIR = 2  # components per code
_QUICKEST = 11  # of faiss' implementations, for one query with hundreds of candidates


def coded_components(available: int) -> int:
    """Return how many of the available components are coded: whole pairs."""
    most = COMPONENTS if available < LONG else COMPONENTS_OF_MANY
    return min(most, max(1, available - available % _PAIR))


def bytes_a_logo(components: int) -> int:
    """Return the bytes of a logo's code and number."""
    return -(-components // _PAIR) * _BITS // 8 + 8


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
    def train(cls, points: NDArray[np.float32], centres: NDArray[np.float32], *, jobs: int = 1) -> Codes:
        """Find the centroids of the codes from `(n, dim)` points; the codes are added later.

        Args:
            points: the first components of some logos.
            centres: (k, dim) of the lists.
            jobs: threads that train and add.
        """
        faiss = import_faiss()
        faiss.omp_set_num_threads(jobs)
        dim = centres.shape[1]
        quantizer = faiss.IndexFlatL2(dim)
        quantizer.add(_paired(centres))
        index = faiss.IndexIVFPQFastScan(quantizer, dim, len(centres), -(-dim // _PAIR), _BITS)
        index.by_residual = False
        index.pq.cp.min_points_per_centroid = 1  # faiss prints warnings below 39
        index.train(_paired(np.resize(points, (max(len(points), 2**_BITS), dim))))  # repeats if too few
        return cls(index)

    def add(self, points: NDArray[np.float32]) -> None:
        """Code `(n, dim)` more logos, numbered after the others."""
        self._index.add(_paired(points))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def save(self, path: Path) -> None:
        """Write faiss' file, and sync it."""
        self._faiss.write_index(self._index, str(path))
        sync_file(path, mode=READABLE)

    @classmethod
    def load(cls, path: Path, *, sha256: str, shape: tuple[int, int, int]) -> Codes:
        """Read what `save` wrote.

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
        if not isinstance(index, faiss.IndexIVFPQFastScan) or (index.ntotal, index.nlist, index.d) != shape:
            raise IndexDamagedError(f"{path}: it does not hold the codes of {shape[0]} logos in {shape[1]} lists")
        index.implem = _QUICKEST
        return cls(index)

    def scan(
        self, queries: NDArray[np.float32], lists: NDArray[np.int64], count: int, mask: Mask | None = None
    ) -> NDArray[np.int64]:
        """Return the items whose codes are nearest to each query, `(n, count)`, in no order; -1 where there are fewer.

        The GIL is released.

        Args:
            queries: (n, dim) first components.
            lists: (n, k) the lists to scan for each query.
            count: number of candidates.
            mask: the items that may be returned; `None` for all.
        """
        faiss, probes = self._faiss, lists.shape[1]
        queries = _paired(queries)
        lists = np.ascontiguousarray(lists)
        distances, items = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
        unused = np.zeros(lists.shape, np.float32)  # distances to the centres, which codes of residuals would need
        faiss.omp_set_num_threads(1)  # for this thread, because others search at the same time
        # Not the Python method of that name: it takes the number of lists from the index, which threads share.
        self._index.search_preassigned_c(
            len(queries),
            faiss.swig_ptr(queries),
            count,
            faiss.swig_ptr(lists),
            faiss.swig_ptr(unused),
            faiss.swig_ptr(distances),
            faiss.swig_ptr(items),
            False,
            self._parameters(probes) if mask is None else self._masked(probes, mask),
        )
        return items

    def _masked(self, probes: int, mask: Mask) -> Any:
        selector = self._faiss.IDSelectorBitmap(len(mask.bits), self._faiss.swig_ptr(mask.bits))
        return self._faiss.IVFSearchParameters(nprobe=probes, sel=selector)


def _paired(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorder the components of `(n, dim)` points so that pairs are adjacent."""
    dim = points.shape[1]
    return points.take(_pairs(dim), axis=1)


@cache
def _pairs(dim: int) -> NDArray[np.intp]:
    """Return the components in the order of their pairs: first and last, second and last but one, and so on."""
    order = np.arange(dim)
    return np.stack([order, order[::-1]], axis=1).reshape(-1)[:dim]


def import_faiss() -> Any:
    """Import faiss only when it is needed: it takes 0.1 s and 15 MB."""
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it logs every start
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # with busy waiting, training takes ten times as long
    import faiss

    return faiss
