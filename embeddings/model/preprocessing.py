"""From a crop of any size to the pixels that a network sees: fit, fill and normalise, as its description says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RESAMPLING = Image.Resampling.BICUBIC
"""How crops are resized: bicubic, as in the evaluation of the ImageNet weights by the `efficientnet` package, and
antialiased, as in all of Pillow's filters.
"""

Fit = Literal["letterbox", "squash"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How crops become the input of a network.

    Attributes:
        fit: "letterbox" keeps the aspect ratio of a crop and centres it on `fill`; "squash" stretches it to the square.
        fill: the grey, 0 to 255, around a letterboxed crop.
        size: height and width of the input, in pixels.
        mean: subtracted from each channel, after its division by 255.
        std: divides each channel after that.
    """

    fit: Fit
    fill: int
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def fitted_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height that a crop of this size has within the input."""
        if self.fit == "squash":
            return self.size, self.size
        scale = self.size / max(width, height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def fitted(self, crop: Image.Image) -> Image.Image:
        """Return an RGB crop at its size within the input. A crop of that size is returned unchanged."""
        size = self.fitted_size(*crop.size)
        return crop if crop.size == size else crop.resize(size, RESAMPLING)

    def square(self, crop: Image.Image) -> Image.Image:
        """Return an RGB crop as the whole input, `size` by `size` pixels."""
        fitted = self.fitted(crop)
        if fitted.size == (self.size, self.size):
            return fitted
        canvas = Image.new("RGB", (self.size, self.size), (self.fill,) * 3)
        canvas.paste(fitted, ((self.size - fitted.width) // 2, (self.size - fitted.height) // 2))
        return canvas

    def pixels(self, crop: Image.Image) -> NDArray[np.float32]:
        """Return the pixels that the network sees of a crop of any size and mode, `(size, size, 3) float32`."""
        rgb = crop if crop.mode == "RGB" else crop.convert("RGB")  # `convert` would copy an RGB image, 4 bytes a pixel
        std = np.array(self.std, dtype=np.float32)
        # One row of pixels as one vector: several times faster than multiplying along an axis of three.
        scale = np.tile(np.float32(1 / 255) / std, self.size)
        shift = np.tile(np.array(self.mean, dtype=np.float32) / std, self.size)
        pixels = np.asarray(self.square(rgb)).reshape(self.size, self.size * 3).astype(np.float32)
        pixels *= scale
        pixels -= shift
        return pixels.reshape(self.size, self.size, 3)


LITE0_PREPROCESSING = Preprocessing(fit="letterbox", fill=127, size=192, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
"""(x - 127) / 128 for values 0 to 255, as in `efficientnet/lite` of tensorflow/tpu.

Crops are a fifth larger than in training, because a network that was trained on augmented crops finds more so (Touvron
et al. 2019, "Fixing the train-test resolution discrepancy", arXiv:1906.06423).
"""

B0_PREPROCESSING = Preprocessing(
    fit="squash", fill=127, size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
"""As in the training of ImageNet and noisy-student weights: `efficientnet.model.preprocess_input`, mode "torch"."""
