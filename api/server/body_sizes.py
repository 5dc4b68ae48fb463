"""How large a request's body may be: the worker's loop waits for no larger one, and the app refuses it unread."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

API = "/api/v1/ann"
FROM_IMAGE = f"{API}/from_image"
ADD_EMBEDDINGS = f"{API}/add_embeddings"

# RFC 9112, section 3.2: the origin or the absolute form. What the app takes for a path must be one here, too: else it
# would wait for a body that was never received.
_TARGET = re.compile(rb"[!-~]+ (?:[A-Za-z][A-Za-z0-9+.-]*://[^/?# ]*)?(/[^?# ]*)")


@dataclass(frozen=True, slots=True)
class BodySizes:
    """The largest bodies that are read, in bytes.

    Attributes:
        usual: of any path but those of `of_paths`.
        of_paths: of some paths, without a slash at their end, and of those that end with them: the app may be mounted
            below another path (`SCRIPT_NAME`), which the loop sees and the app does not.
    """

    usual: int = 2**20
    of_paths: Mapping[str, int] = field(default_factory=dict)

    def of(self, path: str) -> int:
        """Return the largest body that a path takes."""
        path = path.rstrip("/")
        return next((size for end, size in self.of_paths.items() if path.endswith(end)), self.usual)

    def of_request(self, first_line: bytes) -> int:
        """Return the largest body of a request that begins with this line, whatever the line is."""
        target = _TARGET.match(first_line)
        return self.of(unquote_to_bytes(target[1]).decode("latin-1")) if target else self.usual


def body_sizes(*, usual: int, image: int, embeddings: int) -> BodySizes:
    """Return the limits of the routes: `image` and `embeddings` bytes where they take these, `usual` elsewhere."""
    return BodySizes(usual, {FROM_IMAGE: image, ADD_EMBEDDINGS: embeddings})
