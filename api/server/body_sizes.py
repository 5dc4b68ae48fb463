"""The largest body of each path. The worker's loop does not wait for a larger one, and the app refuses it unread."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

API = "/api/v1/ann"
FROM_IMAGE = f"{API}/from_image"
PREDICT = f"{API}/predict"
ADD_EMBEDDINGS = f"{API}/add_embeddings"

# RFC 9112, section 3.2: the origin or the absolute form. The path must be the one that the app will see. Otherwise the
# app would wait for a body that the loop did not receive.
_TARGET = re.compile(rb"[!-~]+ (?:[A-Za-z][A-Za-z0-9+.-]*://[^/?# ]*)?(/[^?# ]*)")


@dataclass(frozen=True, slots=True)
class BodySizes:
    """The largest bodies that are read, in bytes.

    Attributes:
        usual: the limit of all paths that are not in `of_paths`.
        of_paths: the limits of some paths, written without a trailing slash. They also apply to paths that end like
            them: the app may be mounted below a prefix (`SCRIPT_NAME`), which the loop sees and the app does not.
    """

    usual: int = 2**20
    of_paths: Mapping[str, int] = field(default_factory=dict)

    def of(self, path: str) -> int:
        """Return the largest body of a path, in bytes."""
        path = path.rstrip("/")
        return next((size for end, size in self.of_paths.items() if path.endswith(end)), self.usual)

    def of_request(self, first_line: bytes) -> int:
        """Return the largest body of a request with this first line, in bytes; the line may be invalid."""
        target = _TARGET.match(first_line)
        return self.of(unquote_to_bytes(target[1]).decode("latin-1")) if target else self.usual


def body_sizes(*, usual: int, image: int, embeddings: int) -> BodySizes:
    """Return the limits: `image` and `embeddings` bytes for the routes that receive these, `usual` for the others."""
    return BodySizes(usual, {FROM_IMAGE: image, PREDICT: image, ADD_EMBEDDINGS: embeddings})
