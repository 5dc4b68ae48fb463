"""The networks of `MODEL_NAMES` in Keras, without weights: shared by training and conversion.

Importing this module loads TensorFlow; the service never does. Both networks come from the `efficientnet` package.
EfficientNet-Lite0 is B0 without squeeze-and-excitation and with ReLU6 instead of swish, as defined in
`efficientnet/lite` of tensorflow/tpu. Layers keep the package's names.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from efficientnet.model import DEFAULT_BLOCKS_ARGS, EfficientNet
from efficientnet.tfkeras import EfficientNetB0

GEM_POWER = 3.0
"""The exponent of generalised-mean pooling (Radenović et al. 2018, arXiv:1711.02512, section 3.2)."""

# The converted file stores constants in half precision, so both are half-precision numbers: a rounded third, and the
# smallest positive one, because the gradient of the cube root is infinite at 0.
_CUBE_ROOT = float(np.float16(1.0 / GEM_POWER))
_SMALLEST_MEAN = 2.0**-24


class GeneralizedMeanPooling(keras.layers.Layer):  # type: ignore[misc]
    """Pool `(n, height, width, channels)` of values >= 0 to `(n, channels)`: the cube root of the mean of cubes."""

    def call(self, inputs: Any) -> Any:
        """Pool over height and width."""
        mean = tf.reduce_mean(inputs * inputs * inputs, axis=(1, 2))
        return tf.pow(tf.maximum(mean, _SMALLEST_MEAN), _CUBE_ROOT)


def lite0_features(size: int | None, batch_normalization: Any = keras.layers.BatchNormalization) -> Any:
    """Build EfficientNet-Lite0 up to its pooled features: `(n, size, size, 3)` pixels to `(n, 1280)`.

    Args:
        size: height and width of the input; None for any.
        batch_normalization: the class of these layers; training keeps their statistics fixed.
    """
    layers = SimpleNamespace(
        **{name: getattr(keras.layers, name) for name in dir(keras.layers) if not name.startswith("_")}
    )
    layers.Activation = lambda _swish, name: keras.layers.ReLU(6.0, name=name)
    layers.BatchNormalization = batch_normalization
    network = EfficientNet(
        1.0,
        1.0,
        224,
        drop_connect_rate=0.0,
        blocks_args=[block._replace(se_ratio=None) for block in DEFAULT_BLOCKS_ARGS],
        include_top=False,
        weights=None,
        input_shape=(size, size, 3),
        backend=tf.keras.backend,
        layers=layers,
        models=keras.models,
        utils=keras.utils,
    )
    return keras.Model(network.input, GeneralizedMeanPooling(name="gem_pool")(network.output))


def build_lite0(size: int) -> Any:
    """Build EfficientNet-Lite0 as it is served: `(n, size, size, 3)` pixels to `(n, 1280)` vectors of length 1.

    One dense layer, `whitening`, rotates the features to principal components, scales each, and shifts them.
    """
    features = lite0_features(size)
    whitened = keras.layers.Dense(features.output_shape[-1], name="whitening")(features.output)
    return keras.Model(features.input, keras.layers.UnitNormalization(name="unit_length")(whitened))


def build_b0(size: int) -> Any:
    """Build EfficientNet-B0 with global max pooling: `(n, size, size, 3)` pixels to `(n, 1280)` vectors."""
    return EfficientNetB0(include_top=False, weights=None, input_shape=(size, size, 3), pooling="max")
