"""How well the nearest vectors tell whose logo it is: pure numpy, so that training can validate with the same measure.

`recall_at_4` follows the protocol by which Open Food Facts compared embeddings (openfoodfacts/robotoff,
doc/research/logo-detection/embedding-benchmark.md). Each logo in turn is the query. Its candidates are at most 4 random
logos of each class, including its own. Its recall is the number of candidates of its class among the nearest 4, divided
by the number of them drawn. Micro is the mean over queries, macro the mean over classes of the mean of each.

Where the protocol leaves a choice, it is made like this:

- Logos on the query's own photo are not candidates. A query whose class is on no other photo is excluded.
- The draw is repeated, separately for each query, and the spread over draws is reported with the mean. Draws depend
  only on the seed, labels and photos, so all embeddings and both distances get exactly the same candidates.
- Candidates that tie for the last of the 4 places share it, so identical vectors score exactly the chance level.
- A query with fewer than 4 relevant candidates is scored on those, so 1 can always be reached.

`knn_accuracy` measures what Robotoff does: which label do the nearest logos, among all on other photos, vote for?
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Metric = Literal["l2", "cosine"]
METRICS: tuple[Metric, ...] = ("l2", "cosine")

NEAREST = 4
PER_CLASS = 4
BLOCK = 256  # queries at once: the distances of 5,000 vectors to all others would take 200 MB

Distances = Callable[[slice], NDArray[np.float64]]


class Estimate(NamedTuple):
    """The mean over draws, and its standard deviation."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The score of each query in each draw.

    Attributes:
        values: `(draws, n) float64`; NaN where the query is excluded.
        classes: the labels, sorted, `(classes,)`.
        class_of: the index into `classes` of each query, `(n,) int64`.
    """

    values: NDArray[np.float64]
    classes: NDArray[np.str_]
    class_of: NDArray[np.int64]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which queries are not excluded, `(n,)`."""
        kept: NDArray[np.bool_] = ~np.isnan(self.values[0])
        return kept

    @property
    def by_query(self) -> NDArray[np.float64]:
        """The mean of each query over draws, `(n,)`; NaN where it is excluded."""
        means: NDArray[np.float64] = self.values.mean(axis=0)
        return means

    @property
    def by_class(self) -> dict[str, float]:
        """The mean of each class that has a query, in the order of `classes`."""
        means = self._class_means().mean(axis=0)
        asked = np.unique(self.class_of[self.kept])
        return dict(zip(self.classes[asked].tolist(), means.tolist(), strict=True))

    @property
    def micro(self) -> Estimate:
        """The mean over queries."""
        return _estimate(self.values[:, self.kept])

    @property
    def macro(self) -> Estimate:
        """The mean over classes of the means of their queries."""
        return _estimate(self._class_means())

    def _class_means(self) -> NDArray[np.float64]:
        kept = self.kept
        asked, member = np.unique(self.class_of[kept], return_inverse=True)
        sums = self.values[:, kept] @ np.eye(len(asked))[member]
        means: NDArray[np.float64] = sums / np.bincount(member)
        return means


def recall_at_4(
    vectors: NDArray[np.float32],
    labels: ArrayLike,
    photos: ArrayLike,
    *,
    metric: Metric = "l2",
    draws: int = 20,
    seed: int = 0,
) -> Scores:
    """Measure the recall of each query in each draw, as this module describes.

    Args:
        vectors: `(n, dim) float32`.
        labels: the class of each vector, `(n,)`.
        photos: the photo of each vector's logo, `(n,)`.
        metric: the distance to rank candidates by.
        draws: number of draws of candidates.
        seed: determines the candidates.

    Raises:
        ValueError: the lengths differ, a value is not finite, or no label is on two photos.
    """
    pool = _Pool(labels, photos)
    distances = _distances(vectors, metric, len(pool.class_of))
    rng = np.random.default_rng(seed)
    values = np.empty((draws, len(pool.class_of)))
    for queries in _blocks(len(pool.class_of)):
        to_all = distances(queries)
        for draw in range(draws):
            values[draw, queries] = pool.recall(queries, to_all, rng)
    return Scores(values, pool.classes, pool.class_of)


def chance_at_4(labels: ArrayLike, photos: ArrayLike) -> Scores:
    """Return the exact expected recall of a random ranking, for each query.

    Each of `m` candidates is equally likely to be among the nearest 4, so 4 / m of the relevant ones are.

    Raises:
        ValueError: as for `recall_at_4`.
    """
    pool = _Pool(labels, photos)
    candidates = np.minimum(pool.available, PER_CLASS).sum(axis=1)
    by_chance = np.minimum(NEAREST, candidates) / np.maximum(candidates, 1)
    return Scores(np.where(pool.is_query, by_chance, np.nan)[np.newaxis], pool.classes, pool.class_of)


def knn_accuracy(
    vectors: NDArray[np.float32], labels: ArrayLike, photos: ArrayLike, *, metric: Metric = "l2", k: int = 10
) -> Scores:
    """Measure for each query whether the nearest logos of other photos vote for its label, 1, or not, 0.

    The vote of a label is the sum of 1 / distance over those of the `k` nearest that have it; at distance zero, only
    they vote. Labels with the same vote share the result. The excluded queries are those of `recall_at_4`.

    Args:
        vectors: `(n, dim) float32`.
        labels: the class of each vector, `(n,)`.
        photos: the photo of each vector's logo, `(n,)`.
        metric: the distance to use.
        k: number of nearest logos that vote.

    Raises:
        ValueError: as for `recall_at_4`.
    """
    pool = _Pool(labels, photos)
    rows, distances = nearest(vectors, photos, k, metric=metric)
    identical = distances == 0
    with np.errstate(divide="ignore"):
        weights = np.where(identical.any(axis=1, keepdims=True), identical, 1 / distances)  # none at infinity
    votes = np.zeros((len(rows), len(pool.classes)))
    np.add.at(votes, (np.arange(len(rows))[:, np.newaxis], pool.class_of[rows]), weights)
    wins = votes == votes.max(axis=1, keepdims=True)
    right = wins[np.arange(len(rows)), pool.class_of] / wins.sum(axis=1)
    return Scores(np.where(pool.is_query, right, np.nan)[np.newaxis], pool.classes, pool.class_of)


def nearest(
    vectors: NDArray[np.float32], photos: ArrayLike, count: int, *, metric: Metric = "l2"
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the rows and distances, `(n, count)`, of the vectors nearest to each, except those of its photo.

    Vectors at the same distance come in the order of their rows. If there are fewer than `count`, the last distances
    are infinite, and their rows meaningless; there are never more columns than vectors.

    Raises:
        ValueError: the lengths differ, or a value is not finite.
    """
    photo_of = np.unique(np.asarray(photos), return_inverse=True)[1]
    distances = _distances(vectors, metric, len(photo_of))
    rows, found = [], []
    for queries in _blocks(len(photo_of)):
        to_all = distances(queries)
        to_all[photo_of[queries, np.newaxis] == photo_of] = np.inf
        rows.append(np.argsort(to_all, axis=1, kind="stable")[:, :count])
        found.append(np.take_along_axis(to_all, rows[-1], axis=1))
    return np.concatenate(rows), np.concatenate(found)


class _Pool:
    """The candidates of each query, and draws among them.

    Logos are sorted by class, then photo. The candidates of a class are then one run, except for the hole that the
    query's own photo leaves in it.

    Attributes:
        classes: the labels, sorted, `(classes,)`.
        class_of: the index into `classes` of each logo, `(n,)`.
        available: number of logos of each class on photos other than the query's, `(n, classes)`.
        is_query: whether the query's class is among them, `(n,)`.
    """

    def __init__(self, labels: ArrayLike, photos: ArrayLike) -> None:
        if np.shape(labels) != np.shape(photos):
            raise ValueError(f"give each logo a label and a photo, not {np.shape(labels)} and {np.shape(photos)}")
        self.classes, self.class_of = np.unique(np.asarray(labels), return_inverse=True)
        photo_names, photo_of = np.unique(np.asarray(photos), return_inverse=True)
        keys = self.class_of * len(photo_names) + photo_of
        self._order = np.argsort(keys, kind="stable")
        keys = keys[self._order]
        first = np.arange(len(self.classes)) * len(photo_names)
        self._starts = np.searchsorted(keys, first)
        own = first + photo_of[:, np.newaxis]
        self._holes = np.searchsorted(keys, own)
        self._hole_sizes = np.searchsorted(keys, own, side="right") - self._holes
        self.available = np.bincount(self.class_of) - self._hole_sizes
        self.is_query = self.available[np.arange(len(own)), self.class_of] > 0
        if not self.is_query.any():
            raise ValueError("no label is on two photos, so no query can find anything")

    def recall(self, queries: slice, distances: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw candidates for each query and return its recall, `(queries,)`; NaN where it is excluded.

        Args:
            queries: the queries to score.
            distances: from them to all, `(queries, n)`.
            rng: the source of the draws.
        """
        candidates, exists = self._draw(queries, rng)
        away = np.where(exists, np.take_along_axis(distances, candidates, axis=1), np.inf)
        last = np.partition(away, NEAREST - 1, axis=1)[:, NEAREST - 1, np.newaxis]
        nearer, tied = away < last, (away == last) & exists
        places = (NEAREST - nearer.sum(axis=1)) / np.maximum(tied.sum(axis=1), 1)
        relevant = exists & (np.repeat(np.arange(len(self.classes)), PER_CLASS) == self.class_of[queries, np.newaxis])
        hits = (nearer & relevant).sum(axis=1) + places * (tied & relevant).sum(axis=1)
        return np.where(self.is_query[queries], hits / np.maximum(relevant.sum(axis=1), 1), np.nan)

    def _draw(self, queries: slice, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return rows of candidates, `(queries, classes * PER_CLASS)`, and which of them exist."""
        available = self.available[queries]
        ranks = np.empty((*available.shape, PER_CLASS), np.int64)
        for drawn in range(PER_CLASS):
            rank = (rng.random(available.shape) * np.maximum(available - drawn, 0)).astype(np.int64)
            for earlier in np.moveaxis(np.sort(ranks[..., :drawn]), -1, 0):
                rank += rank >= earlier
            ranks[..., drawn] = rank
        exists = np.arange(PER_CLASS) < available[..., np.newaxis]
        places = self._starts[:, np.newaxis] + np.where(exists, ranks, 0)
        holes, sizes = self._holes[queries, :, np.newaxis], self._hole_sizes[queries, :, np.newaxis]
        places += np.where(exists & (places >= holes), sizes, 0)
        return self._order[places].reshape(len(available), -1), exists.reshape(len(available), -1)


def _distances(vectors: NDArray[np.float32], metric: Metric, count: int) -> Distances:
    """Return a function that computes the distances, `(queries, n)`, of some rows to all."""
    if vectors.ndim != 2 or len(vectors) != count:
        raise ValueError(f"give one vector per logo, not vectors of shape {vectors.shape} for {count} logos")
    if not np.isfinite(vectors).all():
        raise ValueError("a vector holds values that are not finite")
    exact = vectors.astype(np.float64)
    if metric == "cosine":
        norms = np.linalg.norm(exact, axis=1, keepdims=True)
        exact /= np.where(norms == 0, 1, norms)  # a zero vector is orthogonal to all
        return lambda queries: np.maximum(1 - exact[queries] @ exact.T, 0)
    squares = (exact**2).sum(axis=1)
    return lambda queries: np.sqrt(np.maximum(squares[queries, np.newaxis] + squares - 2 * exact[queries] @ exact.T, 0))


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, count, BLOCK))


def _estimate(values: NDArray[np.float64]) -> Estimate:
    """Average `(draws, any)` values within each draw, then over draws."""
    means = values.mean(axis=1)
    return Estimate(float(means.mean()), float(means.std()))
