"""The service listens on every address of both families, or stops the start with one line."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.sock import TCPSocket

from api.server import listening
from api.server.listening import ListenError, check_addresses, gunicorn_binds, listen
from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[3]
WITHOUT_IPV6 = """
import errno, os, socket, sys

class Ipv4Only(socket.socket):
    def __init__(self, family=socket.AF_INET, *arguments, **named):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        super().__init__(family, *arguments, **named)

socket.socket = Ipv4Only
from gunicorn.app.wsgiapp import run
run()
"""


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="the machine has no IPv6")


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


def config(*binds: str) -> Any:
    made = Config()
    made.set("bind", list(binds))
    return made


@contextlib.contextmanager
def listeners(*binds: str) -> Iterator[list[Any]]:
    made = config(*binds)
    found = listen(made, Logger(made), patience_seconds=0)
    try:
        yield found
    finally:
        for listener in found:
            listener.close()


@pytest.mark.parametrize(
    ("address", "binds"),
    [
        (":5501", ["0.0.0.0:5501", "[::]:5501"]),
        ("127.0.0.1:5501", ["127.0.0.1:5501"]),
        ("[::1]:5501", ["[::1]:5501"]),
        ("unix:/run/ann.sock", ["unix:/run/ann.sock"]),
    ],
)
def test_port_alone_is_every_address_of_both_families(address: str, binds: list[str]) -> None:
    assert gunicorn_binds(address) == binds


@needs_ipv6
def test_ipv6_address_does_not_take_ipv4_clients() -> None:
    with listeners("[::]:0") as [listener]:
        port = listener.getsockname()[1]
        socket.create_connection(("::1", port)).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


@needs_ipv6
def test_port_chosen_by_the_system_is_free_in_both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    class UnluckyFirst(TCPSocket):  # type: ignore[misc]  # gunicorn has no types
        def bind(self, sock: socket.socket) -> None:
            sock.bind(("0.0.0.0", unlucky.pop() if unlucky else 0))

    with socket.create_server(("::", 0), family=socket.AF_INET6) as taken:
        unlucky = [taken.getsockname()[1]]
        monkeypatch.setattr(listening, "TCPSocket", UnluckyFirst)
        made = config("0.0.0.0:0", "[::]:0")
        found = listen(made, Logger(made), patience_seconds=60)
        ports = {listener.getsockname()[1] for listener in found}
        for listener in found:
            listener.close()
        assert len(found) == 2
        assert len(ports) == 1
        assert taken.getsockname()[1] not in ports


@needs_ipv6
def test_port_that_is_in_use_for_ipv6_only_is_refused() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"^port {port} is in use"):
            check_addresses([("0.0.0.0", port), ("::", port)], patience_seconds=0)


@pytest.mark.parametrize("binds", [("unix:/run/ann.sock",), ("fd://3",), ("127.0.0.1:0", "unix:/run/ann.sock")])
def test_other_sockets_are_left_to_gunicorn(binds: Sequence[str]) -> None:
    with listeners(*binds) as found:
        assert found == []


def test_inherited_sockets_are_left_to_gunicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUNICORN_FD", "3")
    with listeners("127.0.0.1:0") as found:
        assert found == []


def test_ipv6_address_without_ipv6_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(host: str, port: int) -> None:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr(listening, "_try_to_bind", refuse)
    with pytest.raises(
        ListenError, match=r"^cannot listen on \[::1\]:5501: Address family not supported.*; set ANN_BIND"
    ):
        check_addresses([("::1", 5501)])


@contextlib.contextmanager
def service(folder: Path, *command: str, bind: str = ":0") -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The running service and its log; the end of the block kills all its processes."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--config", "gunicorn_conf.py"],
            cwd=ROOT,
            env={
                "PATH": "/usr/bin:/bin",
                "ANN_BIND": bind,
                "ANN_DATA_DIR": str(folder / "data"),
                "ANN_STORE_CAPACITY": "5000",
                "WEB_CONCURRENCY": "1",
            },
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until(lambda: process.poll() is not None or "Booting worker" in log.read_text())
        assert process.poll() is None, log.read_text()
        yield process, log
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def listening_at(log: Path) -> list[str]:
    """The addresses of the newest line that names them."""
    *_, newest = re.finditer(r"Listening at: (\S+)", log.read_text())
    return newest[1].split(",")


def answers(*hosts: str, port: str) -> list[int]:
    return [requests.get(f"http://{host}:{port}/livez", timeout=PATIENCE).status_code for host in hosts]


@needs_ipv6
def test_service_answers_on_both_families_after_a_reload_and_an_upgrade(tmp_path: Path) -> None:
    with service(tmp_path, str(Path(sys.executable).with_name("gunicorn"))) as (process, log):
        of_ipv4, of_ipv6 = listening_at(log)
        port = of_ipv4.removeprefix("http://0.0.0.0:")
        assert of_ipv6 == f"http://[::]:{port}"
        assert answers("127.0.0.1", "[::1]", port=port) == [200, 200]
        wait_until(lambda: log.read_text().count('"GET /livez" 200') == 2)
        assert re.findall(r"ms (\S+) \"python-requests", log.read_text()) == [
            "127.0.0.1",
            "::1",
        ]  # not ::ffff:127.0.0.1

        process.send_signal(signal.SIGHUP)
        wait_until(lambda: log.read_text().count("Booting worker") == 2)
        assert answers("127.0.0.1", "[::1]", port=port) == [200, 200]

        process.send_signal(signal.SIGUSR2)
        wait_until(lambda: log.read_text().count("Booting worker") == 3)
        process.terminate()
        process.wait(PATIENCE)
        assert listening_at(log) == [of_ipv4, of_ipv6]
        assert answers("127.0.0.1", "[::1]", port=port) == [200, 200]


def test_service_without_ipv6_answers_on_ipv4_and_says_so_once(tmp_path: Path) -> None:
    with service(tmp_path, sys.executable, "-c", WITHOUT_IPV6) as (_, log):
        [of_ipv4] = listening_at(log)
        assert answers("127.0.0.1", port=of_ipv4.removeprefix("http://0.0.0.0:")) == [200]
        [line] = [line for line in log.read_text().splitlines() if "IPv6" in line]
        assert "INFO" in line
        assert "listening on IPv4 only" in line


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
