"""gunicorn with the worker and a small app, and requests to it byte for byte."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.end_to_end.service import ROOT, free_port
from tests.waiting import PATIENCE, wait_until

THREADS = 2
BIG = 8 * 2**20  # bytes: more than the kernel keeps for a client that does not read
PIECES, PIECE = 64, 2**19  # pieces of an answer that is produced while it is sent, and the bytes of each
CONFIGURATION = f"""
import sys, threading
sys.path[:0] = [{str(ROOT)!r}, {{folder!r}}]
from api.server import client_limits
from api.server import body_sizes
from api.server import worker

class BufferingWorker(worker.BufferingWorker):
    limits = client_limits.ClientLimits({{limits}})

wsgi_app, worker_class, workers, threads = "app:app", BufferingWorker, 1, {THREADS}
bind, control_socket_disable = "127.0.0.1:{{port}}", True
keepalive, worker_connections = 60, {{connections}}
"""
APP = f"""
import threading

from api.server.lazy_answer import lazily

go = threading.Event()
made = []

def in_pieces():
    for number in range({PIECES}):
        made.append(number)
        yield bytes([number]) * {PIECE}

def app(environ, start_response):
    path = environ["PATH_INFO"]
    parts = []
    if path == "/echo":
        parts = [environ["wsgi.input"].read()]
    elif path == "/big":
        parts = [bytes({BIG})]
    elif path == "/two-parts":
        start_response("200 OK", [("Content-Length", "{BIG + 3}")])
        yield bytes({BIG})
        go.wait(20)
        parts = [b"end"]
    elif path == "/lazy":
        start_response("200 OK", [("Content-Length", "{PIECES * PIECE}")])
        yield from lazily(in_pieces(), environ, held_bytes=1000)
    elif path == "/made":
        parts = [b"%d" % len(made)]
    elif path == "/go":
        go.set()
    elif path == "/threads":
        parts = [b"%d" % threading.active_count()]
    if path not in ("/two-parts", "/lazy"):
        start_response("200 OK", [("Content-Length", str(sum(map(len, parts))))])
    yield from parts
"""


class Server:
    """gunicorn with the worker. The end of its `with` block stops it, and checks that its log has no tracebacks."""

    def __init__(self, folder: Path, limits: str = "", connections: int = 1000) -> None:
        self.port = free_port()
        (folder / "app.py").write_text(APP)
        self._configuration = folder / "gunicorn_conf.py"
        self._configuration.write_text(
            CONFIGURATION.format(folder=str(folder), port=self.port, limits=limits, connections=connections)
        )
        self._log = folder / "log"

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def worker_pid(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def __enter__(self) -> Server:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--config", str(self._configuration)],
                env={name: value for name, value in os.environ.items() if not name.startswith(("GUNICORN", "WEB_"))},
                stdout=log,
                stderr=log,
            )
        wait_until(self._listens)
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill() if error[0] else self.process.terminate()
        self.process.wait(PATIENCE)
        assert "Traceback" not in self.log

    def connect(self, *, window: int | None = None) -> socket.socket:
        client = socket.socket()
        client.settimeout(PATIENCE)
        if window is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        try:
            client.connect(("127.0.0.1", self.port))
        except OSError:
            client.close()
            raise
        return client

    def ask(self, request: bytes) -> bytes:
        """Send bytes, and return everything received until the server closes."""
        with self.connect() as client:
            client.sendall(request)
            return read_all(client)

    def answers(self) -> bool:
        return self.ask(get("/", close=True)).startswith(b"HTTP/1.1 200")

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log
        with contextlib.suppress(ConnectionError):
            return self.answers()
        return False


def get(path: str, *headers: str, close: bool = False) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", *headers, *(["Connection: close"] if close else [])]
    return "\r\n".join([*lines, "", ""]).encode()


def post(body: bytes, *headers: str, path: str = "/echo", version: str = "1.1", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [f"POST {path} HTTP/{version}", "Host: x", f"Content-Length: {size}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def read_all(client: socket.socket) -> bytes:
    """Read until the server closes or resets the connection."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := client.recv(2**16):
            parts.append(part)
    return b"".join(parts)


def read_answer(client: socket.socket) -> bytes:
    """Read one answer with a `Content-Length`, and return its body."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(1)
    size = re.search(rb"Content-Length: (\d+)", answer)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert size is not None
    body = b""
    while len(body) < int(size[1]):
        body += client.recv(int(size[1]) - len(body))
    return body
