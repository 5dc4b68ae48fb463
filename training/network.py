"""The network that is trained, and the loss that pulls crops of one logo together and pushes all others apart."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from embeddings.model.networks import lite0_features
from embeddings.model.preprocessing import LITE0_PREPROCESSING

VARIANCE_FLOOR = 1e-5
FIRST_SCALE = 10.0  # of the cosines: a temperature of 0.1


class FixedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Batch normalisation by the stored statistics, also in training, because batches of crops are small."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise by the stored mean and variance."""
        factor = self.gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)
        return inputs * factor + (self.beta - self.moving_mean * factor)


def build_trained(frozen_blocks: int) -> Any:
    """Build EfficientNet-Lite0 up to its features, for crops of any size.

    The stem and the first `frozen_blocks` of its 16 blocks keep their weights. `get_weights` has the order and the
    shapes of `lite0_features`.
    """
    network = lite0_features(None, FixedBatchNormalization)
    seen: set[str] = set()
    for layer in network.layers:
        if layer.name.startswith("block"):
            seen.add(layer.name.partition("_")[0])
        if len(seen) > frozen_blocks or layer.name.startswith("top"):
            break
        layer.trainable = False
    return network


def preprocessed(crops: Any) -> Any:
    """Return uint8 crops of the network's size as the pixels that serving feeds to it."""
    mean, std = LITE0_PREPROCESSING.mean, LITE0_PREPROCESSING.std
    return (tf.cast(crops, tf.float32) / 255.0 - tf.constant(mean)) / tf.constant(std)


class Contrast(keras.Model):  # type: ignore[misc]
    """InfoNCE over a batch (van den Oord et al. 2018, arXiv:1807.03748): which of all other crops show the same logo?

    The similarity of two vectors is the cosine after batch normalisation (Luo et al. 2019, arXiv:1906.08332), which
    serving omits, times a learned scale.
    """

    def __init__(self, network: Any, views: int) -> None:
        super().__init__()
        self.network, self.views = network, views
        self.log_scale = self.add_weight(name="log_scale", shape=(), initializer=keras.initializers.Constant(0.0))

    def call(self, crops: Any) -> tuple[Any, Any]:
        """Return the mean loss of uint8 crops, and the share of crops whose nearest crop shows the same logo.

        Args:
            crops: `(labels * views, size, size, 3)`; crops of one label are adjacent.
        """
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
    """Return the vectors of `(n, size, size, 3)` uint8 crops as serving computes them, `(n, 1280)` float32."""
    run = tf.function(lambda part: network(preprocessed(part), training=False), reduce_retracing=True)
    parts = [run(tf.constant(crops[start : start + batch])).numpy() for start in range(0, len(crops), batch)]
    return np.concatenate(parts).astype(np.float32)
