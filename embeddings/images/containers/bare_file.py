"""An image file reduced to the parts that its pixels need. This module states the rules; each other one applies them.

The rules:

- An image is never refused for parts that its pixels do not need. Metadata, previews, colour profiles, further frames,
  checksums of such parts, a missing end marker and anything after the image are skipped here, neither read nor
  unpacked, so Pillow never sees them. Of the metadata, only the orientation is read.
- An image is refused if its pixels, or parts that they need (sizes, palettes, tables, transparency), are truncated or
  damaged.
- Nothing is decoded by interpreted code. Pillow goes through the parts of a file in Python, and so do these modules, so
  a file of more than `MOST_PARTS` is refused. A photo of 20 MB has fewer than 80,000, even a GIF full of comments.

| format | kept                                        | joined or refused                                           |
|--------|---------------------------------------------|-------------------------------------------------------------|
| PNG    | IHDR, PLTE, tRNS, IDAT, checksums verified  | IDAT chunks are joined                                      |
| JPEG   | tables, frame and scans; APP0, APP14        | over 1 MiB of tables and heads of scans is refused          |
| WebP   | the image chunks, or the first ANMF         |                                                             |
| GIF    | the screen, the first frame and its control |                                                             |
| BMP    | all                                         | run lengths are refused: Pillow decodes them in Python      |
| TIFF   | the tags of the first directory that matter | tiles are refused, and over 65,536 strips (2^20 compressed) |
"""

from __future__ import annotations

from dataclasses import dataclass

from embeddings.errors import ImageDecodeError

UPRIGHT = 1
MOST_PARTS = 2**17


@dataclass(frozen=True, slots=True)
class BareFile:
    """An image file that contains the parts that its pixels need, and little else.

    Attributes:
        data: the file.
        orientation: how viewers rotate or flip the pixels: Exif's value, 1 to 8; 1 if the file states none.
        padded: for a JPEG without an end marker, the same file with noise after its last scan. Their pixels are equal
            unless the scan is truncated.
        scans: the number of scans of a JPEG.
    """

    data: bytes
    orientation: int = UPRIGHT
    padded: bytes | None = None
    scans: int = 0


def too_many_parts(image_format: str) -> ImageDecodeError:
    """Return the error for a file of too many parts."""
    return ImageDecodeError(f"The image is a {image_format} of more than {MOST_PARTS:,} parts: save it again.")
