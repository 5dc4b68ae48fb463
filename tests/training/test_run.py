from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from embeddings.model.convert import build_keras_model
from embeddings.model.description import LITE0
from embeddings.model.networks import build_lite0
from embeddings.model.preprocessing import LITE0_PREPROCESSING
from tests.training.conftest import QuickRun
from training.batches import Folders, Studio
from training.imagenet import load_imagenet, published_file, read_published
from training.network import Contrast, build_trained, preprocessed
from training.run import BUNDLED, QUICK, WHITENING_SEED_STEP, CheckpointError, Recipe, Run

SHORT = replace(QUICK, steps=2)
EAGER = Recipe(size=64, labels=6, steps=6, frozen_blocks=12, highest_rate=1e-3, warm_up=1)


def checkpoint(folder: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(folder / "checkpoint.npz") as state:
        return dict(state)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_learning_rate_warms_up_then_falls_to_nothing() -> None:
    recipe = Recipe(steps=100, highest_rate=1.0, warm_up=10)
    assert recipe.rate_at(0) == pytest.approx(0.1)
    assert recipe.rate_at(4) == pytest.approx(0.5 * 0.96)
    assert recipe.rate_at(9) == pytest.approx(0.91)
    assert recipe.rate_at(50) == pytest.approx(0.5)
    assert recipe.rate_at(99) == pytest.approx(0.01)
    assert recipe.rate_at(100) == 0


def test_the_average_forgets_the_first_steps_and_then_has_its_full_momentum() -> None:
    recipe = Recipe(averaged=0.9)
    assert recipe.momentum_at(0) == pytest.approx(0.1)
    assert recipe.momentum_at(8) == pytest.approx(0.5)
    assert [recipe.momentum_at(step) for step in (80, 300)] == [0.9, 0.9]
    momenta = [recipe.momentum_at(step) for step in range(100)]
    assert momenta == sorted(momenta)


def test_the_bundled_weights_are_trained_at_the_size_of_serving() -> None:
    assert BUNDLED.size == LITE0_PREPROCESSING.size
    assert BUNDLED.shape.labels * BUNDLED.shape.views * BUNDLED.whitening_batches > 4 * 1280


def test_the_log_tells_of_the_training_and_of_the_end(quick_run: QuickRun) -> None:
    trained, finished = rows(quick_run.folder)
    assert trained["step"] == QUICK.steps
    assert trained["loss"] > 0
    assert 0 <= trained["right"] <= 1
    assert trained["scale"] == pytest.approx(1, abs=0.01)
    assert trained["seconds_per_step"] > 0
    assert 0 < finished["finished"] < 1
    assert trained["seconds"] <= finished["seconds"]


@pytest.fixture(scope="module")
def finished(quick_run: QuickRun) -> Any:
    """The finished network exactly as it was saved."""
    network = build_lite0(QUICK.size)
    network.load_weights(quick_run.weights)
    return network


def by_path(variables: Any) -> dict[str, npt.NDArray[np.float32]]:
    return {variable.path: variable.numpy() for variable in variables}


def test_the_weights_of_a_finished_run_are_the_averaged_ones(quick_run: QuickRun, finished: Any) -> None:
    state, saved = checkpoint(quick_run.folder), by_path(finished.weights)
    trained = build_trained(QUICK.frozen_blocks).trainable_variables
    moved = 0.0
    for number, variable in enumerate(trained):
        np.testing.assert_array_equal(saved[variable.path], state[f"average_{number}"], err_msg=variable.path)
        moved = max(moved, float(np.abs(state[f"average_{number}"] - state[f"weight_{number}"]).max()))
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
    """Of the crops that the whitening was computed from: the means are 0, and no two components vary together."""
    numbers = range(QUICK.whitening_batches)
    batches = [studio.batch(QUICK.seed + WHITENING_SEED_STEP, number, QUICK.shape) for number in numbers]
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


@pytest.mark.usefixtures("eagerly")
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(folders: Folders, tmp_path: Path) -> None:
    assert Run(SHORT, folders, tmp_path / "whole", workers=1).train(checkpoint_seconds=1e9)

    assert not Run(SHORT, folders, tmp_path / "parts", workers=1).train(1e9, stop_after_seconds=0)
    assert checkpoint(tmp_path / "parts")["step"] == 1
    assert Run(SHORT, folders, tmp_path / "parts", workers=2).train(checkpoint_seconds=1e9)
    assert [row["step"] for row in rows(tmp_path / "parts")] == [1, 2]

    whole, parts = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert whole["step"] == parts["step"] == 2
    for name in sorted(whole.keys() - {"recipe", "grounds"}):
        scale = np.abs(whole[name]).max()
        np.testing.assert_allclose(parts[name], whole[name], rtol=0, atol=1e-3 * scale, err_msg=name)


def test_a_complete_run_has_nothing_left_to_train(quick_run: QuickRun, folders: Folders) -> None:
    logged = len(rows(quick_run.folder))
    assert Run(QUICK, folders, quick_run.folder, workers=1).train(checkpoint_seconds=0, stop_after_seconds=0)
    assert len(rows(quick_run.folder)) == logged


def test_the_checkpoint_of_another_recipe_is_refused(quick_run: QuickRun, folders: Folders) -> None:
    with pytest.raises(
        CheckpointError, match=r"checkpoint\.npz is of another recipe: name another --run, or remove it"
    ):
        Run(replace(QUICK, seed=2), folders, quick_run.folder, workers=1)


def test_the_checkpoint_of_other_grounds_is_refused(quick_run: QuickRun, folders: Folders, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "shelf.png")
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz is of other grounds: give the same --grounds"):
        Run(QUICK, replace(folders, grounds=tmp_path), quick_run.folder, workers=1)


@pytest.mark.parametrize("damaged", [b"", b"PK no archive", b"text"])
def test_a_damaged_checkpoint_is_refused(folders: Folders, tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz cannot be read .*: remove it to begin anew"):
        Run(QUICK, folders, tmp_path, workers=1)


@pytest.mark.usefixtures("eagerly")
def test_training_lowers_the_loss(folders: Folders, studio: Studio, tmp_path: Path) -> None:
    batches = [studio.batch(EAGER.seed, number, EAGER.shape) for number in range(EAGER.steps)]
    network = build_trained(EAGER.frozen_blocks)
    load_imagenet(network, read_published(published_file()))
    contrast = Contrast(network, EAGER.views)

    def loss() -> float:
        return float(np.mean([contrast(batch)[0] for batch in batches]))

    of_imagenet = loss()
    Run(EAGER, folders, tmp_path, workers=1).train(checkpoint_seconds=1e9)
    state = checkpoint(tmp_path)
    for number, variable in enumerate(network.trainable_variables):
        variable.assign(state[f"weight_{number}"])
    assert loss() < 0.85 * of_imagenet
