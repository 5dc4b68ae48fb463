"""The files of a page, served from a folder: those that lay there at the start, and no others.

A request only ever looks a name up among them, so no path leads anywhere else. They are held in memory, compressed
where that helps; a large file may lie in the folder as `NAME.gz` alone, and is served as `NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import falcon

from api.answers.representation import REVALIDATE, Representation

# What is not named here is not served: not the notes of those who keep the folder, either.
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
    """`GET .../{file}`: a file of a folder, by its name.

    Attributes:
        folder: read once, here; folders inside it are not looked at.
        content_security_policy: what the pages among the files may load, sent with each of them.
        cache_control: how long a browser may keep them without asking again.
    """

    folder: Path
    content_security_policy: str
    cache_control: str = REVALIDATE
    files: Mapping[str, Representation] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", dict(_read(path) for path in sorted(self.folder.iterdir()) if _serves(path)))

    def on_get(self, req: falcon.Request, resp: falcon.Response, file: str) -> None:
        """Answer the file, 304 if the client has it, or 404."""
        if file not in self.files:
            raise falcon.HTTPNotFound
        resp.set_header("Content-Security-Policy", self.content_security_policy)
        resp.set_header("X-Content-Type-Options", "nosniff")
        resp.set_header("Referrer-Policy", "no-referrer")
        self.files[file].answer(req, resp, self.cache_control)

    def on_head(self, req: falcon.Request, resp: falcon.Response, file: str) -> None:
        """Answer what `GET` would, without the file."""
        self.on_get(req, resp, file)

    def page(self, file: str) -> StaticPage:
        """Return a resource that answers one of the files at an address of its own, such as `/`.

        Raises:
            KeyError: there is no such file.
        """
        if file not in self.files:
            raise KeyError(file)
        return StaticPage(self, file)


@dataclass(frozen=True, slots=True)
class StaticPage:
    """`GET` of one file of a folder, at an address without a slash at its end: the page's links are relative to it."""

    folder: StaticFolder
    file: str

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the file, 304 if the client has it, or 308 to the page's own address."""
        path: str = req.env["PATH_INFO"]
        if path != "/" and path.endswith("/"):
            raise falcon.HTTPPermanentRedirect(
                f"..{req.path[req.path.rindex('/') :]}"
            )  # whatever a proxy put before it
        self.folder.on_get(req, resp, self.file)

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer what `GET` would, without the file."""
        self.on_get(req, resp)


def _serves(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and _served_name(path).suffix in CONTENT_TYPES


def _served_name(path: Path) -> Path:
    return path.with_suffix("") if path.suffix == ".gz" else path


def _read(path: Path) -> tuple[str, Representation]:
    served = _served_name(path)
    make = Representation.of if served is path else Representation.of_gzip
    return served.name, make(path.read_bytes(), CONTENT_TYPES[served.suffix])
