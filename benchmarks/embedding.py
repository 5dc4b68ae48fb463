"""One logo to its vector: the embedder beside Keras, which it was converted from, and beside EfficientNet-B0."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.fixture import Fixture
from benchmarks.logos import draw_crops
from benchmarks.table import Ratio, Row, interleaved
from embeddings.model.description import B0, LITE0, locate_model
from embeddings.model.embedder import Embedder
from embeddings.model.preprocessing import LITE0_PREPROCESSING
from settings import Settings

CROPS = 10
REACH = 3.5
REACH_COMPILED = 1.0
REACH_B0 = 2.0


def measure(fixture: Fixture) -> list[Row]:
    """Measure how many crops are embedded a second, one after the other, including preprocessing."""
    crops = draw_crops(CROPS, fixture.scale.seed)
    threads = Settings().workers.embed_threads
    embedder = Embedder(locate_model(LITE0, "bundled", Path()), threads=threads)
    spawning = multiprocessing.get_context("spawn")
    fixture.say("embedding: a child process converts an untrained EfficientNet-B0")
    converting = spawning.Process(target=_convert_b0, args=(fixture.scratch,))
    converting.start()
    converting.join()
    b0 = Embedder(locate_model(B0, "seeded", fixture.scratch), threads=threads)
    ours_end, keras_end = spawning.Pipe()
    child = spawning.Process(target=_embed_with_keras, args=(keras_end, crops), daemon=True)
    fixture.say("embedding: a child process imports TensorFlow and builds the Keras model")
    child.start()
    keras_end.close()
    with ours_end:

        def ours() -> float:
            return rate(lambda crop: embedder.embed([crop]), crops)

        def keras(compiled: bool) -> float:
            ours_end.send(compiled)
            figure: float = ours_end.recv()
            return figure

        def by_b0() -> float:
            return rate(lambda crop: b0.embed([crop]), crops)

        measures = (ours, partial(keras, compiled=False), partial(keras, compiled=True), by_b0)
        for warm_up in measures:
            warm_up()
        fixture.say("embedding: LiteRT, Keras and B0 in turns")
        embedded, eager, compiled, larger = interleaved(fixture.scale.repetitions, *measures)
    child.join()
    return [
        _row(embedded, eager, "Keras `model(x)` per image, same preprocessing", REACH),
        _row(embedded, compiled, "the same compiled by `tf.function`", REACH_COMPILED),
        _row(embedded, larger, "EfficientNet-B0 at 224 pixels, LiteRT as well", REACH_B0),
    ]


def _row(embedded: list[float], rival: list[float], how: str, reach: float) -> Row:
    ratio = Ratio.of(embedded, rival)
    return Row(
        "embedding of one logo, preprocessing included",
        f"{median(embedded):.1f}/s",
        f"{median(rival):.1f}/s, {how}",
        ratio,
        f"{reach:g} ×",
        ratio.median >= reach,
    )


def rate(embed: Callable[[Image.Image], object], crops: Sequence[Image.Image]) -> float:
    """Return how many crops a second are embedded, one after the other."""
    started = time.perf_counter()
    for crop in crops:
        embed(crop)
    return len(crops) / (time.perf_counter() - started)


def _convert_b0(folder: Path) -> None:
    os.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}

    from embeddings.model.convert import export_model

    export_model(B0, "seeded", folder)


def _embed_with_keras(requests: Connection, crops: Sequence[Image.Image]) -> None:
    """Respond to each request (whether to compile) with a rate, until the other end is closed."""
    os.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}

    import tensorflow as tf

    from embeddings.model.networks import build_lite0

    model = build_lite0(LITE0_PREPROCESSING.size)
    compiled = tf.function(partial(model, training=False))

    def embed(crop: Image.Image, compile_it: bool) -> object:
        pixels = tf.constant(LITE0_PREPROCESSING.pixels(crop)[np.newaxis])
        return np.asarray(compiled(pixels) if compile_it else model(pixels, training=False))

    while True:
        try:
            compile_it: bool = requests.recv()
        except EOFError:
            return
        requests.send(rate(partial(embed, compile_it=compile_it), crops))
