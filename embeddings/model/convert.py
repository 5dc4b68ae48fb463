"""Convert Keras weights to the LiteRT file that is served. Only functions of this module import TensorFlow.

The service calls `export_in_child_process`, so it never loads TensorFlow itself.

`python -m embeddings.model.convert` makes the bundled file from the output of `make train`: see `docs/model-card.md`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from durable import atomic_write
from embeddings.errors import ModelError
from embeddings.model.description import (
    B0,
    WEIGHT_WORDS,
    ConvertedModel,
    DistanceScale,
    ModelDescription,
    export_command,
    locate_model,
    model_stem,
    weights_path,
)
from embeddings.model.embedder import Embedder
from embeddings.model.keras_model import SEED, TRAITS, build_keras_model, refuse_unknown
from embeddings.model.pretrained import PRETRAINED, fetch_pretrained

TOLERANCE = 1e-3  # of |LiteRT - Keras| / |Keras|, Euclidean norms of one vector


class WeightsOrigin(NamedTuple):
    """Where weights come from, and their licence."""

    source: str
    licence: str


SEEDED = WeightsOrigin(
    "seeded initialisation, never trained: its vectors tell colours and coarse shapes apart, not brands",
    "AGPL-3.0-or-later",
)


def export_model(
    name: str, weights: str, output_dir: Path, *, label: str | None = None, origin: WeightsOrigin | None = None
) -> ConvertedModel:
    """Convert weights in this process and write the two files to `output_dir`.

    The converted file is compared with Keras before its description is published. Each file appears whole or not at
    all, and several processes may do this at once.

    Args:
        name: as for `build_keras_model`.
        weights: as for `build_keras_model`.
        output_dir: created if missing.
        label: the word of `WEIGHT_WORDS` that names the files; by default `weights` itself.
        origin: the source and licence for the description; by default what is known of such weights.

    Raises:
        ModelError: as for `build_keras_model`; or the two runtimes disagree; or the files cannot be written.
    """
    stem = model_stem(name, label or weights)
    if origin is None:
        origin = SEEDED if weights == "seeded" else WeightsOrigin(f"the file {Path(weights).name}", "as its maker says")
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        model = build_keras_model(name, weights)
        content = _convert(model)
        traits = TRAITS[name]
        description = ModelDescription(
            name=name,
            dim=model.output_shape[-1],
            preprocessing=traits.preprocessing,
            pooling=traits.pooling,
            is_whitened=traits.is_whitened,
            is_unit_length=traits.is_unit_length,
            weights=label or Path(weights).name,
            weights_digest=_weights_digest(model, name),
            file_sha256=hashlib.sha256(content).hexdigest(),
            is_trained=weights != "seeded",
            licence=origin.licence,
            source=origin.source,
        )
        converted = ConvertedModel(weights_path(output_dir, stem, description.file_sha256), description)
        with atomic_write(converted.path) as file:
            file.write(content)
        _check_same_vectors(converted, model)
        _publish(description, output_dir / f"{stem}.json")
    except OSError as error:
        raise ModelError(f"the converted model cannot be written to {output_dir}: {error}") from error
    return converted


def add_distances(model: ConvertedModel, distances: DistanceScale) -> ConvertedModel:
    """Add a scale of distances to a model's description, replace the description on disk, and return the model.

    Raises:
        ModelError: the description cannot be written.
    """
    described = replace(model.description, distances=distances)
    record = model.path.with_name(f"{model_stem(described.name, described.weights)}.json")
    try:
        _publish(described, record)
    except OSError as error:
        raise ModelError(f"{record} cannot be written: {error}") from error
    return ConvertedModel(model.path, described)


def export_in_child_process(
    name: str, weights: str, output_dir: Path, *, timeout_seconds: float, weights_url: str | None = None
) -> ConvertedModel:
    """Run `export_model` in a child process, whose end frees TensorFlow's memory.

    Args:
        name: as for `build_keras_model`.
        weights: as for `build_keras_model`; or a key of `PRETRAINED`, which is downloaded to `output_dir/downloads`
            and kept there.
        output_dir: created if missing.
        timeout_seconds: the limit for the download and the conversion together.
        weights_url: a mirror to download from; see `fetch_pretrained`.

    Raises:
        ModelError: the weights cannot be downloaded, the child failed (the message is its last line), it took longer
            than `timeout_seconds`, or TensorFlow is not installed.
    """
    deadline = time.monotonic() + timeout_seconds
    refuse_unknown(name, weights)
    if weights not in WEIGHT_WORDS[name]:
        weights = str(Path(weights).absolute())
    output_dir = output_dir.absolute()
    if importlib.util.find_spec("tensorflow") is None:
        raise ModelError(
            f"the weights {weights} cannot be converted without TensorFlow: install it with"
            " `make install`, or `pip install -r requirements.txt`; or run"
            f" `{export_command(name, weights, Path('converted'))}` where it is installed, and copy the two files that"
            f" it writes to {output_dir}"
        )
    arguments = [name, weights, str(output_dir)]
    if weights in PRETRAINED:
        origin = PRETRAINED[weights]
        path = fetch_pretrained(
            weights, output_dir / "downloads", base_url=weights_url, timeout_seconds=timeout_seconds
        )
        arguments = [name, str(path), str(output_dir), "--label", weights, "--origin", origin.source, origin.licence]
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",  # the comparison is for CPUs
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    try:
        child = subprocess.run(  # noqa: S603 - our own interpreter and module, without a shell
            [sys.executable, "-m", "embeddings.model.convert", *arguments],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=deadline - time.monotonic(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"converting the weights {weights} took longer than {timeout_seconds:g} seconds") from None
    if child.returncode:
        words = child.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {child.returncode}"]
        raise ModelError(f"the weights {weights} were not converted: {words[-1]}")
    return locate_model(name, weights, output_dir)


def main(arguments: list[str]) -> int:
    """Run `export_model` from the command line. The last line on standard error states the error."""
    parser = argparse.ArgumentParser(prog="python -m embeddings.model.convert")
    parser.add_argument("name")
    parser.add_argument("weights")
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--label", help="the name for the files, instead of WEIGHTS")
    parser.add_argument("--origin", nargs=2, metavar=("SOURCE", "LICENCE"), help="their source and licence")
    options = parser.parse_args(arguments)
    origin = WeightsOrigin(*options.origin) if options.origin else None
    try:
        export_model(options.name, options.weights, options.output_dir, label=options.label, origin=origin)
    except ModelError as error:
        sys.stderr.write(f"\n{error}\n")
        return 1
    return 0


def _publish(description: ModelDescription, record: Path) -> None:
    with atomic_write(record) as file:
        file.write(description.to_json().encode())


def _convert(model: Any) -> bytes:
    import tensorflow as tf

    # As constants, the weights need no intermediate saved model: this takes a quarter of the time.
    trainable = [tf.constant(variable.numpy()) for variable in model.trainable_variables]
    others = [tf.constant(variable.numpy()) for variable in model.non_trainable_variables]
    network = tf.function(lambda crop: model.stateless_call(trainable, others, crop, training=False)[0])
    one_crop = network.get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="crop"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([one_crop], tf.Module())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    content: bytes = converter.convert()
    return content


def _weights_digest(model: Any, name: str) -> str:
    """Return the SHA-256 over all weights, by path: a line of path and shape, then little-endian float32 bytes.

    The preprocessing follows, because vectors of different preprocessing are not comparable. EfficientNet-B0 omits it:
    it never had another, and existing stores are stamped without it.
    """
    digest = hashlib.sha256()
    for weight in sorted(model.weights, key=lambda weight: str(weight.path)):
        array = np.ascontiguousarray(weight.numpy(), dtype="<f4")
        digest.update(f"{weight.path} {array.shape}\n".encode())
        digest.update(array.tobytes())
    if name != B0:
        digest.update(repr(TRAITS[name].preprocessing).encode())
    return digest.hexdigest()


def _check_same_vectors(converted: ConvertedModel, model: Any) -> None:
    rng = np.random.default_rng(SEED)
    patches = [Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)) for _ in range(4)]
    pixels = np.stack([converted.description.preprocessing.pixels(patch) for patch in patches])
    expected = np.asarray(model(pixels, training=False))
    differences = np.linalg.norm(Embedder(converted).embed(patches) - expected, axis=1)
    if not (differences <= TOLERANCE * np.linalg.norm(expected, axis=1)).all():  # also refuses NaN
        converted.path.unlink()
        raise ModelError(f"the converted {converted.description.name} computes other vectors than Keras: {differences}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
