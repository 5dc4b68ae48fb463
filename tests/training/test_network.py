"""The network against the one that is served, its normalisation against Keras', its loss against NumPy."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from PIL import Image

from embeddings.model.networks import lite0_features
from embeddings.model.preprocessing import LITE0_PREPROCESSING
from training.batches import BatchShape, Studio
from training.imagenet import BLOCKS, load_imagenet, published_file, read_published
from training.network import Contrast, FixedBatchNormalization, build_trained, embed, preprocessed

Crops = npt.NDArray[np.uint8]
RNG_SEED = 8
FROZEN_BLOCKS = 3


@pytest.fixture(scope="module")
def served() -> Any:
    """Return the served network, up to its features, with ImageNet's weights."""
    network = lite0_features(LITE0_PREPROCESSING.size)
    load_imagenet(network, read_published(published_file()))
    return network


@pytest.fixture(scope="module")
def network() -> Any:
    return build_trained(FROZEN_BLOCKS)


def test_the_weights_are_those_of_the_served_network(network: Any, served: Any) -> None:
    assert [weight.shape for weight in network.get_weights()] == [weight.shape for weight in served.get_weights()]
    assert [weight.name for weight in network.weights] == [weight.name for weight in served.weights]


def test_with_the_same_weights_the_vectors_are_the_same(network: Any, served: Any, studio: Studio) -> None:
    network.set_weights(served.get_weights())
    crops = studio.batch(1, 0, BatchShape(2, 2, LITE0_PREPROCESSING.size))
    pixels = np.stack([LITE0_PREPROCESSING.pixels(Image.fromarray(crop)) for crop in crops])
    np.testing.assert_allclose(preprocessed(crops), pixels, atol=1e-5)

    expected = np.asarray(served(pixels, training=False))
    vectors = embed(network, crops, batch=3)
    assert vectors.shape == (4, 1280)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(expected, axis=1)
    assert (np.linalg.norm(expected[1:] - expected[:-1], axis=1) > 0.1 * lengths[1:]).all()
    assert (np.linalg.norm(vectors - expected, axis=1) < 1e-4 * lengths).all()


def test_training_normalises_by_the_remembered_statistics(network: Any, studio: Studio) -> None:
    pixels = preprocessed(studio.batch(1, 0, BatchShape(2, 2, 64)))
    before = network.get_weights()
    trained, used = (np.asarray(network(pixels, training=training)) for training in (True, False))
    np.testing.assert_allclose(trained, used, rtol=1e-5)
    for weight, was in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)


def test_fixed_normalisation_computes_what_that_of_keras_computes() -> None:
    rng = np.random.default_rng(RNG_SEED)
    weights = [rng.uniform(0.5, 1.5, 7).astype(np.float32) for _ in range(4)]
    features = rng.normal(2.0, 3.0, (6, 5, 4, 7)).astype(np.float32)
    outputs = []
    for layer in (keras.layers.BatchNormalization(), FixedBatchNormalization()):
        layer.build((None, None, None, 7))
        layer.set_weights(weights)
        outputs.append(np.asarray(layer(features, training=False)))
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frozen", [0, 3, 16])
def test_the_stem_and_the_first_blocks_are_frozen(frozen: int) -> None:
    trained = {weight.path.partition("/")[0] for weight in build_trained(frozen).trainable_variables}
    blocks = {name.partition("_")[0].removeprefix("block") for name in trained if name.startswith("block")}
    assert blocks == set(BLOCKS[frozen:])
    assert {name for name in trained if not name.startswith("block")} == {"top_conv", "top_bn"}


LABELS, VIEWS = 5, 3


def contrast() -> Contrast:
    """Return the loss of vectors that are the pixels themselves."""
    return Contrast(keras.Sequential([keras.layers.Flatten()]), VIEWS)


def alike(noise: int = 20) -> Crops:
    """Return five labels in three views, of 4 by 4 pixels, that differ by at most `noise`."""
    rng = np.random.default_rng(RNG_SEED)
    labels = rng.integers(0, 256 - noise, (LABELS, 4, 4, 3))
    return (np.repeat(labels, VIEWS, axis=0) + rng.integers(0, noise + 1, (LABELS * VIEWS, 4, 4, 3))).astype(np.uint8)


def info_nce(crops: Crops, scale: float = 1.0) -> tuple[float, float]:
    """Return the loss, and the share of crops whose nearest has their label, computed one crop at a time."""
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


def test_every_trained_weight_has_a_gradient(network: Any, studio: Studio) -> None:
    model = Contrast(network, 2)
    variables = [*network.trainable_variables, model.log_scale]
    with tf.GradientTape() as tape:
        value, _ = model(studio.batch(1, 0, BatchShape(4, 2, 64)))
    gradients = tape.gradient(value, variables)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert all(np.any(gradient) for gradient in gradients)
