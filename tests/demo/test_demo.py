"""Run the demo as a visitor does, in a process of its own and with the real service."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image

from demo.contact_sheet import OTHER_BRAND, QUERY, SAME_BRAND, cell_corner, sheet_size
from demo.photos import make_photos
from demo.service import Service, ServiceError
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


def start_demo(output: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "demo", "--output", str(output), *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # If a shell runs the tests in the background, they ignore SIGINT, and the demo would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def nobody_listens(url: str) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) != 0


def test_demo_draws_the_neighbours_of_each_brand(tmp_path: Path) -> None:
    output = tmp_path / "new" / "neighbours.png"
    with start_demo(
        output, "--photos", "6", "--seed", "5", ANN_STORE_CAPACITY="1", HTTP_PROXY="http://127.0.0.1:9"
    ) as demo:
        printed, errors = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, errors) == (0, "")
    assert "6 photos, 8 logos added in" in printed
    assert len(printed.splitlines()) < 20
    sheet = Image.open(output)
    assert sheet.size == sheet_size(2, 5)
    for row in range(2):
        assert sheet.getpixel(cell_corner(row, None)) == QUERY
        assert all(sheet.getpixel(cell_corner(row, place)) in (SAME_BRAND, OTHER_BRAND) for place in range(5))
    service = re.search(r"http://\S+", printed)
    assert service
    assert nobody_listens(service[0])


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_stopped_demo_leaves_no_service_running(tmp_path: Path, ending: signal.Signals) -> None:
    with start_demo(tmp_path / "neighbours.png", "--photos", "40", TMPDIR=str(tmp_path)) as demo:
        assert demo.stdout
        service = next(found[0] for line in demo.stdout if (found := re.search(r"http://\S+", line)))
        assert not nobody_listens(service)
        demo.send_signal(ending)
        _, errors = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 1
    assert errors.strip() == "Aborted!"
    assert nobody_listens(service)
    assert list(tmp_path.iterdir()) == []


def test_demo_with_serve_runs_until_it_is_stopped(tmp_path: Path) -> None:
    output = tmp_path / "neighbours.png"
    with start_demo(output, "--photos", "6", "--serve") as demo:
        assert demo.stdout
        served = next(found for line in demo.stdout if (found := re.search(r"runs at (http://\S+)/", line)))
        assert requests.get(f"{served[1]}/api/v1/ann?count=3", timeout=PATIENCE).json()["count"] == 3
        assert output.exists()
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, errors) == (0, "")
    assert nobody_listens(served[1])


def test_error_of_a_service_that_cannot_start_ends_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a directory belongs")
    with pytest.raises(ServiceError, match=r"stopped by itself \(\d+\)\.\n(  \| .*\n)*  \| .*data"), Service(tmp_path):
        pass


def test_unwritable_output_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a directory belongs")
    with start_demo(tmp_path / "taken" / "neighbours.png") as demo:
        printed, errors = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 1
    assert printed == ""
    assert re.fullmatch(r"Error: .*taken.*\n", errors)


def test_error_of_a_refused_request_contains_the_answer(tmp_path: Path) -> None:
    (photo,) = make_photos(1, seed=1)
    with Service(tmp_path) as service:
        refused: list[Callable[[], object]] = [
            lambda: service.neighbours(5, 1),
            lambda: service.add("http://127.0.0.1:9/x.jpg", photo.logos),
        ]
        for request in refused:
            with pytest.raises(ServiceError, match=r"was answered 40[04]: \{"):
                request()
