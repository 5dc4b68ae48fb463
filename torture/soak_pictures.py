"""The photos that a soak adds, the boxes of their logos, and files that are not photos."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from demo.marked_picture import Box
from demo.photos import make_photos


@dataclass(frozen=True, slots=True)
class Pictures:
    """Photos by path, and the boxes of the logos on each."""

    photos: dict[str, bytes]
    boxes: dict[str, list[Box]]


def pictures(seed: int, count: int) -> Pictures:
    """Draw `count` photos, one of them as large as a phone's, and some files that are not photos."""
    photos, boxes = {}, {}
    for photo in make_photos(count, seed):
        photos[f"/{photo.name}"] = photo.jpeg
        boxes[f"/{photo.name}"] = [logo.box for logo in photo.logos]
    whole = next(iter(photos.values()))
    large = io.BytesIO()
    with Image.open(io.BytesIO(whole)) as image:
        image.resize((3000, 4000)).save(large, "JPEG")
    boxes["/large.jpg"] = next(iter(boxes.values()))
    broken = {"/cut.jpg": whole[: len(whole) // 2], "/text.jpg": b"no image at all", "/empty.jpg": b""}
    return Pictures({**photos, "/large.jpg": large.getvalue(), **broken}, boxes)
