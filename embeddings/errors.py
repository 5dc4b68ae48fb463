"""Errors between a photo and its row on disk.

EmbeddingsError
├── ImageError                 the image or a box cannot be used; the client can correct it
│   ├── ImageFetchError        the image could not be downloaded
│   │   └── HostUnreachableError   its host does not answer, or too late: other images of that host will fail too
│   ├── ImageDecodeError       the download is not an image, or the image is too large
│   └── BoundingBoxError       a box selects no usable part of the image (names the logo)
├── StoreError                 the store cannot do this now; the operator can correct it
│   ├── StoreLayoutError       the file is not a store that this version reads
│   ├── StoreModelError        another model made its vectors
│   ├── StoreFullError         no row is left
│   ├── StoreUnavailableError  the store refuses writes: a sync failed, or the file vanished
│   ├── DamagedRowError        a row disagrees with its checksum
│   └── BackupError            a file is not a backup of the store, or does not read back
├── ParquetError               a Parquet file cannot be used
├── ExhaustedError             this process is out of descriptors or memory; a retry may succeed
└── ModelError                 weights are missing, damaged or not converted
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class EmbeddingsError(Exception):
    """The root of this room's errors. Its message is written for operators and clients."""


class ImageError(EmbeddingsError):
    """The image of a request, or one of its boxes, cannot be used."""


class ImageFetchError(ImageError):
    """The image could not be downloaded."""


class HostUnreachableError(ImageFetchError):
    """The image's host does not answer, or answers too late."""


class ImageDecodeError(ImageError):
    """The download is not an image, or is a broken or too large one."""


class BoundingBoxError(ImageError):
    """A bounding box selects no usable part of its image."""


class StoreError(EmbeddingsError):
    """The store cannot do what was asked."""


class StoreLayoutError(StoreError):
    """The file is not a store that this version reads."""


class StoreModelError(StoreError):
    """Another model than the configured one made the vectors in the store."""


class StoreFullError(StoreError):
    """The store has too few free rows for this append."""


class StoreUnavailableError(StoreError):
    """The store refuses to write until it is opened again."""


class DamagedRowError(StoreError):
    """A stored row disagrees with its checksum."""


class BackupError(StoreError):
    """A file is not a backup of this store, or is a damaged one."""


class ParquetError(EmbeddingsError):
    """A Parquet file cannot be read, written or understood, or pyarrow is not installed."""


class ExhaustedError(EmbeddingsError):
    """This process has no file descriptor or memory left for the operation."""


class ModelError(EmbeddingsError):
    """The weights of a model are missing, damaged, or have no converted file."""


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn the operating system's errors into this room's: StoreFullError for a full disk, else unavailable."""
    try:
        yield
    except OSError as error:
        raise store_error(doing, error) from error


def store_error(doing: str, error: OSError) -> StoreError:
    """Return this room's error for one of the operating system's."""
    if error.errno in _NO_ROOM:
        return StoreFullError(f"cannot {doing}: {error.strerror}; make room on its disk")
    return StoreUnavailableError(f"cannot {doing}: {error.strerror or error}")
