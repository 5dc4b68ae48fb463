"""Vectors reduced to their principal components: what a large index is searched through before it measures exactly.

The values of an embedding vary together, so a few hundred directions hold most of what tells logos apart. A vector is
kept in two shorter forms: its first components as they are, which trees are grown over, and more of them in 8 bits
each, by which candidates are ranked. Neither gives a distance that is answered: that is measured on the vectors
themselves.

The directions are those of a sample (Pearson 1901; the eigenvectors of its covariance). What the components leave of
the squared distance to the mean counts, too, because those leftovers of two vectors are nearly orthogonal. With c for
the codes of x, s for their scale and y for the components of a query:

    |x - y|^2  is about  (|s c|^2 + leftover of x) - 2 s c.y  and what all x have in common

What stands in brackets is kept with the codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from durable import READABLE, sync_file
from index.errors import IndexDamagedError

TREE_DIM = 64
"""Components that trees are grown over.

With 62,400 logos, 100 trees and the same effort, 64, 96 and 128 find as many of the nearest (0.997, 0.999 and 0.997 of
ten), and 64 take the least memory."""

CODE_DIM = 252
"""Components that candidates are ranked by: with the bracket 256 bytes a logo, four lines of the cache."""

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
"""What one step of a code stands for at least: it has to be a number in 32 bits."""

_LARGEST_CODE = 127
_CLIPPED = 1e-4  # of the sample's values are beyond the largest code
_OUTLYING = 10.0  # times the median distance to the mean; such rows would turn the directions to themselves


def record_bytes(code_dim: int) -> int:
    """Answer the bytes of a logo's record: the bracket as a float32, then a code of 8 bits for each component."""
    return 4 + code_dim


@dataclass(frozen=True, slots=True)
class Reduction:
    """The directions of the principal components, and how their values become codes.

    Attributes:
        mean: (dim,) float32.
        components: (codes, dim) float32, orthonormal, of falling variance.
        scale: what one step of a code stands for.
        tree_dim: how many of the first components the trees are grown over.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    scale: float
    tree_dim: int

    @classmethod
    def fit(cls, sample: NDArray[np.float32], *, tree_dim: int = TREE_DIM, code_dim: int = CODE_DIM) -> Reduction:
        """Find the principal components of `(n, dim)` vectors; fewer where the vectors have fewer values."""
        dim = sample.shape[1]
        distances = np.linalg.norm(sample.astype(np.float64) - np.median(sample, axis=0), axis=1)
        usual = np.median(distances[distances > 0]) if distances.any() else 0.0  # most of them may be alike
        centred = sample[distances <= _OUTLYING * usual].astype(np.float64)
        mean = centred.mean(axis=0)
        centred -= mean
        _, directions = np.linalg.eigh(centred.T @ centred)  # of rising variance
        components = directions[:, ::-1][:, : min(code_dim, dim)].T
        largest = np.quantile(np.abs(centred @ components.T), 1 - _CLIPPED)
        return cls(
            mean.astype(np.float32),
            np.ascontiguousarray(components, np.float32),
            max(float(largest) / _LARGEST_CODE, SMALLEST_SCALE),
            min(tree_dim, dim),
        )

    @property
    def dim(self) -> int:
        """The number of values of a vector."""
        return len(self.mean)

    @property
    def code_dim(self) -> int:
        """The number of components that a vector is projected to."""
        return len(self.components)

    def project(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the components of vectors, `(n, codes)` of `(n, dim)`, or of one, `(codes,)` of `(dim,)`."""
        projected: NDArray[np.float32] = np.matmul(vectors - self.mean, self.components.T, dtype=np.float32)
        return projected

    def records(self, vectors: NDArray[np.float32], projected: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return what is kept of `(n, dim)` vectors, projected to `(n, codes)`, for `estimates`: `(n, bytes)`."""
        centred = vectors - self.mean
        leftovers = _squares(centred) - _squares(projected)
        codes = np.clip(np.rint(projected / self.scale), -_LARGEST_CODE, _LARGEST_CODE)
        brackets = (_squares(codes * np.float32(self.scale)) + np.maximum(leftovers, 0)).astype("<f4")
        return np.hstack([brackets[:, np.newaxis].view(np.uint8), codes.astype(np.int8).view(np.uint8)])

    def estimates(self, query: NDArray[np.float32], records: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Estimate squared distances, `(n,)`, less a constant, from a query's components to `(n, bytes)` records."""
        brackets = np.ascontiguousarray(records[:, :4]).view("<f4")[:, 0]
        products = records[:, 4:].view(np.int8).astype(np.float32) @ (query * np.float32(2 * self.scale))
        estimates: NDArray[np.float32] = brackets - products
        return estimates

    def save(self, path: Path) -> None:
        """Write mean and components, `(1 + codes, dim)`, in NumPy's format, and sync the file."""
        with path.open("wb") as file:
            np.save(file, np.vstack([self.mean, self.components]), allow_pickle=False)
        sync_file(path, mode=READABLE)

    @classmethod
    def load(cls, path: Path, *, dim: int, code_dim: int, scale: float, tree_dim: int) -> Reduction:
        """Read what `save` wrote.

        Raises:
            IndexDamagedError: the file holds something else.
            OSError: it cannot be read.
        """
        try:
            rows = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, BadZipFile) as error:
            raise IndexDamagedError(f"{path}: {error}") from error
        if not isinstance(rows, np.ndarray) or rows.dtype != np.float32 or rows.shape != (1 + code_dim, dim):
            raise IndexDamagedError(f"{path}: it does not hold {code_dim} components of {dim} values")
        if not np.isfinite(rows).all():
            raise IndexDamagedError(f"{path}: a value in it is not finite")
        return cls(rows[0], rows[1:], scale, tree_dim)


def _squares(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    squares: NDArray[np.float32] = np.einsum("ij,ij->i", rows, rows)
    return squares
