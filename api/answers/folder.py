"""Serve the files of a page from a folder: those that were there at start, and no others.

The files are kept in memory, compressed where that saves bytes. A request looks its file up by name in a dict, so no
path can lead out of the folder. A large file may be stored as `NAME.gz` only; it is served as `NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import falcon

from api.answers.representation import REVALIDATE, Representation

# Files of other types, such as README.md, are not served.
CONTENT_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
}


@dataclass(frozen=True, slots=True)
class StaticFolder:
    """`GET .../{file}`: a file of a folder, by name.

    Attributes:
        folder: read once, when this is created; subfolders are ignored.
        content_security_policy: header that says what the pages may load; sent with every file.
        cache_control: header that says how long a browser may reuse a file without asking.
        files: the files by name.
    """

    folder: Path
    content_security_policy: str
    cache_control: str = REVALIDATE
    files: Mapping[str, Representation] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", dict(_read(path) for path in sorted(self.folder.iterdir()) if _serves(path)))

    def on_get(self, req: falcon.Request, resp: falcon.Response, file: str) -> None:
        """Return the file, 304 if the client has it, or 404."""
        if file not in self.files:
            raise falcon.HTTPNotFound
        resp.set_header("Content-Security-Policy", self.content_security_policy)
        resp.set_header("X-Content-Type-Options", "nosniff")
        resp.set_header("Referrer-Policy", "no-referrer")
        self.files[file].answer(req, resp, self.cache_control)

    def on_head(self, req: falcon.Request, resp: falcon.Response, file: str) -> None:
        """Return the headers of `GET`, without the file."""
        self.on_get(req, resp, file)

    def page(self, file: str) -> StaticPage:
        """Return a resource that serves one of the files at another path, such as `/`.

        Raises:
            KeyError: the folder has no such file.
        """
        if file not in self.files:
            raise KeyError(file)
        return StaticPage(self, file)


@dataclass(frozen=True, slots=True)
class StaticPage:
    """`GET` of one file of a folder, at a path without a trailing slash.

    The links of a page are relative to that path, so a request with a trailing slash is redirected.
    """

    folder: StaticFolder
    file: str

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the file, 304 if the client has it, or 308 to the path without a trailing slash."""
        path: str = req.env["PATH_INFO"]
        if path != "/" and path.endswith("/"):
            # The redirect is relative, because a proxy may add a prefix to the path.
            raise falcon.HTTPPermanentRedirect(f"..{req.path[req.path.rindex('/') :]}")
        self.folder.on_get(req, resp, self.file)

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the headers of `GET`, without the file."""
        self.on_get(req, resp)


def _serves(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and _served_name(path).suffix in CONTENT_TYPES


def _served_name(path: Path) -> Path:
    return path.with_suffix("") if path.suffix == ".gz" else path


def _read(path: Path) -> tuple[str, Representation]:
    served = _served_name(path)
    make = Representation.of if served is path else Representation.of_gzip
    return served.name, make(path.read_bytes(), CONTENT_TYPES[served.suffix])
