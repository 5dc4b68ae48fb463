"""Turn labels into crops that look as if a detector had cut them from photos of packaging.

The order is that of light: print on a ground, bend and tilt the packaging, light it, cover part of it, then lose what
the lens, the sensor, JPEG and a small crop lose. The last step is the same as in serving: bicubic resizing to a square,
keeping the aspect ratio.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from embeddings.model.preprocessing import Preprocessing
from training.artwork import RgbaImage
from training.grounds import Grounds
from training.labels import Colour, Label

FloatImage = npt.NDArray[np.float32]
Crop = npt.NDArray[np.uint8]

SMALLEST_CROP, LARGEST_CROP = 22.0, 320.0
QUARTER_TURNS = 0.06


def photograph(
    label: Label, preprocessing: Preprocessing, rng: np.random.Generator, grounds: Grounds | None = None
) -> Crop:
    """Return one crop of `label` as the network sees it, `(size, size, 3)` uint8 RGB; each call draws another one."""
    size = preprocessing.size
    version = label.versions[0 if rng.random() < 0.7 else int(rng.integers(len(label.versions)))]
    quad, height_over_width = _view(version.shape[1], version.shape[0], rng)
    height, width = _crop_shape(height_over_width, size, rng)
    ground = label.palette.ground if rng.random() < 0.6 else _ground_for(label, rng)
    canvas = None if grounds is None else grounds.draw(height, width, ground, rng)
    if canvas is None:
        canvas = _ground(height, width, ground, rng)
    print_ = _projected(version, quad, height, width)
    if rng.random() < 0.3:
        print_ = _curved(print_, rng)
    if rng.random() < 0.04:
        print_ = _recoloured(print_, rng)
    alpha = print_[..., 3:] / 255.0
    photo = canvas * (1.0 - alpha) + print_[..., :3]
    photo = _lit(photo, rng)
    if rng.random() < 0.15:
        _cover(photo, rng)
    photo = _developed(photo, rng)
    pixels = _compressed(np.clip(photo, 0.0, 255.0).astype(np.uint8), rng)
    return np.asarray(preprocessing.square(Image.fromarray(pixels)), dtype=np.uint8)


def _view(width: int, height: int, rng: np.random.Generator) -> tuple[FloatImage, float]:
    """Return the corners of the tilted label in fractions of the crop, (4, 2), and the crop's height over its width."""
    corners: FloatImage = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    spread = 0.16 if rng.random() < 0.35 else 0.05
    corners += rng.uniform(-spread, spread, (4, 2)).astype(np.float32) * min(width, height)
    degrees = float(rng.normal(0.0, 14.0 if rng.random() < 0.3 else 4.0))
    if rng.random() < QUARTER_TURNS:
        degrees += 90.0 * float(rng.integers(1, 4))
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]], dtype=np.float32)
    corners = corners @ rotation
    low, high = corners.min(axis=0), corners.max(axis=0)
    loose = rng.random()
    reach = (0.03, 0.05) if loose < 0.45 else (0.05, 0.2) if loose < 0.85 else (0.12, 0.5)
    shorter = float((high - low).min())
    low = low - rng.uniform(-reach[0], reach[1], 2).astype(np.float32) * shorter
    high = high + rng.uniform(-reach[0], reach[1], 2).astype(np.float32) * shorter
    extent = high - low
    return ((corners - low) / extent).astype(np.float32), float(extent[1] / extent[0])


def _crop_shape(height_over_width: float, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return the size of the crop in its photo, (height, width) in pixels, at most what preprocessing keeps."""
    side = float(np.exp(rng.uniform(np.log(SMALLEST_CROP), np.log(LARGEST_CROP))))
    stretch = height_over_width**0.5
    kept = min(1.0, size / (side * max(stretch, 1.0 / stretch)))  # one factor for both: serving keeps the aspect ratio
    return max(12, int(side * stretch * kept)), max(12, int(side / stretch * kept))


def _projected(source: RgbaImage, quad: FloatImage, height: int, width: int) -> FloatImage:
    corners = quad * np.array([width, height], dtype=np.float32)
    covered = np.maximum(np.ptp(corners, axis=0), 4.0)
    shrink = min(1.0, float(covered[0]) / source.shape[1] * 1.2), min(1.0, float(covered[1]) / source.shape[0] * 1.2)
    if min(shrink) < 0.8:  # average areas first: the projection only samples, and would drop thin strokes
        sides = (max(4, round(source.shape[1] * shrink[0])), max(4, round(source.shape[0] * shrink[1])))
        source = np.asarray(cv2.resize(source, sides, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    bottom, right = source.shape[:2]
    edges = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], dtype=np.float32)
    homography = cv2.getPerspectiveTransform(edges, corners.astype(np.float32))
    return np.asarray(
        cv2.warpPerspective(source, homography, (width, height), flags=cv2.INTER_LINEAR), dtype=np.float32
    )


def _curved(print_: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Wrap the print round a can, upright or lying, seen from slightly above or below."""
    height, width = print_.shape[:2]
    y, x = np.mgrid[-1.0 : 1.0 : height * 1j, -1.0 : 1.0 : width * 1j].astype(np.float32)
    half_angle = float(rng.uniform(0.4, 1.2))
    sag = float(rng.uniform(-0.25, 0.25))
    if rng.random() < 0.75:
        source_x, source_y = np.arcsin(x * np.sin(half_angle)) / half_angle, y + sag * x * x
    else:
        source_x, source_y = x + sag * y * y, np.arcsin(y * np.sin(half_angle)) / half_angle
    map_x = ((source_x + 1.0) / 2.0 * (width - 1)).astype(np.float32)
    map_y = ((source_y + 1.0) / 2.0 * (height - 1)).astype(np.float32)
    return np.asarray(cv2.remap(print_, map_x, map_y, cv2.INTER_LINEAR), dtype=np.float32)


def _recoloured(print_: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Return the same logo in other colours: channels swapped, or all in one ink."""
    inked = float(print_[..., 3].mean()) / 255.0
    if inked > 0.5 or rng.random() < 0.5:  # a plate in one ink would show nothing
        return print_[..., [*rng.permutation(3), 3]]
    ink = np.array(_any_colour(rng), dtype=np.float32)
    return np.concatenate([ink * (print_[..., 3:] / 255.0), print_[..., 3:]], axis=2).astype(np.float32)


def _ground_for(label: Label, rng: np.random.Generator) -> Colour:
    """Return a colour on which the ink of the label is visible."""
    while True:
        ground = _any_colour(rng)
        if sum(abs(a - b) for a, b in zip(ground, label.palette.ink, strict=True)) > 120:
            return ground


def _any_colour(rng: np.random.Generator) -> Colour:
    kind = rng.random()
    if kind < 0.3:
        grey = int(rng.integers(200, 256))
        return (grey, grey, grey)
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return (red, green, blue)


def _ground(height: int, width: int, colour: Colour, rng: np.random.Generator) -> FloatImage:
    """Draw the ground under and around the logo: plain, shaded, textured, or with other print on it."""
    canvas: FloatImage = np.empty((height, width, 3), dtype=np.float32)
    canvas[:] = colour
    kind = rng.random()
    if kind < 0.35:
        return canvas
    if kind < 0.55:
        other: FloatImage = np.array(_any_colour(rng), dtype=np.float32)
        share = _ramp(height, width, rng)[..., None] * np.float32(rng.uniform(0.2, 1.0))
        return np.asarray(canvas + share * (other - canvas), dtype=np.float32)
    if kind < 0.75:
        return canvas + _clouds(height, width, 3, rng) * np.float32(rng.uniform(10.0, 90.0))
    printed = canvas.astype(np.uint8)
    for _ in range(int(rng.integers(2, 9))):
        ink = _any_colour(rng)
        x, y = int(rng.integers(-width // 4, width * 5 // 4)), int(rng.integers(-height // 4, height * 5 // 4))
        reach = max(2, int(rng.uniform(0.05, 0.5) * max(height, width)))
        shape = rng.integers(4)
        if shape == 0:
            cv2.circle(printed, (x, y), reach, ink, -1, cv2.LINE_AA)
        elif shape == 1:
            cv2.rectangle(printed, (x, y), (x + reach, y + int(rng.integers(1, reach + 1))), ink, -1)
        elif shape == 2:
            end = (int(rng.integers(0, width)), int(rng.integers(0, height)))
            cv2.line(printed, (x, y), end, ink, max(1, reach // 8), cv2.LINE_AA)
        else:
            text = "".join(chr(int(code)) for code in rng.integers(97, 123, 5))
            cv2.putText(
                printed, text, (x, y), int(rng.integers(8)), reach / 40.0, ink, max(1, reach // 25), cv2.LINE_AA
            )
    return printed.astype(np.float32)


def _ramp(height: int, width: int, rng: np.random.Generator) -> FloatImage:
    """Return a linear ramp from 0 to 1 in a random direction, (height, width)."""
    angle = float(rng.uniform(0.0, 2.0 * np.pi))
    across = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :] * np.float32(np.cos(angle))
    ramp = across + np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    return np.asarray((ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-6), dtype=np.float32)


def _clouds(height: int, width: int, channels: int, rng: np.random.Generator) -> FloatImage:
    """Return smooth noise around 0 at two scales, (height, width, channels)."""
    total: FloatImage = np.zeros((height, width, channels), dtype=np.float32)
    for cells in (int(rng.integers(2, 6)), int(rng.integers(6, 24))):
        noise = rng.standard_normal((cells, cells, channels), dtype=np.float32)
        grown = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        total += np.asarray(grown, dtype=np.float32).reshape(height, width, channels) * float(rng.uniform(0.2, 0.7))
    return total


def _lit(photo: FloatImage, rng: np.random.Generator) -> FloatImage:
    height, width = photo.shape[:2]
    if rng.random() < 0.5:
        shade = 1.0 - _ramp(height, width, rng) * float(rng.uniform(0.1, 0.6))
        photo = photo * shade[..., None]
    if rng.random() < 0.2:
        photo = photo * (1.0 + _clouds(height, width, 1, rng) * float(rng.uniform(0.05, 0.3)))
    if rng.random() < 0.2:  # glare: foil, plastic, a can
        y, x = np.mgrid[0.0 : 1.0 : height * 1j, 0.0 : 1.0 : width * 1j].astype(np.float32)
        angle, sharpness = float(rng.uniform(0.0, np.pi)), float(rng.uniform(3.0, 12.0))
        along = (x - rng.random()) * np.cos(angle) + (y - rng.random()) * np.sin(angle)
        beside = (x - rng.random()) * np.sin(angle) - (y - rng.random()) * np.cos(angle)
        glare = np.exp(-((along * sharpness) ** 2) - (beside * float(rng.uniform(0.3, 3.0))) ** 2)
        photo = photo + (255.0 - photo) * (glare * float(rng.uniform(0.3, 0.95)))[..., None]
    return np.asarray(photo, dtype=np.float32)


def _cover(photo: FloatImage, rng: np.random.Generator) -> None:
    """Hide a part, as a thumb, a fold or a price tag does."""
    height, width = photo.shape[:2]
    tall, wide = rng.uniform(0.1, 0.35, 2)
    top, left = rng.uniform(-0.1, 1.0, 2)
    rows = slice(max(0, int(top * height)), max(0, int((top + tall) * height)))
    columns = slice(max(0, int(left * width)), max(0, int((left + wide) * width)))
    photo[rows, columns] = _any_colour(rng)


def _developed(photo: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Apply a telephone's white balance, exposure, contrast and saturation, then its blur and noise."""
    gains = rng.normal(1.0, 0.09, 3) * float(rng.uniform(0.55, 1.2))
    photo = photo * gains.astype(np.float32)
    contrast = 1.0 + float(rng.uniform(-0.45, 0.15))
    saturation = 1.0 + float(rng.uniform(-0.6, 0.35))
    mean = float(photo.mean())
    photo = (photo - mean) * contrast + mean + float(rng.uniform(-15.0, 35.0))
    grey = photo.mean(axis=2, keepdims=True)
    photo = grey + (photo - grey) * saturation
    if rng.random() < 0.45:
        sigma = float(rng.uniform(0.3, 1.1)) * max(0.7, min(photo.shape[:2]) / 48.0)
        photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), sigma), dtype=np.float32)
    if rng.random() < 0.1:
        length = int(rng.integers(3, 8))
        kernel = np.zeros((length, length), dtype=np.float32)
        cv2.line(kernel, (0, int(rng.integers(length))), (length - 1, int(rng.integers(length))), 1.0, 1)
        photo = np.asarray(cv2.filter2D(photo, -1, kernel / kernel.sum()), dtype=np.float32)
    if rng.random() < 0.4:
        photo = photo + rng.standard_normal(photo.shape, dtype=np.float32) * float(rng.uniform(1.0, 9.0))
    return np.asarray(photo, dtype=np.float32)


def _compressed(pixels: Crop, rng: np.random.Generator) -> Crop:
    if rng.random() < 0.4:
        return pixels
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 96))])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), dtype=np.uint8)
