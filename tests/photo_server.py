"""A real HTTP server on loopback that hands out the photos it was given."""

from __future__ import annotations

import contextlib
import http.server
import io
import threading
from email.message import Message

from PIL import Image, ImageDraw

from tests.waiting import PATIENCE


def photo(seed: int = 0, size: tuple[int, int] = (320, 240)) -> bytes:
    """A JPEG with shapes and colours that differ by seed."""
    image = Image.new("RGB", size, ((seed * 67) % 256, (seed * 31 + 90) % 256, (seed * 17 + 30) % 256))
    draw = ImageDraw.Draw(image)
    for k in range(6):
        x, y = (seed * 53 + k * 71) % size[0], (seed * 29 + k * 43) % size[1]
        colour = ((seed + k) * 91 % 256, (seed + k) * 57 % 256, (seed + k) * 23 % 256)
        draw.ellipse((x - 40, y - 30, x + 40, y + 30), fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class PhotoServer:
    """Serves `photos[path]`; `/slow` waits until `release` is set; keeps count and headers of the requests."""

    def __init__(self, photos: dict[str, bytes] | None = None) -> None:
        self.photos = photos if photos is not None else {f"/{k}.jpg": photo(k) for k in range(20)}
        self.requests = 0
        self.headers: list[Message] = []
        self.release = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                outer.requests += 1
                outer.headers.append(self.headers)
                if self.path == "/slow":
                    outer.release.wait(PATIENCE)
                body = outer.photos.get(self.path, photo() if self.path == "/slow" else None)
                with contextlib.suppress(ConnectionError):  # whoever asked may have been killed meanwhile
                    self.send_response(404 if body is None else 200)
                    self.send_header("Content-Length", str(len(body or b"")))
                    self.end_headers()
                    self.wfile.write(body or b"")

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def url(self, path: str) -> str:
        """The address of a photo."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def __enter__(self) -> PhotoServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
