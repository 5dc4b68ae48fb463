from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from embeddings.model.convert import build_keras_model
from tests.training.conftest import QuickRun
from training.batches import Folders, Studio
from training.network import Contrast, build_network, preprocessed
from training.run import BUNDLED, QUICK, CheckpointError, Recipe, Run, Stage

NAME = "efficientnet-b0"
SHORT = Recipe(stages=(Stage(32, 4, 2, 2),), full_severity_at=2)
GENTLE = Recipe(stages=(Stage(32, 6, 3, 5),), highest_rate=0.04, full_severity_at=10**9)


def checkpoint(folder: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(folder / "checkpoint.npz") as state:
        return dict(state)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_steps_belong_to_stages() -> None:
    first, second = Stage(10, 2, 2, 4), Stage(20, 2, 2, 2)
    recipe = Recipe((first, second))
    assert recipe.steps == 6
    assert [recipe.stage_at(step) for step in range(6)] == [(first, 0)] * 4 + [(second, 4)] * 2
    with pytest.raises(IndexError, match="6 steps, not 7"):
        recipe.stage_at(6)


def test_the_learning_rate_warms_up_then_falls_with_what_is_left_to_do() -> None:
    recipe = Recipe((Stage(10, 2, 2, 4), Stage(20, 2, 2, 2)), highest_rate=1.0)  # costs 4 times 400, 2 times 1600
    assert recipe.rate_at(0) == pytest.approx(1 / 150)
    assert recipe.rate_at(3) == pytest.approx((1 - 1200 / 4800) * 4 / 150)
    assert recipe.rate_at(4) == pytest.approx((1 - 1600 / 4800) * 5 / 150)
    assert recipe.rate_at(5) == pytest.approx((1 - 3200 / 4800) * 6 / 150)


def test_after_the_warm_up_the_learning_rate_falls_to_nothing() -> None:
    recipe = Recipe((Stage(10, 1, 1, 300),), highest_rate=0.5)
    assert recipe.rate_at(149) == pytest.approx(0.5 * (1 - 149 / 300))
    assert recipe.rate_at(200) == pytest.approx(0.5 / 3)
    assert recipe.rate_at(299) == pytest.approx(0.5 / 300)


def test_equal_stages_are_stages_of_their_own() -> None:
    small, large = Stage(10, 1, 1, 150), Stage(20, 1, 1, 150)
    recipe = Recipe((small, large, small), highest_rate=1.0)
    assert recipe.rate_at(300) == pytest.approx(1 - 5 / 6)


@pytest.mark.parametrize("recipe", [BUNDLED, QUICK])
def test_recipes_grow_their_crops_and_keep_their_views(recipe: Recipe) -> None:
    sizes = [stage.size for stage in recipe.stages]
    assert sizes == sorted(set(sizes))
    assert len({stage.views for stage in recipe.stages}) == 1


def test_the_bundled_weights_are_trained_to_the_end_at_the_size_of_serving() -> None:
    assert BUNDLED.stages[-1].size == 224


def test_the_log_tells_of_every_stage_and_of_the_end(quick_run: QuickRun) -> None:
    first, second, last = rows(quick_run.folder)
    assert [(row["step"], row["size"]) for row in (first, second)] == [(2, 32), (4, 64)]
    for row in (first, second):
        assert row["loss"] > 0
        assert 0 <= row["right"] <= 1
        assert row["scale"] == pytest.approx(1, abs=0.01)
        assert row["crops_per_second"] > 0
    for measured in (first["validation"], second["validation"], last["finished"]):
        assert set(measured) == {"l2", "cosine"}
        assert all(0 < recall < 1 for recall in measured.values())
    assert first["seconds"] < second["seconds"] < last["seconds"]


def test_the_weights_of_a_finished_run_are_the_averaged_ones(quick_run: QuickRun) -> None:
    served = build_keras_model(NAME, str(quick_run.weights))
    state = checkpoint(quick_run.folder)
    for number, weight in enumerate(served.weights):
        if weight.name in ("kernel", "gamma"):
            average = state[f"average_{number}"]
            tolerance = np.abs(average).max() * 1e-3  # they are rounded to what is served
            np.testing.assert_allclose(weight, average, atol=tolerance, err_msg=weight.path)
    moved = [
        np.abs(state[f"average_{number}"] - state[f"weight_{number}"]).max() for number in range(len(served.weights))
    ]
    assert max(moved) > 1e-6


def test_a_finished_network_normalises_by_the_crops_of_the_last_stage(quick_run: QuickRun, studio: Studio) -> None:
    """Its first normalisation leaves each channel of such crops with about the mean and variance that it asks for."""
    network = build_network()
    network.set_weights(build_keras_model(NAME, str(quick_run.weights)).get_weights())
    features = keras.Model(network.input, network.get_layer("stem_conv").output)
    crops = np.concatenate([studio.batch(7, number, QUICK.stages[-1].shape) for number in range(20)])
    seen = np.asarray(features(preprocessed(crops))).reshape(-1, 32)
    norm = network.get_layer("stem_bn")
    spread = seen.std(axis=0)
    np.testing.assert_allclose(norm.moving_mean / spread, seen.mean(axis=0) / spread, atol=0.35)
    np.testing.assert_allclose(norm.moving_variance / spread**2, 1, atol=0.35)


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
    for name in sorted(whole.keys() - {"recipe"}):
        scale = np.abs(whole[name]).max()
        np.testing.assert_allclose(parts[name], whole[name], rtol=0, atol=1e-3 * scale, err_msg=name)
    assert rows(tmp_path / "parts")[-1]["validation"] == pytest.approx(
        rows(tmp_path / "whole")[-1]["validation"], abs=0.01
    )


def test_a_complete_run_has_nothing_left_to_train(quick_run: QuickRun, folders: Folders) -> None:
    logged = len(rows(quick_run.folder))
    assert Run(QUICK, folders, quick_run.folder, workers=1).train(checkpoint_seconds=0, stop_after_seconds=0)
    assert len(rows(quick_run.folder)) == logged


def test_the_checkpoint_of_another_recipe_is_refused(quick_run: QuickRun, folders: Folders) -> None:
    with pytest.raises(
        CheckpointError, match=r"checkpoint\.npz is of another recipe: name another --run, or remove it"
    ):
        Run(replace(QUICK, seed=2), folders, quick_run.folder, workers=1)


@pytest.mark.parametrize("damaged", [b"", b"PK no archive", b"text"])
def test_a_damaged_checkpoint_is_refused(folders: Folders, tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz cannot be read .*: remove it to begin anew"):
        Run(QUICK, folders, tmp_path, workers=1)


def test_views_are_the_same_in_all_stages() -> None:
    with pytest.raises(ValueError, match="the same number of views"):
        Recipe((Stage(10, 2, 2, 4), Stage(20, 2, 3, 2)))


@pytest.mark.usefixtures("eagerly")
def test_training_lowers_the_loss(folders: Folders, studio: Studio, tmp_path: Path) -> None:
    (stage,) = GENTLE.stages
    batches = [studio.batch(GENTLE.seed, number, stage.shape, severity=0.0) for number in range(stage.steps)]
    keras.utils.set_random_seed(GENTLE.seed)
    network = build_network()
    contrast = Contrast(network, stage.views)

    def loss() -> float:
        return float(np.mean([contrast(batch)[0] for batch in batches]))

    untrained = loss()
    Run(GENTLE, folders, tmp_path, workers=1).train(checkpoint_seconds=1e9)
    state = checkpoint(tmp_path)
    network.set_weights([state[f"weight_{number}"] for number in range(len(network.weights))])
    assert loss() < 0.85 * untrained
