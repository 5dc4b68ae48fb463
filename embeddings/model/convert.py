"""Convert Keras weights to the LiteRT file that is served. Only functions of this module import TensorFlow.

The service calls `export_in_child_process`, so it never loads TensorFlow itself. The model that `build_keras_model`
returns computes the same vectors as the converted file, up to rounding in single precision: the file stores weights as
float16, and the Keras weights are rounded to those values.

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
from numpy.typing import NDArray
from PIL import Image

from durable import atomic_write
from embeddings.errors import ModelError
from embeddings.model.description import (
    B0,
    LITE0,
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
from embeddings.model.preprocessing import B0_PREPROCESSING, LITE0_PREPROCESSING, Preprocessing
from embeddings.model.pretrained import PRETRAINED, fetch_pretrained

TOLERANCE = 1e-3  # of |LiteRT - Keras| / |Keras|, Euclidean norms of one vector

SEED = 0

# The untrained network shrinks its signal block by block, to a standard deviation of 7.1e-5 before the last batch
# normalisation; this factor brings it back to 1. Normalising every layer by its own statistics instead makes the
# untrained network chaotic: 16 % of a logo's four nearest are then of its brand, instead of 43 %.
SEEDED_OUTPUT_SCALE = 14_000.0


class WeightsOrigin(NamedTuple):
    """Where weights come from, and their licence."""

    source: str
    licence: str


SEEDED = WeightsOrigin(
    "seeded initialisation, never trained: its vectors tell colours and coarse shapes apart, not brands",
    "AGPL-3.0-or-later",
)


class ModelTraits(NamedTuple):
    """What a model's description says for all its weights."""

    preprocessing: Preprocessing
    pooling: str
    is_whitened: bool
    is_unit_length: bool


TRAITS = {
    LITE0: ModelTraits(LITE0_PREPROCESSING, "gem", is_whitened=True, is_unit_length=True),
    B0: ModelTraits(B0_PREPROCESSING, "max", is_whitened=False, is_unit_length=False),
}


def build_keras_model(name: str, weights: str) -> Any:
    """Build the network that maps `(n, size, size, 3)` preprocessed pixels to `(n, 1280)` vectors.

    Call it with `training=False`. Its weights are rounded to the values that the converted file stores.

    Args:
        name: one of `MODEL_NAMES`.
        weights: "seeded" (sets the seeds of Keras, NumPy and `random`), or the path of a Keras weights file (`.h5`,
            `.weights.h5`, `.keras`).

    Raises:
        ModelError: TensorFlow is not installed, or the weights cannot be read or do not fit the network.
    """
    _refuse_unknown(name, weights)
    if weights in PRETRAINED:
        command = export_command(name, weights, Path("converted"))
        raise ModelError(f"the {weights} weights must be downloaded first: `{command}` does both")
    try:
        import keras

        from embeddings.model import networks
    except ImportError as error:
        raise ModelError(f"converting weights needs all of requirements.txt: {error}") from error
    if weights == "seeded":
        keras.utils.set_random_seed(SEED)
    build = networks.build_lite0 if name == LITE0 else networks.build_b0
    model = build(TRAITS[name].preprocessing.size)
    if weights == "seeded":
        gamma = model.get_layer("top_bn").gamma
        gamma.assign(np.full(gamma.shape, SEEDED_OUTPUT_SCALE, dtype=np.float32))
    else:
        try:
            model.load_weights(weights)
        except Exception as error:  # Keras and h5py raise many types for a file that they cannot read
            reason = " ".join(str(error).split())
            others = " or ".join(f"ANN_MODEL={other}" for other in TRAITS if other != name)
            raise ModelError(
                f"{weights} does not hold the weights of {name} without its top ({reason}); if it belongs to another"
                f" model, set {others}"
            ) from error
    _round_to_stored(model)
    return model


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
    _refuse_unknown(name, weights)
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


def _refuse_unknown(name: str, weights: str) -> None:
    model_stem(name, weights)
    if weights == "bundled":
        raise ModelError("the bundled weights are already converted")


def _round_to_stored(model: Any) -> None:
    """Round the weights so that Keras computes with exactly the values that the converter stores as float16.

    The converter folds each batch normalisation into the convolution before it, as a factor on its kernel and a bias,
    and rounds those. Weights that are rounded here stay the same there.
    """
    for layer in model.layers:
        if layer.name.endswith("conv"):
            norm = model.get_layer(layer.name.replace("dwconv", "bn").replace("conv", "bn"))
            gamma, beta, mean, variance = norm.get_weights()
            factor = gamma / np.sqrt(variance + np.float32(norm.epsilon))
            norm.set_weights([gamma, _half(beta - mean * factor) + mean * factor, mean, variance])
            (kernel,) = layer.get_weights()  # a depthwise kernel is (height, width, channel, 1)
            by_channel = factor[:, np.newaxis] if layer.name.endswith("dwconv") else factor
            by_channel = np.where(by_channel == 0, np.float32(1), by_channel)
            layer.set_weights([_half(kernel * by_channel) / by_channel])
        elif layer.weights and not layer.name.endswith("bn"):  # convolutions of squeeze-and-excitation, and whitening
            layer.set_weights([_half(array) for array in layer.get_weights()])


def _half(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return array.astype(np.float16).astype(np.float32)


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
