"""The networks with their weights, in Keras. Only functions of this module import it.

A model that `build_keras_model` returns computes the same vectors as the converted file, up to rounding in single
precision: the file stores weights as float16, and the Keras weights are rounded to those values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import ModelError
from embeddings.model.description import B0, LITE0, export_command, model_stem
from embeddings.model.preprocessing import B0_PREPROCESSING, LITE0_PREPROCESSING, Preprocessing
from embeddings.model.pretrained import PRETRAINED

SEED = 0

# The untrained network shrinks its signal block by block, to a standard deviation of 7.1e-5 before the last batch
# normalisation; this factor brings it back to 1. Normalising every layer by its own statistics instead makes the
# untrained network chaotic: 16 % of a logo's four nearest are then of its brand, instead of 43 %.
SEEDED_OUTPUT_SCALE = 14_000.0


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
    refuse_unknown(name, weights)
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


def refuse_unknown(name: str, weights: str) -> None:
    """Raise a `ModelError` if the model or its weights are unknown, or need no conversion."""
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
