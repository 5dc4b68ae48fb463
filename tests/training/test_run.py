from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from embeddings.model.preprocessing import LITE0_PREPROCESSING
from tests.training.conftest import QuickRun
from training.batches import Folders, Studio
from training.imagenet import load_imagenet, published_file, read_published
from training.network import Contrast, build_trained
from training.run import BUNDLED, QUICK, CheckpointError, Recipe, Run

SHORT = replace(QUICK, steps=2)
EAGER = Recipe(size=64, served_size=64, labels=6, steps=6, frozen_blocks=12, highest_rate=1e-3, warm_up=1)


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


def test_the_bundled_weights_are_served_at_a_larger_size_than_they_were_trained_at() -> None:
    assert BUNDLED.size < BUNDLED.served_size == LITE0_PREPROCESSING.size
    assert BUNDLED.shape.labels * BUNDLED.shape.views * BUNDLED.whitening_batches > 4 * 1280


def test_the_log_tells_of_the_training(quick_run: QuickRun) -> None:
    (trained,) = rows(quick_run.first_run)
    assert trained["step"] == QUICK.steps
    assert trained["loss"] > 0
    assert 0 <= trained["right"] <= 1
    assert trained["scale"] == pytest.approx(1, abs=0.01)
    assert trained["seconds_per_step"] > 0


@pytest.mark.usefixtures("eagerly")
def test_an_interrupted_run_resumes_without_a_difference(folders: Folders, tmp_path: Path) -> None:
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
    logged = len(rows(quick_run.first_run))
    assert Run(QUICK, folders, quick_run.first_run, workers=1).train(checkpoint_seconds=0, stop_after_seconds=0)
    assert len(rows(quick_run.first_run)) == logged


def test_the_checkpoint_of_another_recipe_is_refused(quick_run: QuickRun, folders: Folders) -> None:
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz has another recipe: name another --run, or remove it"):
        Run(replace(QUICK, seed=2), folders, quick_run.first_run, workers=1)


def test_the_checkpoint_of_other_grounds_is_refused(quick_run: QuickRun, folders: Folders, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "shelf.png")
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz has other grounds: give the same --grounds"):
        Run(QUICK, replace(folders, grounds=tmp_path), quick_run.first_run, workers=1)


@pytest.mark.parametrize("damaged", [b"", b"PK no archive", b"text"])
def test_a_damaged_checkpoint_is_refused(folders: Folders, tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz cannot be read .*: remove it to start again"):
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
