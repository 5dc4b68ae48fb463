"""Photos served over HTTP on loopback, for as long as a `with` block lasts."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Mapping
from types import TracebackType


class PhotoServer:
    """Answers `GET /<name>` with the JPEG of that name, on a free port of 127.0.0.1."""

    def __init__(self, jpegs: Mapping[str, bytes]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                jpeg = jpegs.get(self.path.removeprefix("/"))
                if jpeg is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "image/jpeg")
                self.send_header("Content-Length", str(len(jpeg)))
                self.end_headers()
                self.wfile.write(jpeg)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def url(self, name: str) -> str:
        """Answer the address of a photo."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def __enter__(self) -> PhotoServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
