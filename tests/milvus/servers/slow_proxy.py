"""A TCP proxy on loopback that delays each answer of a server."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from typing import Self


class SlowProxy:
    """Forwards a port on loopback to a server, in both directions.

    Attributes:
        delay_seconds: delay of each piece of an answer; may be changed at any time.
        uri: where it listens.
    """

    def __init__(self, port: int) -> None:
        self.delay_seconds = 0.0
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        for one in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                try:
                    server = socket.create_connection(self._target)
                except OSError:
                    client.close()
                    continue
                self._sockets.append(server)
                self._forward(client, server, late=False)
                self._forward(server, client, late=True)

    def _forward(self, source: socket.socket, target: socket.socket, *, late: bool) -> None:
        pieces: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def read() -> None:
            data = b"-"
            while data:
                data = b""
                with contextlib.suppress(OSError):
                    data = source.recv(2**16)
                pieces.put((time.monotonic() + (self.delay_seconds if late else 0), data))

        def write() -> None:
            with contextlib.suppress(OSError):
                while True:
                    due, data = pieces.get()
                    time.sleep(max(0.0, due - time.monotonic()))
                    if not data:
                        break
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)

        threading.Thread(target=read, daemon=True).start()
        threading.Thread(target=write, daemon=True).start()
