"""What gunicorn refuses before any app sees it is told as what it is. Real gunicorn, a small app."""

from __future__ import annotations

import json

import pytest

from api.server.refusal import MOST_HEADERS
from tests.api.server.small_server import Server, get


def refused(answer: bytes) -> tuple[int, str, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    content = json.loads(body)
    return int(head.split()[1]), content["title"], content["description"]


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "script_name", "Script_Name"])
@pytest.mark.parametrize("path", ["/", "/threads", "/elsewher", "/elsewherethreads"])
def test_a_path_outside_script_name_is_not_found(server: Server, path: str, name: str) -> None:
    answer = server.ask(get(path, f"{name}: /elsewhere", close=True))
    assert refused(answer) == (
        404,
        "not found",
        "The path does not begin with SCRIPT_NAME, below which the service is mounted.",
    )


@pytest.mark.parametrize("prefix", ["/elsewhere", ""])
def test_a_path_below_script_name_is_found(server: Server, prefix: str) -> None:
    assert server.ask(get("/elsewhere/threads", f"SCRIPT_NAME: {prefix}", close=True)).startswith(b"HTTP/1.1 200")


def test_too_many_headers_are_told_as_that(server: Server) -> None:
    many = [f"X-{number}: 1" for number in range(MOST_HEADERS - 2)]
    assert server.ask(get("/threads", *many, close=True)).startswith(b"HTTP/1.1 200")
    status, title, description = refused(server.ask(get("/threads", *many, "X: 1", close=True)))
    assert (status, title) == (431, "too many or too large headers")
    assert f"may have {MOST_HEADERS} headers" in description


def test_a_header_that_is_too_large_is_told_as_that(server: Server) -> None:
    status, title, description = refused(server.ask(get("/threads", "X: " + "x" * 9000, close=True)))
    assert (status, title) == (431, "too many or too large headers")
    assert "of 8190 bytes" in description
