"""`POST /from_image`, one photo a request, beside a query by id and the bare interpreter, one after the other.

The request consists of those two, plus decoding, cropping and resizing. The goal is half of their combined rate, as for
adds.
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.add import BOX, HEIGHT, PHOTOS, WIDTH, Bare, cropped, draw_photos, rate
from benchmarks.fixture import COUNT, RELOAD, Fixture
from benchmarks.http_client import HttpClient
from benchmarks.table import Ratio, Row, interleaved
from embeddings.model.description import locate_model
from settings import Settings
from tests.end_to_end.service import Service

REACH = 0.5


def measure(fixture: Fixture) -> list[Row]:
    """Measure how many photos a second one client can search for."""
    model = locate_model(Settings().model.name, "bundled", Path())
    photos = draw_photos(PHOTOS, fixture.scale.seed)
    requests = itertools.cycle([_request(photo) for photo in photos])
    inputs = itertools.cycle([model.description.preprocessing.pixels(cropped(photo)) for photo in photos])
    logo_ids = itertools.cycle(fixture.indexed.logo_ids[fixture.sample(1000)].tolist())
    bare, seconds = Bare(model), fixture.scale.seconds
    with Service(fixture.indexed.data_dir, workers=1, **RELOAD) as service, HttpClient(service.port) as client:

        def by_image() -> None:
            client.ask(next(requests))

        def by_id_and_embedding() -> None:
            client.ask(f"GET /api/v1/ann/{next(logo_ids)}?count={COUNT} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            bare.embed(next(inputs))

        measures = [partial(rate, act, seconds) for act in (by_image, by_id_and_embedding)]
        for warm_up in measures:
            warm_up()
        fixture.say("queries by image, and what they are made of, in turns")
        ours, parts = interleaved(fixture.scale.repetitions, *measures)
    ratio = Ratio.of(ours, parts)
    return [
        Row(
            f"`POST /from_image?count={COUNT}` of a {WIDTH} × {HEIGHT} photo, {fixture.scale.logos:,} logos: one"
            f" client, one worker; {1000 / median(ours):.1f} ms each",
            f"{median(ours):.1f}/s",
            f"{median(parts):.1f}/s, a query by id and a bare embedding of the same crop, one after the other",
            ratio,
            f"{REACH} of it",
            ratio.median >= REACH,
        )
    ]


def _request(photo: bytes) -> bytes:
    box = ",".join(map(str, BOX))
    head = f"POST /api/v1/ann/from_image?count={COUNT}&bounding_box={box} HTTP/1.1\r\nHost: localhost\r\n"
    return f"{head}Content-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\n\r\n".encode() + photo
