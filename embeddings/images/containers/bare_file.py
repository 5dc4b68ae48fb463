"""An image file without what its pixels do not need. This module states the policy; the others apply it to a format.

The policy:

- What the pixels do not need may not refuse an image. Metadata, previews, colour profiles, further frames, checksums of
  such parts, a missing end marker and whatever follows the image are skipped here, unread and unpacked, so Pillow never
  sees them. Of the metadata, only the orientation is read.
- What is cut or damaged among the pixels, or among what they need (sizes, palettes, tables, transparency), refuses it.
- Nothing is decoded by interpreted code. Pillow walks the parts of a file in Python, and so do these modules: a file of
  more than `MOST_PARTS` is refused. A photo of 20 MB has fewer than 80,000, even if it is a GIF full of comments.

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
    """An image file that holds what its pixels need, and little else.

    Attributes:
        data: the file.
        orientation: Exif's, 1 to 8: how viewers turn the pixels. 1, as they are stored, if the file names none.
        padded: of a JPEG without an end marker, the same file with noise behind its last scan. The pixels of both are
            equal unless the scan was cut.
        scans: of a JPEG, the number of its scans.
    """

    data: bytes
    orientation: int = UPRIGHT
    padded: bytes | None = None
    scans: int = 0


def too_many_parts(image_format: str) -> ImageDecodeError:
    """Return the refusal of a file that consists of tiny parts."""
    return ImageDecodeError(f"The image is a {image_format} of more than {MOST_PARTS:,} parts: save it again.")
