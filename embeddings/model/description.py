"""Which model turns crops into vectors, and where its converted file lies: data only, no runtime is imported.

A converted model is two files. The description is the commit record: it names the weights file by a part of
its digest and is written last, so whoever reads it finds the weights that belong to it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from embeddings.errors import ModelError

MODEL_NAMES = ("efficientnet-b0",)
PACKAGE_DIR = Path(__file__).parents[1] / "weights"

# Weights that are asked for by a word; anything else is the path of a Keras weights file.
WEIGHT_WORDS = ("bundled", "imagenet", "noisy-student", "seeded")


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a vector depends on, and where the weights come from.

    A crop is resized to `input_size` x `input_size` pixels; its channels, divided by 255, are normalised with
    `mean` and `std`. `weights_digest` tells networks apart: it is the same whenever the same weights are
    converted, while `file_sha256` belongs to one converted file.

    Raises:
        ModelError: a field is not of the type or range that it takes.
    """

    name: str
    dim: int
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    pooling: str
    weights: str
    weights_digest: str
    file_sha256: str
    is_trained: bool
    licence: str
    source: str

    def __post_init__(self) -> None:
        wrong = [name for name, is_right in _CHECKS.items() if not is_right(getattr(self, name))]
        if wrong:
            raise ModelError(f"the model description has no usable {', '.join(wrong)}")

    @classmethod
    def from_json(cls, text: str) -> ModelDescription:
        """Read what `to_json` wrote; every field must be there, and no other.

        Raises:
            ModelError: the text is not such an object.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"the model description is not JSON: {error}") from error
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise ModelError(f"the model description is not an object of exactly {', '.join(sorted(names))}")
        for name in ("mean", "std"):
            if isinstance(values[name], list):
                values[name] = tuple(values[name])
        return cls(**values)

    def to_json(self) -> str:
        """Write the fields as one JSON object, in their order."""
        return json.dumps(asdict(self), indent=2) + "\n"


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """A LiteRT file and what it is; the file is verified when an `Embedder` loads it."""

    path: Path
    description: ModelDescription


def locate_model(name: str, weights: str, cache_dir: Path) -> ConvertedModel:
    """Find the converted file of a model's weights: in `cache_dir`, or among those that came with this package.

    Args:
        name: one of `MODEL_NAMES`.
        weights: one of `WEIGHT_WORDS`, or the path of a Keras weights file, whose content is the key: a changed
            file is another model.
        cache_dir: where `export-model` puts what it converts; never searched for the bundled weights.

    Raises:
        ModelError: there is none, or its description is damaged; the message says which command makes it.
    """
    stem = model_stem(name, weights)
    records = [directory / f"{stem}.json" for directory in (cache_dir, PACKAGE_DIR)]
    if weights == "bundled":
        records, remedy = records[1:], "install this version of the service anew"
    else:
        remedy = f"run `{export_command(weights, cache_dir)}`"
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
        raise ModelError(f"{path} is missing, to which {record.name} belongs: {remedy}")
    return ConvertedModel(path, description)


def model_stem(name: str, weights: str) -> str:
    """Return what the names of the two files of these weights begin with.

    Raises:
        ModelError: no model has that name, or the weights file cannot be read.
    """
    if name not in MODEL_NAMES:
        raise ModelError(f"unknown model {name!r}: this version has {', '.join(MODEL_NAMES)}")
    if weights in WEIGHT_WORDS:
        return f"{name}-{weights}"
    try:
        with Path(weights).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ModelError(
            f"the weights {weights!r} are neither one of {', '.join(WEIGHT_WORDS)} nor a file to read: {error}"
        ) from error
    return f"{name}-file-{digest[:12]}"


def weights_path(directory: Path, stem: str, file_sha256: str) -> Path:
    """Return where the converted weights of that digest are, or will be."""
    return directory / f"{stem}-{file_sha256[:12]}.tflite"


def export_command(weights: str, output_dir: Path) -> str:
    """Return the command line that converts these weights into `output_dir`."""
    return shlex.join(["python", "manage.py", "export-model", "--weights", weights, "--output", str(output_dir)])


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_per_channel(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(type(x) is float and 0 < x < 1 for x in value)


_CHECKS: dict[str, Callable[[object], bool]] = {
    "name": _is_text,
    "dim": _is_count,
    "input_size": _is_count,
    "mean": _is_per_channel,
    "std": _is_per_channel,
    "pooling": lambda value: value == "max",
    "weights": _is_text,
    "weights_digest": _is_sha256,
    "file_sha256": _is_sha256,
    "is_trained": lambda value: type(value) is bool,
    "licence": _is_text,
    "source": _is_text,
}
