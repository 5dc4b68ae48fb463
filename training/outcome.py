"""From finished runs to the weights that are served: averaged, then whitened."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.retrieval_protocol import recall_at_4
from embeddings.model.networks import build_lite0, lite0_features
from training.batches import BatchShape, Folders, Studio, draw_batches
from training.network import embed
from training.run import Recipe
from training.whitening import half_whitening

WHITENING_SEED = 1001  # used by no run, so its crops are new
VALIDATION_SHAPE = (80, 4)  # labels, views
VALIDATION_DRAWS = 3

Weights = Sequence[npt.NDArray[np.float32]]

logger = logging.getLogger(__name__)


def save_outcome(runs: Sequence[Weights], recipe: Recipe, folders: Folders, folder: Path, workers: int) -> Path:
    """Average the weights of runs, whiten their features, and save the result for `build_keras_model`.

    Runs that start from the same weights and differ only in their seed end close to each other, and the mean of their
    weights is better than each (Wortsman et al. 2022, "Model soups", arXiv:2203.05482).

    Args:
        runs: the weights of each run, in the order of `lite0_features`.
        recipe: of all runs, except for the seed.
        folders: the folders to draw crops from.
        folder: the folder of the output file.
        workers: processes that draw.
    """
    features = lite0_features(None)
    features.set_weights([mean_of(parts) for parts in zip(*runs, strict=True)])
    numbers = range(recipe.whitening_batches)
    crops = np.concatenate(list(draw_batches(folders, WHITENING_SEED, numbers, recipe.served_shape, workers)))
    served = build_lite0(recipe.served_size)
    served.set_weights([*features.get_weights(), *half_whitening(embed(features, crops))])
    path = folder / "efficientnet-lite0.weights.h5"
    served.save_weights(path)
    logger.info("macro-recall@4 on logos that training did not show: %.4f", _validate(served, recipe, Studio(folders)))
    return path


def mean_of(arrays: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Return the mean of arrays of one shape. It is exact if they are equal, as frozen weights are."""
    return np.asarray(np.mean(np.stack(arrays), axis=0, dtype=np.float64), np.float32)


def _validate(served: Any, recipe: Recipe, studio: Studio) -> float:
    """Return macro-recall@4 by cosine; each crop counts as its own photo."""
    labels, views = VALIDATION_SHAPE
    vectors = embed(served, studio.validation_batch(0, BatchShape(labels, views, recipe.served_size)))
    names = np.repeat(np.arange(labels), views).astype(str)
    crops = np.arange(len(vectors))
    return recall_at_4(vectors, names, crops, metric="cosine", draws=VALIDATION_DRAWS).macro.mean
