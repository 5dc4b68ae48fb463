"""A picture that keeps track of its logos while it is moved, tilted, scaled or cut.

Each step treats the mask of every logo like the picture. So the final box of a logo is simply the bounding box of its
mask.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageChops

Box = tuple[float, float, float, float]

SHOWS = 100  # a pixel of a mask belongs to the logo if its opacity, 0 to 255, is above this


@dataclass(frozen=True, slots=True)
class MarkedPicture:
    """A picture and the masks of the logos on it.

    Attributes:
        picture: RGBA.
        masks: for each logo an L picture of the same size, opaque where the logo is.
    """

    picture: Image.Image
    masks: tuple[Image.Image, ...]

    def placed(self, size: tuple[int, int], at: tuple[int, int]) -> MarkedPicture:
        """Place it on a larger transparent picture."""
        layers = [Image.new(layer.mode, size) for layer in self._layers()]
        for layer, own in zip(layers, self._layers(), strict=True):
            layer.paste(own, at)
        return MarkedPicture(layers[0], tuple(layers[1:]))

    def tilted(self, degrees: float) -> MarkedPicture:
        """Rotate it counter-clockwise; the result is large enough for the corners."""
        first, *rest = [layer.rotate(degrees, Image.Resampling.BILINEAR, expand=True) for layer in self._layers()]
        return MarkedPicture(first, tuple(rest))

    def shrunk_into(self, width: float, height: float) -> MarkedPicture:
        """Scale it down to fit; if it already fits, it keeps its size."""
        scale = min(1.0, width / self.picture.width, height / self.picture.height)
        size = (round(self.picture.width * scale), round(self.picture.height * scale))
        first, *rest = [layer.resize(size, Image.Resampling.BILINEAR) for layer in self._layers()]
        return MarkedPicture(first, tuple(rest))

    def cut(self, outline: Image.Image) -> MarkedPicture:
        """Keep only what is inside an outline, an L picture of the same size."""
        picture = self.picture.copy()
        picture.putalpha(outline)
        return MarkedPicture(picture, tuple(ImageChops.multiply(mask, outline) for mask in self.masks))

    def boxes(self, size: tuple[int, int], at: tuple[int, int]) -> list[Box]:
        """Return the box of each logo when this picture is placed at `at` on a picture of `size`.

        A box is `(y_min, x_min, y_max, x_max)`, in fractions of height and width.
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
