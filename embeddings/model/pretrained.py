"""Download weights that others trained and released, once, and check their digest before anything reads them.

The digest alone decides. A file with the right digest is good wherever it came from, a mirror or an operator's hand.
Any other file is replaced, so a truncated file is simply downloaded again. Proxies come from the environment
(`https_proxy`, `no_proxy`), as for curl.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from durable import atomic_write
from embeddings.errors import ModelError

logger = logging.getLogger(__name__)

# EfficientNet-B0 without its top is 4,049,564 single-precision numbers: 16 MB.
MAX_BYTES = 64 * 2**20

_BLOCK_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class PretrainedFile:
    """A file of Keras weights without the top, as its authors released it.

    `algorithm` names a hash of `hashlib`; `digest` is the file's hash in lower-case hexadecimal.
    """

    base_url: str
    file_name: str
    algorithm: str
    digest: str
    source: str
    licence: str

    @property
    def url(self) -> str:
        """The address at which its authors released it."""
        return f"{self.base_url}/{self.file_name}"


# By the word that selects them. Names, addresses and digests are those of `efficientnet/weights.py` and
# `efficientnet/model.py` in efficientnet 1.1.1, which publishes only an MD5 for noisy-student.
PRETRAINED = {
    "imagenet": PretrainedFile(
        base_url="https://github.com/Callidior/keras-applications/releases/download/efficientnet",
        file_name="efficientnet-b0_weights_tf_dim_ordering_tf_kernels_autoaugment_notop.h5",
        algorithm="sha256",
        digest="c1421ad80a9fc67c2cc4000f666aa50789ce39eedb4e06d531b0c593890ccff3",
        source="https://github.com/Callidior/keras-applications/releases/tag/efficientnet",
        licence="Apache-2.0",
    ),
    "noisy-student": PretrainedFile(
        base_url="https://github.com/qubvel/efficientnet/releases/download/v0.0.1",
        file_name="efficientnet-b0_noisy-student_notop.h5",
        algorithm="md5",
        digest="a5b48ae7547fc990c7e4f3951230290d",
        source="https://github.com/qubvel/efficientnet/releases/tag/v0.0.1",
        licence="Apache-2.0",
    ),
}


def fetch_pretrained(
    weights: str,
    cache_dir: Path,
    *,
    base_url: str | None = None,
    timeout_seconds: float = 900.0,
    silence_seconds: float = 30.0,
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Return the path of these weights in `cache_dir`; download them first if they are not there.

    The file appears whole or not at all, and several processes may do this at once. A server that sends its headers
    very slowly can exceed `timeout_seconds`; one that sends the file slowly cannot.

    Args:
        weights: a key of `PRETRAINED`.
        cache_dir: created if missing.
        base_url: an http or https URL to download from instead; the file's name is added to it.
        timeout_seconds: the limit for the whole download.
        silence_seconds: the longest wait for a connection, and for the next bytes.
        max_bytes: the largest file accepted.

    Raises:
        ModelError: the file cannot be downloaded or stored; the message says what to do.
    """
    file = PRETRAINED[weights]
    path = cache_dir / file.file_name
    url = f"{base_url.rstrip('/')}/{file.file_name}" if base_url else file.url
    try:
        if path.exists():
            if _digest(path, file) == file.digest:
                return path
            logger.warning("%s does not match the digest of the released file: downloading it again", path)
        cache_dir.mkdir(parents=True, exist_ok=True)
        logger.info("downloading %s", url)
        _download(path, file, _blocks(url, timeout_seconds, silence_seconds, max_bytes))
    except _DownloadError as error:
        raise ModelError(
            f"the {weights} weights were not downloaded from {url}: {error}. Try again; or download {file.url} by other"
            f" means and put it at {path}; or set ANN_WEIGHTS_URL to a mirror, or ANN_WEIGHTS to bundled or to the path"
            " of a Keras weights file"
        ) from error
    except OSError as error:
        raise ModelError(
            f"the {weights} weights cannot be stored at {path}: {error}. Free space there, or let this user write there"
        ) from error
    return path


class _DownloadError(Exception):
    """A reason that can end a sentence."""


def _download(path: Path, file: PretrainedFile, blocks: Iterator[bytes]) -> None:
    digest = hashlib.new(file.algorithm, usedforsecurity=False)
    with atomic_write(path) as output:
        for block in blocks:
            digest.update(block)
            output.write(block)
        if digest.hexdigest() != file.digest:
            raise _DownloadError(f"it is another file: its {file.algorithm} is {digest.hexdigest()}, not {file.digest}")


def _blocks(url: str, timeout_seconds: float, silence_seconds: float, max_bytes: int) -> Iterator[bytes]:
    """Yield the body of the response. Every error of the server, the network or the URL is a `_DownloadError`."""
    import requests  # not needed for serving; installed with TensorFlow, which converts the download
    from urllib3.exceptions import HTTPError

    deadline = time.monotonic() + timeout_seconds
    headers = {"User-Agent": "robotoff-ann", "Accept-Encoding": "identity"}
    received = 0
    try:
        with requests.get(url, headers=headers, stream=True, timeout=min(silence_seconds, timeout_seconds)) as response:
            if response.status_code != 200:
                raise _DownloadError(f"its server answered with status {response.status_code}, not 200")
            # `iter_content` waits for full blocks, so a slow server could take it past the deadline.
            while block := response.raw.read1(_BLOCK_BYTES):
                received += len(block)
                if received > max_bytes:
                    raise _DownloadError(f"it is larger than {max_bytes:,} bytes")
                if time.monotonic() > deadline:
                    raise _DownloadError(f"it took longer than {timeout_seconds:g} seconds")
                yield block
    except (requests.RequestException, HTTPError) as error:
        reason = getattr(error.args[0], "reason", error) if error.args else error
        raise _DownloadError(f"{reason}") from error


def _digest(path: Path, file: PretrainedFile) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(file.algorithm, usedforsecurity=False)).hexdigest()
