"""The network to train, and what its vectors are asked for: crops of one logo near each other, all others far.

It is the `efficientnet` package's own EfficientNet-B0 with global max pooling, so its weights go into the served model
as they are. Only two layers are made faster for training, with the same weights and the same results: batch
normalisation and swish as single operations of TensorFlow (on two cores 7.6 instead of 10.8 ms of processor time for a
crop of 64 pixels).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import efficientnet.tfkeras  # noqa: F401 (sets the package up for Keras 3)
import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from efficientnet.model import EfficientNetB0

from embeddings.model.convert import MEAN, STD

BN_MOMENTUM = 0.98
VARIANCE_FLOOR = 1e-5
FIRST_SCALE = 10.0  # of the cosines: a temperature of 0.1


class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Keras' batch normalisation through TensorFlow's fused operation: Keras 3 composes it of nine.

    The variance that it remembers is the unbiased one, n / (n - 1) times that of Keras.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise by the batch when training, and remember its statistics; else by the remembered ones."""
        fused = tf.compat.v1.nn.fused_batch_norm
        if not training:
            return fused(
                inputs,
                self.gamma,
                self.beta,
                self.moving_mean,
                self.moving_variance,
                epsilon=self.epsilon,
                is_training=False,
            )[0]
        outputs, mean, variance = fused(inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True)
        for moving, seen in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + seen * (1.0 - self.momentum))
        return outputs


class FusedSwish(keras.layers.Layer):  # type: ignore[misc]
    """Swish as one operation, for the only activation that the package asks for by a layer."""

    def __init__(self, activation: Any, name: str | None = None) -> None:
        super().__init__(name=name)
        if getattr(activation, "__name__", "") != "swish":
            raise ValueError(
                f"the efficientnet package asks for {activation!r}, not swish: pin the version it was made for"
            )

    def call(self, inputs: Any) -> Any:
        """Apply swish: x times the sigmoid of x."""
        return tf.nn.silu(inputs)


def build_network() -> Any:
    """EfficientNet-B0 for crops of any size: `(n, size, size, 3)` preprocessed pixels to `(n, 1280)` vectors.

    `get_weights` has the order and the shapes of `embeddings.model.convert.build_keras_model`.
    """
    layers = SimpleNamespace(
        **{name: getattr(keras.layers, name) for name in dir(keras.layers) if not name.startswith("_")}
    )
    layers.BatchNormalization = FusedBatchNormalization
    layers.Activation = FusedSwish
    network = EfficientNetB0(
        include_top=False,
        weights=None,
        pooling="max",
        input_shape=(None, None, 3),
        backend=tf.keras.backend,
        layers=layers,
        models=keras.models,
        utils=keras.utils,
        drop_connect_rate=0.0,
    )
    for layer in network.layers:
        if isinstance(layer, FusedBatchNormalization):
            layer.momentum = BN_MOMENTUM
    return network


def preprocessed(crops: Any) -> Any:
    """Pixels as serving feeds them to the network, from uint8 crops."""
    return (tf.cast(crops, tf.float32) / 255.0 - tf.constant(MEAN)) / tf.constant(STD)


class Contrast(keras.Model):  # type: ignore[misc]
    """InfoNCE over a batch (van den Oord et al. 2018, arXiv:1807.03748): which of all other crops show the same logo?

    Two vectors are as near as their cosine after batch normalisation (Luo et al. 2019, arXiv:1906.08332), which serving
    leaves away, times a scale that is learned.
    """

    def __init__(self, network: Any, views: int) -> None:
        super().__init__()
        self.network, self.views = network, views
        self.log_scale = self.add_weight(name="log_scale", shape=(), initializer=keras.initializers.Constant(0.0))

    def call(self, crops: Any) -> tuple[Any, Any]:
        """The mean loss of `(labels * views, size, size, 3)` uint8 crops; the share whose nearest shows their logo."""
        vectors = self.network(preprocessed(crops), training=True)
        centred = vectors - tf.reduce_mean(vectors, axis=0)
        unit = tf.math.l2_normalize(
            centred / tf.sqrt(tf.math.reduce_variance(vectors, axis=0) + VARIANCE_FLOOR), axis=1
        )
        logits = tf.matmul(unit, unit, transpose_b=True) * FIRST_SCALE * tf.exp(self.log_scale)
        count = tf.shape(vectors)[0]
        label = tf.range(count) // self.views
        itself = tf.eye(count, dtype=tf.bool)
        same = tf.logical_and(label[:, None] == label[None, :], tf.logical_not(itself))
        logits = tf.where(itself, -1e9, logits)
        share = tf.nn.log_softmax(logits, axis=1)
        positives = tf.cast(same, tf.float32)
        loss = -tf.reduce_mean(tf.reduce_sum(share * positives, axis=1) / float(self.views - 1))
        right = tf.gather(label, tf.argmax(logits, axis=1)) == label
        return loss, tf.reduce_mean(tf.cast(right, tf.float32))


def embed(network: Any, crops: npt.NDArray[np.uint8], batch: int = 64) -> npt.NDArray[np.float32]:
    """The vectors of `(n, size, size, 3)` uint8 crops as serving computes them, `(n, 1280)` float32."""
    run = tf.function(lambda part: network(preprocessed(part), training=False), reduce_retracing=True)
    parts = [run(tf.constant(crops[start : start + batch])).numpy() for start in range(0, len(crops), batch)]
    return np.concatenate(parts).astype(np.float32)
