"""A training run: stages of growing crops, with a checkpoint every few minutes to go on from.

Small crops first (Touvron et al. 2019, arXiv:1906.06423; Tan and Le 2021, arXiv:2104.00298): most of what is to learn
does not need 224 pixels, and a crop of 64 has a twelfth of them. The last stage has the size of serving, which
max pooling needs: the maximum over more places is larger.
"""

from __future__ import annotations

import json
import logging
import math
import os
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

from benchmarks.retrieval_protocol import METRICS, recall_at_4
from embeddings.model.convert import build_keras_model
from training.batches import BatchShape, Folders, Studio, draw_batches
from training.network import Contrast, FusedBatchNormalization, build_network, embed, preprocessed

WARM_UP_STEPS = 150
WEIGHT_DECAY = 0.02
AVERAGE_MOMENTUM = 0.995
CALIBRATION_BATCHES = 40
VALIDATION_SHAPE = (80, 4)  # labels, views
VALIDATION_DRAWS = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """`steps` batches of `labels` logos in `views` crops of `size` pixels."""

    size: int
    labels: int
    views: int
    steps: int

    @property
    def shape(self) -> BatchShape:
        """The shape of each of its batches."""
        return BatchShape(self.labels, self.views, self.size)

    @property
    def cost_of_step(self) -> int:
        """In pixels: what a step takes is near proportional to it."""
        return self.labels * self.views * self.size * self.size


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one run does otherwise than another. All crops of a run come in the same number of views."""

    stages: tuple[Stage, ...]
    highest_rate: float = 2e-3
    full_severity_at: int = 2000
    seed: int = 1

    def __post_init__(self) -> None:
        if len({stage.views for stage in self.stages}) != 1:
            raise ValueError("all stages of a recipe need the same number of views")

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage of a step, and the number of its first step."""
        first = 0
        for stage in self.stages:
            if step < first + stage.steps:
                return stage, first
            first += stage.steps
        raise IndexError(f"the recipe has {self.steps} steps, not {step + 1}")

    def rate_at(self, step: int) -> float:
        """Learning rate: a linear warm-up, then linearly to 0 over the cost of the run."""
        costs = [stage.cost_of_step for stage in self.stages for _ in range(stage.steps)]
        return self.highest_rate * (1.0 - sum(costs[:step]) / sum(costs)) * min(1.0, (step + 1) / WARM_UP_STEPS)


# What the bundled weights were made by.
BUNDLED = Recipe(
    stages=(Stage(64, 32, 2, 4000), Stage(96, 48, 2, 1000), Stage(128, 48, 2, 400), Stage(224, 32, 2, 450)),
)

# All the parts, in a minute.
QUICK = Recipe(stages=(Stage(32, 4, 2, 2), Stage(64, 4, 2, 2)), full_severity_at=2)


class CheckpointError(Exception):
    """A run cannot go on from its checkpoint."""


class Run:
    """One run in a folder: `checkpoint.npz` to go on from, `log.jsonl` to read, and the weights when it is done."""

    def __init__(self, recipe: Recipe, folders: Folders, folder: Path, workers: int) -> None:
        self._recipe, self._folders, self._folder, self._workers = recipe, folders, folder, workers
        folder.mkdir(parents=True, exist_ok=True)
        keras.utils.set_random_seed(recipe.seed)
        self._network = build_network()
        self._contrast = Contrast(self._network, recipe.stages[0].views)
        self._optimizer = keras.optimizers.AdamW(recipe.highest_rate, weight_decay=WEIGHT_DECAY, clipnorm=5.0)
        self._optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias", "log_scale"])
        variables = [*self._network.trainable_variables, self._contrast.log_scale]
        self._optimizer.build(variables)
        self._variables = variables
        self._average = [tf.Variable(weight, trainable=False) for weight in self._network.get_weights()]
        self._step = 0
        crops = tf.TensorSpec((None, None, None, 3), tf.uint8)
        self._train_step = tf.function(self._one_step, input_signature=[crops])  # one trace for crops of all sizes
        self._studio = Studio(folders)
        self._resume()

    def train(self, checkpoint_seconds: float, stop_after_seconds: float = math.inf) -> bool:
        """Go on to the end, or until the time is over. True if the run is complete."""
        began = saved = time.monotonic()
        while self._step < self._recipe.steps:
            stage, first = self._recipe.stage_at(self._step)
            numbers = range(self._step, first + stage.steps)
            losses: list[float] = []
            shares: list[float] = []
            mark = time.monotonic(), self._step
            batches = draw_batches(
                self._folders, self._recipe.seed, numbers, stage.shape, self._recipe.full_severity_at, self._workers
            )
            for crops in batches:
                self._optimizer.learning_rate.assign(self._recipe.rate_at(self._step))
                loss, share = self._train_step(tf.constant(crops))
                losses.append(float(loss))
                shares.append(float(share))
                self._step += 1
                now = time.monotonic()
                over = now - began > stop_after_seconds
                if over or now - saved > checkpoint_seconds or self._step == first + stage.steps:
                    speed = (self._step - mark[1]) * stage.labels * stage.views / (now - mark[0])
                    self._save()
                    self._report(stage, np.mean(losses[-100:]), np.mean(shares[-100:]), speed)
                    saved = time.monotonic()
                    mark = saved, self._step
                if over:
                    return self._step == self._recipe.steps
        return True

    def finish(self) -> Path:
        """Settle the averaged weights at the size of serving, and write them for `build_keras_model` to read."""
        last = self._recipe.stages[-1]
        self._network.set_weights([weight.numpy() for weight in self._average])
        statistics = [w for layer in self._network.layers for w in layer.non_trainable_variables if "moving" in w.name]
        for layer in self._network.layers:
            if isinstance(layer, FusedBatchNormalization):
                layer.momentum = 0.0  # the statistics of each batch alone: nothing is left of training
        sums = [np.zeros(w.shape, np.float64) for w in statistics]
        pass_through = tf.function(lambda crops: self._network(preprocessed(crops), training=True))
        for number in range(CALIBRATION_BATCHES):
            pass_through(tf.constant(self._studio.batch(self._recipe.seed + 1, number, last.shape)))
            for total, weight in zip(sums, statistics, strict=True):
                total += weight.numpy()
        for total, weight in zip(sums, statistics, strict=True):
            weight.assign(total / CALIBRATION_BATCHES)
        served = build_keras_model("efficientnet-b0", "seeded")
        served.set_weights(self._network.get_weights())
        path = self._folder / "efficientnet-b0.weights.h5"
        served.save_weights(path)
        self._write({"finished": self.validate(last.size)})
        return path

    def validate(self, size: int) -> dict[str, float]:
        """Macro-recall@4 on logos that training has not shown, each crop a photo of its own."""
        labels, views = VALIDATION_SHAPE
        crops = self._studio.validation_batch(0, BatchShape(labels, views, size))
        vectors = embed(self._network, crops)
        names = np.repeat(np.arange(labels), views).astype(str)
        return {
            metric: round(
                recall_at_4(vectors, names, np.arange(len(crops)), metric=metric, draws=VALIDATION_DRAWS).macro.mean, 4
            )
            for metric in METRICS
        }

    def _one_step(self, crops: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            loss, share = self._contrast(crops)
        self._optimizer.apply_gradients(zip(tape.gradient(loss, self._variables), self._variables, strict=True))
        for average, weight in zip(self._average, self._network.weights, strict=True):
            average.assign_add((weight - average) * (1.0 - AVERAGE_MOMENTUM))
        return loss, share

    def _report(self, stage: Stage, loss: np.floating[Any], share: np.floating[Any], speed: float) -> None:
        self._write(
            {
                "step": self._step,
                "size": stage.size,
                "loss": round(float(loss), 4),
                "right": round(float(share), 4),
                "scale": round(float(tf.exp(self._contrast.log_scale)), 3),
                "crops_per_second": round(speed, 1),
                "validation": self.validate(stage.size),
            }
        )

    def _write(self, row: dict[str, Any]) -> None:
        logger.info("%s", row)
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"seconds": round(time.time(), 1), **row}) + "\n")

    def _state(self) -> Iterator[tuple[str, Any]]:
        """Every variable of the run under a name of its own."""
        for kind, variables in (
            ("weight", self._network.weights),
            ("scale", [self._contrast.log_scale]),
            ("optimizer", self._optimizer.variables),
            ("average", self._average),
        ):
            for number, variable in enumerate(variables):
                yield f"{kind}_{number}", variable

    def _save(self) -> None:
        state: dict[str, npt.NDArray[Any]] = {name: np.asarray(variable) for name, variable in self._state()}
        state |= {"step": np.array(self._step), "recipe": np.array(json.dumps(asdict(self._recipe)))}
        partial = self._folder / "checkpoint.partial.npz"
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **state)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._folder / "checkpoint.npz")

    def _resume(self) -> None:
        path = self._folder / "checkpoint.npz"
        if not path.exists():
            return
        try:
            with np.load(path) as state:
                if str(state["recipe"]) != json.dumps(asdict(self._recipe)):
                    raise CheckpointError(f"{path} is of another recipe: name another --run, or remove it")
                for name, variable in self._state():
                    variable.assign(state[name])
                self._step = int(state["step"])
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path} cannot be read ({error}): remove it to begin anew") from error
        logger.info("going on from step %d of %d", self._step, self._recipe.steps)
