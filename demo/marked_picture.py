"""A picture that knows where its logos are, however it is moved.

Every step that moves pixels (place, tilt, scale, cut) moves one mask per logo along, so nobody computes where
a logo went: its box is read off its mask.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageChops

Box = tuple[float, float, float, float]

SHOWS = 100  # opacity, of 255, from which a pixel of a mask counts as the logo's


@dataclass(frozen=True, slots=True)
class MarkedPicture:
    """A picture and the masks of the logos on it.

    Attributes:
        picture: RGBA.
        masks: one L picture of the same size per logo, opaque where that logo shows.
    """

    picture: Image.Image
    masks: tuple[Image.Image, ...]

    def placed(self, size: tuple[int, int], at: tuple[int, int]) -> MarkedPicture:
        """Put it at a place of a larger transparent picture."""
        layers = [Image.new(layer.mode, size) for layer in self._layers()]
        for layer, own in zip(layers, self._layers(), strict=True):
            layer.paste(own, at)
        return MarkedPicture(layers[0], tuple(layers[1:]))

    def tilted(self, degrees: float) -> MarkedPicture:
        """Rotate it counter-clockwise; it grows by the corners."""
        first, *rest = [layer.rotate(degrees, Image.Resampling.BILINEAR, expand=True) for layer in self._layers()]
        return MarkedPicture(first, tuple(rest))

    def shrunk_into(self, width: float, height: float) -> MarkedPicture:
        """Scale it down until it fits; one that fits is left as it is."""
        scale = min(1.0, width / self.picture.width, height / self.picture.height)
        size = (round(self.picture.width * scale), round(self.picture.height * scale))
        first, *rest = [layer.resize(size, Image.Resampling.BILINEAR) for layer in self._layers()]
        return MarkedPicture(first, tuple(rest))

    def cut(self, outline: Image.Image) -> MarkedPicture:
        """Leave what lies inside an outline, an L picture of the same size."""
        picture = self.picture.copy()
        picture.putalpha(outline)
        return MarkedPicture(picture, tuple(ImageChops.multiply(mask, outline) for mask in self.masks))

    def boxes(self, size: tuple[int, int], at: tuple[int, int]) -> list[Box]:
        """Answer each logo's `(y_min, x_min, y_max, x_max)`, once this lies at a place of a picture of that size.

        They are fractions of the height and the width.
        """
        return [_box(mask, size, at) for mask in self.masks]

    def _layers(self) -> tuple[Image.Image, ...]:
        return self.picture, *self.masks


def _box(mask: Image.Image, size: tuple[int, int], at: tuple[int, int]) -> Box:
    bounds = mask.point([255 if opacity > SHOWS else 0 for opacity in range(256)]).getbbox()
    if bounds is None:
        raise AssertionError("a pack hides its logo")
    left, top, right, bottom = bounds
    return (
        max(0.0, (top + at[1]) / size[1]),
        max(0.0, (left + at[0]) / size[0]),
        min(1.0, (bottom + at[1]) / size[1]),
        min(1.0, (right + at[0]) / size[0]),
    )
