from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from embeddings.model.description import LITE0
from embeddings.model.keras_model import build_keras_model
from embeddings.model.networks import build_lite0
from embeddings.model.preprocessing import LITE0_PREPROCESSING
from tests.training.conftest import QuickRun
from training.batches import Studio
from training.imagenet import load_imagenet, published_file, read_published
from training.network import build_trained, preprocessed
from training.outcome import WHITENING_SEED
from training.run import QUICK, QUICK_SEEDS


@pytest.fixture(scope="module")
def finished(quick_run: QuickRun) -> Any:
    """The finished network exactly as it was saved."""
    network = build_lite0(QUICK.served_size)
    network.load_weights(quick_run.weights)
    return network


def by_path(variables: Any) -> dict[str, npt.NDArray[np.float32]]:
    return {variable.path: variable.numpy() for variable in variables}


def test_the_weights_are_the_mean_over_the_runs_of_their_moving_averages(quick_run: QuickRun, finished: Any) -> None:
    states = []
    for seed in QUICK_SEEDS:
        with np.load(quick_run.folder / f"seed-{seed}" / "checkpoint.npz") as state:
            states.append(dict(state))
    saved, apart, moved = by_path(finished.weights), 0.0, 0.0
    for number, variable in enumerate(build_trained(QUICK.frozen_blocks).trainable_variables):
        averages = [state[f"average_{number}"] for state in states]
        mean = np.mean(np.stack(averages).astype(np.float64), axis=0)
        np.testing.assert_array_equal(saved[variable.path], mean.astype(np.float32), err_msg=variable.path)
        apart = max(apart, float(np.abs(averages[0] - averages[1]).max()))
        moved = max(moved, float(np.abs(averages[0] - states[0][f"weight_{number}"]).max()))
    assert apart > 1e-6
    assert moved > 1e-6


def test_frozen_blocks_and_all_statistics_are_those_of_imagenet_and_later_blocks_are_not(finished: Any) -> None:
    network = build_trained(QUICK.frozen_blocks)
    load_imagenet(network, read_published(published_file()))
    saved, imagenet = by_path(finished.weights), by_path(network.weights)
    assert saved.keys() - imagenet.keys() == {"whitening/kernel", "whitening/bias"}
    trained = {variable.path for variable in network.trainable_variables}
    changed = {path for path, array in imagenet.items() if not np.array_equal(array, saved[path])}
    assert changed == trained
    assert not any("moving" in path or "stem" in path or "block1a" in path for path in trained)


def test_the_features_of_crops_are_whitened(finished: Any, studio: Studio) -> None:
    """On the crops that the whitening was computed from, means are 0 and components uncorrelated."""
    numbers = range(QUICK.whitening_batches)
    batches = [studio.batch(WHITENING_SEED, number, QUICK.served_shape) for number in numbers]
    pixels = preprocessed(np.concatenate(batches))
    whitened = np.asarray(keras.Model(finished.input, finished.get_layer("whitening").output)(pixels))
    leading = np.cov(whitened[:, :8].astype(np.float64), rowvar=False)
    scale = np.sqrt(np.diag(leading))
    np.testing.assert_allclose(whitened.mean(axis=0)[:8] / scale, 0, atol=1e-2)
    np.testing.assert_allclose(leading / scale / scale[:, np.newaxis], np.eye(8), atol=1e-2)
    assert (np.diff(np.diag(leading)) < 0).all()
    vectors = np.asarray(finished(pixels, training=False))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_the_service_can_build_the_finished_weights(quick_run: QuickRun, finished: Any) -> None:
    served = build_keras_model(LITE0, str(quick_run.weights))
    pixels = np.random.default_rng(1).normal(size=(1, *served.input_shape[1:])).astype(np.float32)
    of_size = build_lite0(LITE0_PREPROCESSING.size)
    of_size.set_weights(finished.get_weights())
    vector, expected = (np.asarray(network(pixels, training=False))[0] for network in (served, of_size))
    assert vector @ expected > 0.999  # rounded to half precision
