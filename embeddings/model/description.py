"""Which model turns crops into vectors, and where its converted file is. Data only: no runtime is imported.

A converted model is two files. The description is the commit record: it names the weights file by a part of its digest
and is written last, so a reader of the description always finds the weights that belong to it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from embeddings.errors import ModelError
from embeddings.model.preprocessing import Preprocessing

LITE0, B0 = "efficientnet-lite0", "efficientnet-b0"
MODEL_NAMES = (LITE0, B0)

WEIGHT_WORDS = {LITE0: ("bundled",), B0: ("imagenet", "noisy-student", "seeded")}
"""The words that name weights of each model; anything else is the path of a Keras weights file."""

PACKAGE_DIR = Path(__file__).parents[1] / "weights"

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""The quantiles that a `DistanceScale` holds."""


@dataclass(frozen=True, slots=True)
class DistanceScale:
    """How far apart vectors are, measured on logos of known class that the network was not trained on.

    Attributes:
        same: the `QUANTILES` of the distances between crops of one logo.
        other: the `QUANTILES` of the distances between crops of different logos.
    """

    same: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def alike(self) -> float:
        """The distance that 99 of 100 pairs of different logos exceed."""
        return self.other[0]

    @property
    def different(self) -> float:
        """The distance that 95 of 100 pairs of crops of one logo stay within."""
        return self.same[5]


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What vectors depend on, what their distances mean, and where the weights come from.

    Attributes:
        name: one of `MODEL_NAMES`.
        dim: the number of values in a vector.
        preprocessing: how a crop becomes the input of the network.
        pooling: "max", or "gem": the cube root of the mean of cubes.
        is_whitened: whether the features are rotated to principal components and scaled.
        is_unit_length: whether every vector has length 1.
        weights: the word or the file name that selects them.
        weights_digest: identifies the network: the same weights always give the same digest.
        file_sha256: of the one converted file.
        is_trained: whether the weights come from training.
        licence: of the weights.
        source: where the weights come from.
        distances: None if not measured.

    Raises:
        ModelError: a field has the wrong type or is out of range.
    """

    name: str
    dim: int
    preprocessing: Preprocessing
    pooling: str
    is_whitened: bool
    is_unit_length: bool
    weights: str
    weights_digest: str
    file_sha256: str
    is_trained: bool
    licence: str
    source: str
    distances: DistanceScale | None = None

    def __post_init__(self) -> None:
        wrong = [name for name, is_right in _CHECKS.items() if not is_right(getattr(self, name))]
        if wrong:
            raise ModelError(f"the model description has no usable {', '.join(wrong)}")

    @classmethod
    def from_json(cls, text: str) -> ModelDescription:
        """Parse the output of `to_json`; all fields must be present, and no others.

        Raises:
            ModelError: the text is not such an object.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"the model description is not JSON: {error}") from error
        values = _fields(cls, "model description", values)
        preprocessing = _fields(Preprocessing, "preprocessing", values["preprocessing"])
        distances = values["distances"]
        if distances is not None:
            distances = DistanceScale(**_fields(DistanceScale, "distances", distances))
        return cls(**values | {"preprocessing": Preprocessing(**preprocessing), "distances": distances})

    def to_json(self) -> str:
        """Return the fields as one JSON object, in their order."""
        return json.dumps(asdict(self), indent=2) + "\n"


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """A LiteRT file and its description. `Embedder` verifies the file when it loads it."""

    path: Path
    description: ModelDescription


def locate_model(name: str, weights: str, cache_dir: Path) -> ConvertedModel:
    """Find the converted file of a model's weights, in `cache_dir` or among those shipped with this package.

    Args:
        name: one of `MODEL_NAMES`.
        weights: a word of `WEIGHT_WORDS`, or the path of a Keras weights file. Its content is the key: a changed file
            is another model.
        cache_dir: where `export-model` writes its output; never searched for the bundled weights.

    Raises:
        ModelError: there is none, or its description is damaged; the message gives the command that makes it.
    """
    stem = model_stem(name, weights)
    records = [directory / f"{stem}.json" for directory in (cache_dir, PACKAGE_DIR)]
    if weights == "bundled":
        records, remedy = records[1:], "reinstall this version of the service"
    else:
        remedy = f"run `{export_command(name, weights, cache_dir)}`"
    record = next(filter(Path.exists, records), None)
    if record is None:
        raise ModelError(f"the weights {weights} of {name} have no converted file in {records[0].parent}: {remedy}")
    try:
        description = ModelDescription.from_json(record.read_text(encoding="utf-8"))
    except (ModelError, OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{record} is damaged ({error}): {remedy}") from error
    if description.name != name:
        raise ModelError(f"{record} describes {description.name}, not {name}: {remedy}")
    path = weights_path(record.parent, stem, description.file_sha256)
    if not path.is_file():
        raise ModelError(f"{path} is missing, although {record.name} names it: {remedy}")
    return ConvertedModel(path, description)


def model_stem(name: str, weights: str) -> str:
    """Return the common stem of the names of these weights' two files.

    Raises:
        ModelError: the model is unknown, or the weights file cannot be read.
    """
    if name not in MODEL_NAMES:
        raise ModelError(f"unknown model {name!r}: this version has {', '.join(MODEL_NAMES)}")
    if weights in WEIGHT_WORDS[name]:
        return f"{name}-{weights}"
    if owner := next((other for other, words in WEIGHT_WORDS.items() if weights in words), None):
        raise ModelError(
            f"the weights {weights} belong to {owner}, not to {name}: set ANN_MODEL={owner}, or ANN_WEIGHTS to"
            f" {', '.join(WEIGHT_WORDS[name])} or to the path of a Keras weights file"
        )
    try:
        with Path(weights).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:  # ValueError: the path contains NUL
        raise ModelError(
            f"the weights {weights!r} are neither one of {', '.join(WEIGHT_WORDS[name])} nor a readable file: {error}"
        ) from error
    return f"{name}-file-{digest[:12]}"


def weights_path(directory: Path, stem: str, file_sha256: str) -> Path:
    """Return the path of the converted weights with this digest, whether they exist or not."""
    return directory / f"{stem}-{file_sha256[:12]}.tflite"


def export_command(name: str, weights: str, output_dir: Path) -> str:
    """Return the command line that converts these weights into `output_dir`."""
    chosen = ["--model", name, "--weights", weights, "--output", str(output_dir)]
    return shlex.join(["python", "manage.py", "export-model", *chosen])


def _fields(of: type, what: str, values: object) -> dict[str, Any]:
    """Return the values of a dataclass from a JSON object, with lists as tuples."""
    names = {field.name for field in fields(of)}
    if not isinstance(values, dict) or set(values) != names:
        raise ModelError(f"the {what} is not an object of exactly {', '.join(sorted(names))}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_per_channel(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(type(x) is float and 0 < x < 1 for x in value)


def _is_flag(value: object) -> bool:
    return type(value) is bool


def _is_preprocessing(value: object) -> bool:
    return (
        isinstance(value, Preprocessing)
        and value.fit in ("letterbox", "squash")
        and type(value.fill) is int
        and 0 <= value.fill <= 255
        and _is_count(value.size)
        and _is_per_channel(value.mean)
        and _is_per_channel(value.std)
    )


def _is_quantiles(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == len(QUANTILES)
        and all(type(x) is float and 0 <= x < math.inf for x in value)
        and sorted(value) == list(value)
    )


def _is_distances(value: object) -> bool:
    return value is None or (
        isinstance(value, DistanceScale) and _is_quantiles(value.same) and _is_quantiles(value.other)
    )


_CHECKS: dict[str, Callable[[object], bool]] = {
    "name": _is_text,
    "dim": _is_count,
    "preprocessing": _is_preprocessing,
    "pooling": lambda value: value in ("max", "gem"),
    "is_whitened": _is_flag,
    "is_unit_length": _is_flag,
    "weights": _is_text,
    "weights_digest": _is_sha256,
    "file_sha256": _is_sha256,
    "is_trained": _is_flag,
    "licence": _is_text,
    "source": _is_text,
    "distances": _is_distances,
}
