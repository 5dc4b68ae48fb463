"""The front page is short, and its tour works as printed and removes what it creates."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.docs.pages import ROOT
from tests.docs.shell import alike, examples, printed, read
from tests.ports import free_ports
from tests.waiting import PATIENCE, wait_until

README = read(ROOT / "README.md")
MOST_WORDS = 900
END = "the block ended with"


class Terminal:
    """A shell that runs blocks of commands as if they were typed."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def run(self, block: str) -> str:
        """Run a block, and return what it printed."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f'{block}\necho; echo "{END} $?"\n')
        self._shell.stdin.flush()
        lines: list[str] = []
        while not (line := self._shell.stdout.readline()).startswith(END):
            assert line, f"the shell ended: {lines}"
            lines.append(line)
        assert line == f"{END} 0\n", (block, lines)
        return "".join(lines)

    def close(self) -> None:
        """Stop the shell and its background processes."""
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.communicate()


def test_front_page_is_short() -> None:
    assert len(README.split()) <= MOST_WORDS


@pytest.mark.slow
def test_tour_works_as_printed_and_cleans_up(tmp_path: Path) -> None:
    service_port, photo_port = free_ports(2)
    tour = README.partition("## A short tour")[2].partition("\n## ")[0]
    start, draw, *middle, clean_up = examples(
        tour.replace("127.0.0.1:5501", f"127.0.0.1:{service_port}")
        .replace("http.server 8000", f"http.server {photo_port}")
        .replace("127.0.0.1:8000", f"127.0.0.1:{photo_port}")
    )
    environment = _environment(tmp_path, service_port)
    service = subprocess.Popen(["bash", "-c", f"exec env {start.command}"], cwd=tmp_path, env=environment)
    terminal = Terminal(tmp_path, environment)
    try:
        wait_until(lambda: _listens(service_port))
        terminal.run(draw.command)
        wait_until(lambda: _listens(photo_port))
        for example in middle:
            answers = printed(terminal.run(example.command))
            assert alike(answers, example.answers), f"{example.command}answered {answers}"
            if "generate-index" in example.command:  # a loaded machine may take longer than the tour sleeps
                wait_until(lambda: _indexed(service_port) == 3)
        assert requests.get(f"http://127.0.0.1:{service_port}/", timeout=PATIENCE).status_code == 200
        service.send_signal(signal.SIGINT)
        service.wait(PATIENCE)
        terminal.run(clean_up.command)
        wait_until(lambda: not _listens(photo_port))
        assert not (tmp_path / "tour").exists()
    finally:
        terminal.close()
        service.kill()
        service.wait()


def _environment(folder: Path, port: int) -> dict[str, str]:
    """Return an environment in which `make run` and `.venv/bin/python` run this checkout, already installed."""
    _script(folder / "bin" / "make", f'exec "{sys.executable}" -m gunicorn --config "{ROOT}/gunicorn_conf.py"')
    _script(folder / ".venv" / "bin" / "python", f'exec "{sys.executable}" "$@"')
    (folder / "manage.py").symlink_to(ROOT / "manage.py")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANN_", "GUNICORN", "WEB_"))}
    return {
        **kept,
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ANN_BIND": f"127.0.0.1:{port}",
        "ANN_RELOAD_SECONDS": "0.1",
        "WEB_CONCURRENCY": "1",
    }


def _script(path: Path, command: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


def _indexed(port: int) -> int:
    status = requests.get(f"http://127.0.0.1:{port}/api/v1/ann/status", timeout=PATIENCE).json()
    return int(status["logos_indexed"])


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
