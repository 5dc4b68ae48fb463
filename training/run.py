"""A training run: ImageNet's weights, tuned on rendered logos, with checkpoints to resume from."""

from __future__ import annotations

import json
import logging
import math
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from durable import atomic_write
from embeddings.model.preprocessing import LITE0_PREPROCESSING
from training.batches import BatchShape, Folders, draw_batches
from training.grounds import Grounds
from training.imagenet import load_imagenet, published_file, read_published
from training.network import Contrast, build_trained

WEIGHT_DECAY = 0.01
CLIP_NORM = 5.0  # of the gradients of all weights together

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Parameters in which runs may differ.

    Attributes:
        size: height and width of the crops, in pixels.
        served_size: the same when the network is served, and for the whitening.
        labels: logos in a batch.
        views: crops of each of them.
        steps: number of batches.
        frozen_blocks: how many of the 16 blocks keep ImageNet's weights, like the stem.
        highest_rate: the learning rate after the warm-up; it falls linearly to 0.
        warm_up: steps in which the rate rises to it.
        averaged: momentum of the moving average of the weights, which is the result.
        whitening_batches: batches to compute the whitening from.
        seed: of the crops.
    """

    size: int = 160
    served_size: int = LITE0_PREPROCESSING.size
    labels: int = 48
    views: int = 2
    steps: int = 330
    frozen_blocks: int = 3
    highest_rate: float = 3e-4
    warm_up: int = 10
    averaged: float = 0.98
    whitening_batches: int = 64
    seed: int = 1

    @property
    def shape(self) -> BatchShape:
        """The shape of each batch."""
        return BatchShape(self.labels, self.views, self.size)

    @property
    def served_shape(self) -> BatchShape:
        """The shape of each batch for the whitening."""
        return BatchShape(self.labels, self.views, self.served_size)

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        return self.highest_rate * min(1.0, (step + 1) / self.warm_up) * (1.0 - step / self.steps)

    def momentum_at(self, step: int) -> float:
        """Return the momentum of the average after a step: early steps count less than in a plain average."""
        return min(self.averaged, (step + 1) / (step + 10))


BUNDLED = Recipe()
"""The recipe of the bundled weights, used with each of `SEEDS`."""

SEEDS = (1, 2, 3)
"""Seeds of the runs whose weights are averaged (Wortsman et al. 2022, "Model soups", arXiv:2203.05482)."""

QUICK_SEEDS = SEEDS[:2]

QUICK = Recipe(size=64, served_size=96, labels=4, steps=3, frozen_blocks=14, whitening_batches=2)
"""Runs all parts in a minute."""


class CheckpointError(Exception):
    """A run cannot resume from its checkpoint."""


class Run:
    """One run in a folder: `checkpoint.npz` to resume from, and `log.jsonl` to read."""

    def __init__(self, recipe: Recipe, folders: Folders, folder: Path, workers: int) -> None:
        self._recipe, self._folders, self._folder, self._workers = recipe, folders, folder, workers
        folder.mkdir(parents=True, exist_ok=True)
        self._network = build_trained(recipe.frozen_blocks)
        load_imagenet(self._network, read_published(published_file()))
        self._contrast = Contrast(self._network, recipe.views)
        self._optimizer = keras.optimizers.AdamW(
            recipe.highest_rate, weight_decay=WEIGHT_DECAY, global_clipnorm=CLIP_NORM
        )
        self._optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "log_scale"])
        self._variables = [*self._network.trainable_variables, self._contrast.log_scale]
        self._optimizer.build(self._variables)
        self._average = [tf.Variable(weight, trainable=False) for weight in self._network.trainable_variables]
        self._step = 0
        crops = tf.TensorSpec((None, None, None, 3), tf.uint8)
        momentum = tf.TensorSpec((), tf.float32)
        self._train_step = tf.function(self._one_step, input_signature=[crops, momentum])
        self._grounds = "drawn" if folders.grounds is None else Grounds(folders.grounds).fingerprint
        self._resume()

    def train(self, checkpoint_seconds: float, stop_after_seconds: float = math.inf) -> bool:
        """Train to the end, or until the time is up. Return True if the run is complete."""
        began = saved = time.monotonic()
        first = self._step
        numbers = range(self._step, self._recipe.steps)
        losses: list[float] = []
        shares: list[float] = []
        for crops in draw_batches(self._folders, self._recipe.seed, numbers, self._recipe.shape, self._workers):
            self._optimizer.learning_rate.assign(self._recipe.rate_at(self._step))
            loss, share = self._train_step(tf.constant(crops), self._recipe.momentum_at(self._step))
            losses.append(float(loss))
            shares.append(float(share))
            self._step += 1
            now = time.monotonic()
            over = now - began > stop_after_seconds
            if over or now - saved > checkpoint_seconds or self._step == self._recipe.steps:
                self._save()
                self._write(
                    {
                        "step": self._step,
                        "loss": round(float(np.mean(losses[-50:])), 4),
                        "right": round(float(np.mean(shares[-50:])), 4),
                        "scale": round(float(tf.exp(self._contrast.log_scale)), 3),
                        "seconds_per_step": round((now - began) / (self._step - first), 2),
                    }
                )
                saved = time.monotonic()
            if over:
                break
        return self._step == self._recipe.steps

    def averaged_weights(self) -> list[npt.NDArray[np.float32]]:
        """Return the weights in the order of `lite0_features`: moving averages of trained ones, and the frozen ones."""
        averages = {id(w): a for w, a in zip(self._network.trainable_variables, self._average, strict=True)}
        return [np.asarray(averages.get(id(weight), weight)) for weight in self._network.weights]

    def _one_step(self, crops: Any, momentum: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            loss, share = self._contrast(crops)
        self._optimizer.apply_gradients(zip(tape.gradient(loss, self._variables), self._variables, strict=True))
        for average, weight in zip(self._average, self._network.trainable_variables, strict=True):
            average.assign_add((weight - average) * (1.0 - momentum))
        return loss, share

    def _write(self, row: dict[str, Any]) -> None:
        logger.info("%s", row)
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"seconds": round(time.time(), 1), **row}) + "\n")

    def _state(self) -> Iterator[tuple[str, Any]]:
        """Yield every variable of the run with a unique name."""
        for kind, variables in (
            ("weight", self._network.trainable_variables),
            ("scale", [self._contrast.log_scale]),
            ("optimizer", self._optimizer.variables),
            ("average", self._average),
        ):
            for number, variable in enumerate(variables):
                yield f"{kind}_{number}", variable

    def _save(self) -> None:
        state: dict[str, npt.NDArray[Any]] = {name: np.asarray(variable) for name, variable in self._state()}
        state |= {"step": np.array(self._step), "grounds": np.array(self._grounds)}
        state |= {"recipe": np.array(json.dumps(asdict(self._recipe)))}
        with atomic_write(self._folder / "checkpoint.npz", alone=True) as file:
            np.savez(file, allow_pickle=False, **state)

    def _resume(self) -> None:
        path = self._folder / "checkpoint.npz"
        if not path.exists():
            return
        try:
            with np.load(path) as state:
                if str(state["recipe"]) != json.dumps(asdict(self._recipe)):
                    raise CheckpointError(f"{path} has another recipe: name another --run, or remove it")
                if str(state["grounds"]) != self._grounds:
                    raise CheckpointError(
                        f"{path} has other grounds: give the same --grounds, name another --run, or remove it"
                    )
                for name, variable in self._state():
                    variable.assign(state[name])
                self._step = int(state["step"])
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path} cannot be read ({error}): remove it to start again") from error
        logger.info("resuming at step %d of %d", self._step, self._recipe.steps)
