"""A port that is in use stops the start with one line."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.server.listening import ListenError, check_addresses
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_error_of_a_port_in_use_says_what_to_do(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    with pytest.raises(ListenError, match=rf"^port {port} is in use: .* ANN_BIND .* PORT=5502"):
        check_addresses([taken.getsockname()], patience_seconds=0)


def test_port_that_is_released_in_time_is_accepted(taken: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed service may be started again at once."""
    address = taken.getsockname()
    monkeypatch.setattr(time, "sleep", lambda seconds: taken.close())
    check_addresses([address], patience_seconds=60)


def test_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ListenError, match=r"^cannot listen on 192\.0\.2\.1:5501: .*; set ANN_BIND"):
        check_addresses([("192.0.2.1", 5501)])


def test_inherited_sockets_and_unix_sockets_are_not_checked(
    taken: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check_addresses([str(tmp_path / "socket"), 3], patience_seconds=0)
    monkeypatch.setenv("LISTEN_FDS", "1")
    check_addresses([taken.getsockname()], patience_seconds=0)


def test_service_on_a_port_in_use_stops_with_one_line_and_creates_no_data(taken: socket.socket, tmp_path: Path) -> None:
    port = taken.getsockname()[1]
    stopped = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--config", "gunicorn_conf.py"],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "ANN_BIND": f"127.0.0.1:{port}",
            "ANN_DATA_DIR": str(tmp_path / "data"),
            "ANN_MAX_BATCH_LOGO": "5",
            "LOG_LEVEL": "WARNING",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert stopped.returncode == 1
    warning, line = stopped.stderr.splitlines()
    assert "did you mean ANN_MAX_BATCH_LOGOS?" in warning
    assert line.startswith(f"robotoff-ann: port {port} is in use: ")
    assert not (tmp_path / "data").exists()
