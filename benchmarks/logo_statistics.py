"""Statistics of logo embeddings, few enough numbers to keep beside the code.

A logo is split into its class's centre plus the effect of its photo, both in the first principal components, and the
rest of each value. `python -m benchmarks.embedded_logos` measures these on rendered logos; `benchmarks.logos` draws any
number of vectors from them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

STATISTICS = Path(__file__).with_name("logo_statistics.npz")
COMPONENTS = 256
CENTRES = 2000
RESIDUALS = 2000
KNOWN_CLASS = 8  # logos; the mean of fewer is a poor estimate of the class's centre
LARGEST_CODE = 127

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LogoStatistics:
    """The parts of which drawn logos are composed; all float32.

    Attributes:
        mean: `(dim,)`, of all vectors.
        basis: `(components, dim)`, the first principal components.
        centres: `(n, components)`, of some classes, as differences from the mean.
        spreads: `(n,)`, of each of these classes: the root of its logos' mean squared distance from the centre, in
            units of that of all classes.
        residuals: `(m, components)`, of some photos: their differences from the centre, in units of their class's
            spread.
        rest_of_class: `(dim,)`, the standard deviation between classes of what the basis leaves of each value.
        rest_of_photo: `(dim,)`, the same between photos of a class of spread 1.
    """

    mean: FloatArray
    basis: FloatArray
    centres: FloatArray
    spreads: FloatArray
    residuals: FloatArray
    rest_of_class: FloatArray
    rest_of_photo: FloatArray

    @classmethod
    def measure(cls, vectors: FloatArray, classes: ArrayLike, seed: int = 0) -> LogoStatistics:
        """Measure the statistics of vectors `(n, dim)` of classes `(n,)`.

        Raises:
            ValueError: no class has `KNOWN_CLASS` logos, or there are fewer vectors than components.
        """
        if len(vectors) <= COMPONENTS:
            raise ValueError(f"{len(vectors)} vectors are too few for {COMPONENTS} components: embed more")
        rng = np.random.default_rng(seed)
        _, class_of, sizes = np.unique(np.asarray(classes), return_inverse=True, return_counts=True)
        known = np.flatnonzero(sizes >= KNOWN_CLASS)
        if not len(known):
            raise ValueError(f"no class has {KNOWN_CLASS} logos: embed more views of a class")
        mean = vectors.mean(axis=0)
        basis = principal_components(vectors, mean)
        differences = vectors - mean
        projected = differences @ basis.T
        differences -= projected @ basis
        centres, rest_centres = (_means(values, class_of, sizes) for values in (projected, differences))

        photos = np.flatnonzero(sizes[class_of] >= KNOWN_CLASS)
        unbiased = np.sqrt(sizes / np.maximum(sizes - 1, 1), dtype=np.float32)[class_of[photos], np.newaxis]
        residuals = (projected[photos] - centres[class_of[photos]]) * unbiased
        rest = (differences[photos] - rest_centres[class_of[photos]]) * unbiased
        squares = np.bincount(class_of[photos], (residuals**2).sum(axis=1), len(sizes))[known] / sizes[known]
        spreads = np.ones(len(sizes), np.float32)
        spreads[known] = np.sqrt(squares / np.average(squares, weights=sizes[known]))
        residuals /= spreads[class_of[photos], np.newaxis]

        rest_of_photo = rest.var(axis=0)
        rest_of_class = np.maximum(differences.var(axis=0) - rest_of_photo, 0)
        anchors = rng.permutation(known)[:CENTRES]
        drawn = rng.permutation(len(photos))[:RESIDUALS]
        return cls(
            mean,
            basis,
            centres[anchors],
            spreads[anchors],
            residuals[drawn],
            *map(np.sqrt, (rest_of_class, rest_of_photo)),
        )

    def save(self, path: Path) -> None:
        """Write a compressed .npz, with matrices in 8 bits and a unit for each row."""
        arrays: dict[str, NDArray[np.generic]] = {}
        for field in fields(self):
            values: FloatArray = getattr(self, field.name)
            if values.ndim == 1:
                arrays[field.name] = values.astype(np.float16)
                continue
            units = np.abs(values).max(axis=1, keepdims=True) / LARGEST_CODE
            arrays[field.name] = np.round(values / units).astype(np.int8)
            arrays[f"{field.name}_units"] = units.astype(np.float16)
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path = STATISTICS) -> LogoStatistics:
        """Read a file written by `save`."""
        with np.load(path) as file:
            arrays = {name: file[name].astype(np.float32) for name in file.files}
        return cls(
            **{
                field.name: arrays[field.name] * arrays.get(f"{field.name}_units", np.float32(1))
                for field in fields(cls)
            }
        )


def principal_components(vectors: FloatArray, mean: FloatArray) -> FloatArray:
    """Return the first `COMPONENTS` principal components `(components, dim)`, largest variance first."""
    covariance = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), 10_000):
        block = vectors[start : start + 10_000] - mean
        covariance += block.T @ block
    _, directions = np.linalg.eigh(covariance)
    return np.ascontiguousarray(directions[:, : -COMPONENTS - 1 : -1].T, np.float32)


def _means(values: FloatArray, class_of: NDArray[np.int64], sizes: NDArray[np.int64]) -> FloatArray:
    order = np.argsort(class_of, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    sums: FloatArray = np.add.reduceat(values[order], starts, axis=0)
    return (sums / sizes[:, np.newaxis]).astype(np.float32)
