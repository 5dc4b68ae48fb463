"""Requests that nobody should send, and clients that disconnect before their answer."""

from __future__ import annotations

import json
import random
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

from demo.marked_picture import Box

API = "/api/v1/ann"
UNKNOWN = 10**15  # ids from here on are never stored
_BOX: Box = (0.1, 0.1, 0.9, 0.9)
_SECONDS = 60.0  # to connect
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: a close that resets the connection


def bad_requests(photo_url: Callable[[str], str], photo: str, box: Box) -> list[tuple[int, str, str, dict[str, Any]]]:
    """Return requests that must be refused, each with its expected status.

    Args:
        photo_url: returns the address of a photo's path.
        photo: the path of a good photo.
        box: a good box on it.

    Returns:
        Status, method, path, and other arguments for `requests`.
    """

    def add(path: str, box: Box = box, logo_id: object = UNKNOWN) -> dict[str, Any]:
        url = path if ":" in path else photo_url(path)
        return {"json": {"image_url": url, "logos": [{"id": logo_id, "bounding_box": box}]}}

    chunks: Iterable[bytes] = iter([b"{}"])
    json_type = {"Content-Type": "application/json"}
    return [
        (404, "GET", "/api/v1/nothing", {}),
        (404, "GET", f"{API}/none", {}),
        (405, "PUT", f"{API}/add", {}),
        (400, "GET", f"{API}?index=nothing", {}),
        (400, "GET", f"{API}?count=0", {}),
        (400, "GET", f"{API}/batch?logo_ids=1,x", {}),
        (400, "GET", f"{API}/batch", {}),
        (400, "POST", f"{API}/from_embedding", {"json": {"embedding": [1.0]}}),
        (400, "POST", f"{API}/from_embedding", {"json": {"embedding": "none"}}),
        (400, "POST", f"{API}/add", {"data": b'{"image_url": ', "headers": json_type}),
        (400, "POST", f"{API}/add", {"json": {"image_url": photo_url(photo)}}),
        (400, "POST", f"{API}/add", {"data": chunks, "headers": json_type}),
        (413, "POST", f"{API}/add", {"data": b" " * (2**20 + 1), "headers": json_type}),
        (400, "POST", f"{API}/add", add(photo, (0.5, 0.5, 0.5, 0.5))),
        (400, "POST", f"{API}/add", add(photo, logo_id="1")),
        (400, "POST", f"{API}/add", add("/not-there.jpg")),
        (400, "POST", f"{API}/add", add("/cut.jpg")),
        (400, "POST", f"{API}/add", add("/text.jpg")),
        (400, "POST", f"{API}/add", add("/empty.jpg")),
        (400, "POST", f"{API}/add", add("http://127.0.0.1:1/unreachable.jpg")),
        (400, "POST", f"{API}/add", add("file:///etc/hostname")),
    ]


def hang_up(dice: random.Random, base: str, image_url: str, logo_id: int) -> None:
    """Send a request, or a part of it, and disconnect before reading the whole answer.

    Args:
        dice: decides how much is sent, and how the connection ends.
        base: `http://HOST:PORT` of the service.
        image_url: an image to add.
        logo_id: its logo, which may be stored or not.

    Raises:
        OSError: nobody listens, or the service closed the connection.
    """
    body = json.dumps({"image_url": image_url, "logos": [{"id": logo_id, "bounding_box": _BOX}]}).encode()
    head = f"POST {API}/add HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    add = f"{head}\r\n\r\n".encode() + body
    listing = f"GET {API}/stored HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    sent = dice.choice([b"", add[:30], add[:-20], add, add, listing])
    host, port = base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=_SECONDS) as connection:
        connection.sendall(sent)
        if sent == listing:
            connection.recv(100)
        if dice.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
