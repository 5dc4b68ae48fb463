"""The network against the one that is served, its layers against Keras', its losses against NumPy."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from PIL import Image

from embeddings.model.convert import build_keras_model
from embeddings.model.description import PACKAGE_DIR, locate_model
from embeddings.model.embedder import preprocess
from training.batches import BatchShape, Studio
from training.network import (
    BN_MOMENTUM,
    Contrast,
    FusedBatchNormalization,
    FusedSwish,
    build_network,
    embed,
    preprocessed,
)

Crops = npt.NDArray[np.uint8]
RNG_SEED = 8


@pytest.fixture(scope="module")
def served() -> Any:
    """The network as it is served, with the statistics of each channel its own, as training leaves them."""
    model = build_keras_model("efficientnet-b0", "seeded")
    rng = np.random.default_rng(RNG_SEED)
    for layer in model.layers:
        if layer.name.endswith("bn"):
            gamma, beta, mean, variance = layer.get_weights()
            shift = rng.normal(0, 1e-4, gamma.shape)
            factor = rng.uniform(0.5, 1.5, gamma.shape)
            layer.set_weights([gamma * factor, beta + shift, mean + shift, variance * factor])
    return model


@pytest.fixture(scope="module")
def network() -> Any:
    return build_network()


def test_the_weights_are_those_of_the_served_network(network: Any, served: Any) -> None:
    assert [weight.shape for weight in network.get_weights()] == [weight.shape for weight in served.get_weights()]
    assert [weight.name for weight in network.weights] == [weight.name for weight in served.weights]
    assert [weight.trainable for weight in network.weights] == [weight.trainable for weight in served.weights]


def test_with_the_same_weights_the_vectors_are_the_same(network: Any, served: Any, studio: Studio) -> None:
    network.set_weights(served.get_weights())
    crops = studio.batch(1, 0, BatchShape(2, 2, 224))
    description = locate_model("efficientnet-b0", "bundled", PACKAGE_DIR).description
    pixels = np.stack([preprocess(Image.fromarray(crop), description) for crop in crops])
    np.testing.assert_allclose(preprocessed(crops), pixels, atol=1e-5)

    expected = np.asarray(served(pixels, training=False))
    vectors = embed(network, crops, batch=3)
    assert vectors.shape == (4, 1280)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(expected, axis=1)
    assert (np.linalg.norm(expected[1:] - expected[:-1], axis=1) > 0.1 * lengths[1:]).all()
    assert (np.linalg.norm(vectors - expected, axis=1) < 1e-4 * lengths).all()


def test_every_normalisation_of_the_network_is_the_fast_one(network: Any) -> None:
    layers = [layer for layer in network.layers if layer.name.endswith("bn")]
    assert len(layers) == 49
    assert {type(layer) for layer in layers} == {FusedBatchNormalization}
    assert {layer.momentum for layer in layers} == {BN_MOMENTUM}


@pytest.fixture
def normalisations() -> tuple[Any, Any]:
    """The layer of Keras and the fast one, with the same weights, none of them as it was initialised."""
    rng = np.random.default_rng(RNG_SEED)
    weights = [rng.uniform(0.5, 1.5, 7).astype(np.float32) for _ in range(4)]
    layers = keras.layers.BatchNormalization(momentum=0.9), FusedBatchNormalization(momentum=0.9)
    for layer in layers:
        layer.build((None, None, None, 7))
        layer.set_weights(weights)
    return layers


FEATURES = np.random.default_rng(RNG_SEED).normal(2.0, 3.0, (6, 5, 4, 7)).astype(np.float32)


@pytest.mark.parametrize("training", [True, False])
def test_batch_normalisation_computes_and_learns_as_that_of_keras(
    normalisations: tuple[Any, Any], training: bool
) -> None:
    results = []
    for layer in normalisations:
        inputs = tf.Variable(FEATURES)
        with tf.GradientTape() as tape:
            outputs = layer(inputs, training=training)
            loss = tf.reduce_sum(outputs * tf.sin(tf.range(7.0)) * outputs * outputs)
        results.append([outputs, *tape.gradient(loss, [inputs, layer.gamma, layer.beta])])
    for of_keras, fused in zip(*results, strict=True):
        np.testing.assert_allclose(fused, of_keras, rtol=2e-4, atol=2e-3)


def test_batch_normalisation_remembers_as_that_of_keras(normalisations: tuple[Any, Any]) -> None:
    """Its variance is the unbiased one, n / (n - 1) times that of Keras, with n values in each channel."""
    of_keras, fused = normalisations
    before = of_keras.moving_variance.numpy()
    for layer in normalisations:
        layer(FEATURES, training=True)
    np.testing.assert_allclose(fused.moving_mean, of_keras.moving_mean, rtol=1e-5)
    values = FEATURES[..., 0].size
    seen = (of_keras.moving_variance.numpy() - 0.9 * before) * values / (values - 1)
    np.testing.assert_allclose(fused.moving_variance, 0.9 * before + seen, rtol=1e-5)


def test_batch_normalisation_forgets_nothing_when_it_is_only_used(normalisations: tuple[Any, Any]) -> None:
    _, fused = normalisations
    before = fused.get_weights()
    fused(FEATURES, training=False)
    for weight, was in zip(fused.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)


def test_swish_is_computed_as_one_operation() -> None:
    values = np.linspace(-6, 6, 25, dtype=np.float32)

    def swish(inputs: Any) -> Any:
        return inputs * keras.activations.sigmoid(inputs)

    np.testing.assert_allclose(swish(values), values / (1 + np.exp(-values)), rtol=1e-5)
    np.testing.assert_allclose(FusedSwish(swish)(values), values / (1 + np.exp(-values)), rtol=1e-5)


def test_another_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="asks for 'relu', not swish"):
        FusedSwish("relu")


LABELS, VIEWS = 5, 3


def contrast() -> Contrast:
    """The loss of vectors that are the pixels themselves."""
    return Contrast(keras.Sequential([keras.layers.Flatten()]), VIEWS)


def alike(noise: int = 20) -> Crops:
    """Five labels in three views, of 4 by 4 pixels, that differ by at most `noise`."""
    rng = np.random.default_rng(RNG_SEED)
    labels = rng.integers(0, 256 - noise, (LABELS, 4, 4, 3))
    return (np.repeat(labels, VIEWS, axis=0) + rng.integers(0, noise + 1, (LABELS * VIEWS, 4, 4, 3))).astype(np.uint8)


def info_nce(crops: Crops, scale: float = 1.0) -> tuple[float, float]:
    """The loss, and the share of crops whose nearest is of their label, one crop at a time."""
    vectors = np.asarray(preprocessed(crops), dtype=np.float64).reshape(len(crops), -1)
    vectors -= vectors.mean(axis=0)
    vectors /= np.sqrt(vectors.var(axis=0) + 1e-5)
    lengths = np.linalg.norm(vectors, axis=1)
    losses, right = [], 0
    for query in range(len(crops)):
        others = [row for row in range(len(crops)) if row != query]
        logits = scale * np.array(
            [10 * vectors[query] @ vectors[row] / lengths[query] / lengths[row] for row in others]
        )
        same = np.array([row // VIEWS == query // VIEWS for row in others])
        losses.append(np.mean(np.log(np.exp(logits).sum()) - logits[same]))
        right += bool(same[logits.argmax()])
    return float(np.mean(losses)), right / len(crops)


@pytest.mark.parametrize("noise", [20, 255])
def test_the_loss_is_info_nce(noise: int) -> None:
    crops = alike(noise)
    found = [float(value) for value in contrast()(crops)]
    assert found == pytest.approx(info_nce(crops), rel=1e-4)


def test_the_scale_that_is_learned_multiplies_the_similarities() -> None:
    model = contrast()
    model.log_scale.assign(math.log(0.3))
    assert float(model(alike())[0]) == pytest.approx(info_nce(alike(), 0.3)[0], rel=1e-4)


def test_views_that_agree_lose_less() -> None:
    crops = alike()
    mixed = np.random.default_rng(RNG_SEED).permutation(crops)
    (agree, all_right), (disagree, few_right) = contrast()(crops), contrast()(mixed)
    assert float(agree) < float(disagree) - 1
    assert float(all_right) == 1.0
    assert float(few_right) < 0.5


def test_the_order_of_labels_and_of_their_views_does_not_matter() -> None:
    crops = alike(200)
    by_label = crops.reshape(LABELS, VIEWS, 4, 4, 3)[[3, 0, 4, 1, 2]][:, [2, 0, 1]].reshape(crops.shape)
    expected = [float(value) for value in contrast()(crops)]
    assert [float(value) for value in contrast()(by_label)] == pytest.approx(expected, rel=1e-4)


def test_every_weight_has_a_gradient(network: Any, studio: Studio) -> None:
    model = Contrast(network, 2)
    variables = [*network.trainable_variables, model.log_scale]
    with tf.GradientTape() as tape:
        value, _ = model(studio.batch(1, 0, BatchShape(4, 2, 32)))
    gradients = tape.gradient(value, variables)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert all(np.any(gradient) for gradient in gradients)
