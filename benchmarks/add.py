"""`POST /add`, one logo a request, beside the bare interpreter on the same crops.

The interpreter alone is given the preprocessed crops. The service also fetches (from a server on loopback), decodes,
crops, resizes, stores and speaks HTTP. The goal is half of the interpreter's rate: where it ran 130 times a second, the
original added 13 logos, and five times as many are promised.
"""

from __future__ import annotations

import io
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image

from benchmarks.fixture import Fixture
from benchmarks.http_client import HttpClient
from benchmarks.table import Ratio, Row, interleaved
from embeddings.images.decode import BoundingBox, crop_logo, decode_rgb
from embeddings.model.description import ConvertedModel, locate_model
from settings import Settings
from tests.end_to_end.service import Service
from tests.photo_server import PhotoServer

CLIENTS = (1, 2)
WORKERS = 2
REACH = 0.5
PHOTOS = 12
WIDTH, HEIGHT = 500, 375
BOX: BoundingBox = (0.2, 0.3, 0.7, 0.8)
CAPACITY = 1_000_000  # more than any run adds; the file is sparse


def measure(fixture: Fixture) -> list[Row]:
    """Measure how many logos one client, and two, add a second."""
    model = locate_model(Settings().model.name, "bundled", Path())
    photos = draw_photos(PHOTOS, fixture.scale.seed)
    inputs = itertools.cycle([model.description.preprocessing.pixels(cropped(photo)) for photo in photos])
    bare, logo_ids, seconds = Bare(model), itertools.count(1), fixture.scale.seconds
    with (
        PhotoServer({f"/{number}.jpg": photo for number, photo in enumerate(photos)}) as server,
        Service(fixture.scratch / "adds", workers=WORKERS, ANN_STORE_CAPACITY=str(CAPACITY)) as service,
        ThreadPoolExecutor(max(CLIENTS)) as threads,
    ):
        urls = [server.url(path) for path in server.photos]

        def add(clients: int) -> float:
            adding = [threads.submit(_rate_of_adds, service.port, urls, logo_ids, seconds) for _ in range(clients)]
            return sum(client.result() for client in adding)

        measures: list[Callable[[], float]] = [partial(add, clients) for clients in CLIENTS]
        measures.append(lambda: rate(lambda: bare.embed(next(inputs)), seconds))
        for warm_up in measures:
            for _ in range(WORKERS):  # each worker loads the network with its first logo
                warm_up()
        fixture.say("adds: the service, and the bare interpreter, in turns")
        *added, interpreted = interleaved(fixture.scale.repetitions, *measures)
    return [_row(clients, rates, interpreted) for clients, rates in zip(CLIENTS, added, strict=True)]


def draw_photos(count: int, seed: int) -> list[bytes]:
    """Draw JPEG photos whose files are about as large as real ones of these dimensions."""
    rng = np.random.default_rng(seed)
    photos = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.float32)
        pixels += rng.normal(0, 4, pixels.shape)
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
        photos.append(file.getvalue())
    return photos


class Bare:
    """The runtime alone, with as many threads as in the service."""

    def __init__(self, model: ConvertedModel) -> None:
        self._interpreter = Interpreter(model_path=str(model.path), num_threads=Settings().workers.embed_threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def embed(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vector, `(dim,)`, of a preprocessed crop."""
        self._interpreter.set_tensor(self._input, pixels[np.newaxis])
        self._interpreter.invoke()
        vector: NDArray[np.float32] = self._interpreter.get_tensor(self._output)[0]
        return vector


def cropped(photo: bytes) -> Image.Image:
    """Return the logo cut out of a drawn photo."""
    return crop_logo(decode_rgb(photo, max_pixels=WIDTH * HEIGHT), BOX, logo_id=1, max_pixels=WIDTH * HEIGHT)


def rate(act: Callable[[], object], seconds: float) -> float:
    """Measure how many times a second a function can be called."""
    started, done = time.monotonic(), 0
    while (elapsed := time.monotonic() - started) < seconds:
        act()
        done += 1
    return done / elapsed


def _rate_of_adds(port: int, urls: Sequence[str], logo_ids: Iterator[int], seconds: float) -> float:
    with HttpClient(port) as client:

        def add() -> None:
            logo_id = next(logo_ids)
            answer = client.ask(_request(urls[logo_id % len(urls)], logo_id))
            assert json.loads(answer) == {"added": 1}, answer

        return rate(add, seconds)


def _request(url: str, logo_id: int) -> bytes:
    body = json.dumps({"image_url": url, "logos": [{"id": logo_id, "bounding_box": BOX}]}).encode()
    head = "POST /api/v1/ann/add HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _row(clients: int, added: list[float], interpreted: list[float]) -> Row:
    ratio = Ratio.of(added, interpreted)
    return Row(
        f"`POST /add` of one logo of a {WIDTH} × {HEIGHT} photo on loopback: {clients} client{'s'[: clients > 1]},"
        f" {WORKERS} workers",
        f"{median(added):.1f}/s",
        f"{median(interpreted):.1f}/s, bare LiteRT interpreter on the same crops, all threads",
        ratio,
        f"{REACH} of it",
        ratio.median >= REACH,
    )
