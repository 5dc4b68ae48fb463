"""The scores of the approaches, as tables to quote and sheets to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import contact_sheet
from benchmarks.contact_sheet import QUERY, RIGHT, WRONG, Tile
from benchmarks.labelled_photos import LabelledPhotos
from benchmarks.retrieval_protocol import METRICS, NEAREST, Estimate, Metric, Scores, nearest

SHEET_ROWS = 12

METRIC_NAMES: dict[Metric, str] = {"l2": "L2", "cosine": "cosine"}


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The scores of one approach.

    Attributes:
        name: of the approach.
        vectors: its vectors of the crops, `(n, dim) float32`.
        recall: at 4, by each distance.
        accuracy: of the label that the nearest vote for, by each distance.
    """

    name: str
    vectors: NDArray[np.float32]
    recall: dict[Metric, Scores]
    accuracy: dict[Metric, Scores]

    @property
    def better(self) -> Metric:
        """The distance with the higher macro-recall@4."""
        return max(METRICS, key=lambda metric: self.recall[metric].macro.mean)


def report(photos: LabelledPhotos, results: Sequence[Result], chance: Scores, k: int, remarks: Iterable[str]) -> str:
    """Return a table of all approaches and one of the first one's brands, in Markdown.

    Args:
        photos: the photos measured on.
        results: of the approaches, the main model first.
        chance: the expected recall of a random ranking.
        k: number of nearest logos that voted.
        remarks: notes for readers of the figures.
    """
    lines = [
        f"{len(photos.logos)} logos of {len(chance.classes)} brands on {len(set(photos.photos))} photos;"
        f" {int((~chance.kept).sum())} left out as queries, their brand being on no other photo. {' '.join(remarks)}",
        "",
        f"| approach | distance | micro-recall@4 | macro-recall@4 | micro accuracy, k = {k} | macro accuracy |",
        "|---|---|---|---|---|---|",
        f"| by chance | | {chance.micro.mean:.3f} | {chance.macro.mean:.3f} | | |",
    ]
    for result in results:
        for metric, recall in result.recall.items():
            accuracy = result.accuracy[metric]
            lines.append(
                f"| {result.name} | {METRIC_NAMES[metric]} | {_spread(recall.micro)} | {_spread(recall.macro)}"
                f" | {accuracy.micro.mean:.3f} | {accuracy.macro.mean:.3f} |"
            )
    model = results[0]
    recall, accuracy = model.recall[model.better], model.accuracy[model.better]
    queries = Counter(recall.classes[recall.class_of[recall.kept]].tolist())
    lines += [
        "",
        f"{model.name}, by {METRIC_NAMES[model.better]}:",
        "",
        "| brand | queries | recall@4 | accuracy |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {brand} | {queries[brand]} | {figure:.3f} | {accuracy.by_class[brand]:.3f} |"
        for brand, figure in recall.by_class.items()
    ]
    return "\n".join(lines) + "\n"


def contact_sheets(photos: LabelledPhotos, result: Result, seed: int) -> dict[str, Image.Image]:
    """Draw the best and the worst queries by recall@4, each followed by the 4 nearest of all logos on other photos.

    Queries with the same recall come in random order, so that a sheet does not show one brand alone.

    Raises:
        FolderError: a crop cannot be cut out again.
    """
    metric = result.better
    recall = result.recall[metric]
    rows, distances = nearest(result.vectors, photos.photos, NEAREST, metric=metric)
    queries = np.random.default_rng(seed).permutation(np.flatnonzero(recall.kept))
    ranked = queries[np.argsort(-recall.by_query[queries], kind="stable")]

    def tiles(query: int) -> list[Tile]:
        brand = photos.brands[query]
        row = [Tile(photos.crop(query), f"{brand} {recall.by_query[query]:.2f}", QUERY)]
        for found, distance in zip(rows[query].tolist(), distances[query].tolist(), strict=True):
            if np.isfinite(distance):
                name = photos.brands[found]
                row.append(Tile(photos.crop(found), f"{name} {distance:.3g}", RIGHT if name == brand else WRONG))
        return row

    chosen = {"best": ranked[:SHEET_ROWS], "worst": ranked[::-1][:SHEET_ROWS]}
    return {name: contact_sheet.draw([tiles(query) for query in some.tolist()]) for name, some in chosen.items()}


def _spread(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} ± {estimate.std:.3f}"
