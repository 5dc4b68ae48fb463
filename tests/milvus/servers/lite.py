"""Milvus Lite as a separate server, which several processes can use at once."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterable

from tests.milvus.servers.server import MilvusServer


class LiteServer(MilvusServer):
    """Milvus in Python: starts in a second, and supports neither users nor TLS."""

    name = "lite"
    end_signal = signal.SIGINT  # SIGTERM would not let it close its files

    def _command(self) -> Iterable[str]:
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        return [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(self.folder / "data"), *address]

    def _answers(self) -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0
