"""What the tests fetch: from an odd server on loopback, or from names that lead where a test says."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from embeddings.images.fetch import ImageFetcher
from embeddings.images.metered_http import FetchLimits
from tests.embeddings.hostile_server import (
    HostileServer,
)

PHOTO = bytes(range(256)) * 40
LIMITS = FetchLimits(max_bytes=100_000)
HURRIED = FetchLimits(max_bytes=100_000, total_seconds=0.3)
PUBLIC, OTHER_PUBLIC = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


def on_loopback(limits: FetchLimits = LIMITS, **options: Any) -> ImageFetcher:
    return ImageFetcher(limits, allow_private=True, **options)


@dataclass
class Internet:
    """Names and public addresses of our own making, which lead to servers on loopback; no packet leaves the machine."""

    names: Mapping[str, Sequence[str]]
    servers: Mapping[str, HostileServer]
    asked: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)

    def resolve(self, host: str, port: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(0, 0, 0, "", (address, port)) for address in self.names[host]]

    def dial(self, address: tuple[str, int], seconds: float) -> socket.socket:
        self.dialled.append(address[0])
        if address[0] not in self.servers:
            raise ConnectionRefusedError
        server = self.servers[address[0]]
        return socket.create_connection((server.address, server.port), seconds)

    def fetcher(self, **options: Any) -> ImageFetcher:
        return ImageFetcher(LIMITS, resolve=self.resolve, dial=self.dial, **options)


OK = b"HTTP/1.1 200 OK\r\n"


def reset(connection: socket.socket, _closing: threading.Event) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
