"""Adds are measured beside the bare interpreter at a size that takes seconds; how fast anything is, is not tested."""

from __future__ import annotations

from pathlib import Path

from benchmarks.add import BOX, CLIENTS, HEIGHT, WIDTH, draw_photos, measure
from benchmarks.fixture import Fixture, Scale
from embeddings.images.decode import crop_logo, decode_rgb


def test_each_number_of_clients_has_a_row(tmp_path: Path) -> None:
    rows = measure(Fixture(Scale(repetitions=1, seconds=0.3), tmp_path, lambda _what: None))
    assert len(rows) == len(CLIENTS)
    for row, clients in zip(rows, ("1 client,", "2 clients,"), strict=True):
        assert clients in row.what
        assert row.ratio.median > 0


def test_the_same_seed_draws_the_same_photos_that_differ() -> None:
    photos = draw_photos(3, 1)
    assert photos == draw_photos(3, 1)
    assert len({*photos, *draw_photos(3, 2)}) == 6


def test_photos_have_the_stated_size_and_a_logo() -> None:
    image = decode_rgb(draw_photos(1, 1)[0], max_pixels=WIDTH * HEIGHT)
    assert image.size == (WIDTH, HEIGHT)
    assert crop_logo(image, BOX, logo_id=1, max_pixels=WIDTH * HEIGHT).size == (250, 187)
