"""From the start of gunicorn to its first neighbours, beside the same service importing TensorFlow at start."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from statistics import median

from benchmarks.fixture import COUNT, Fixture
from benchmarks.http_client import HttpClient, neighbours_request
from benchmarks.table import Ratio, Row, interleaved
from tests.end_to_end.service import ROOT, environment, free_port

REACH_SECONDS = 1.0
REACH_RATIO = 10.0
WAIT_SECONDS = 120.0


def measure(fixture: Fixture) -> list[Row]:
    """Measure seconds, with files in the page cache."""
    logos = fixture.scale.logos
    seconds_to_answer(fixture)
    fixture.say("cold start: the service, and with an eager TensorFlow, in turns")
    ours, rival = interleaved(
        fixture.scale.few,
        lambda: seconds_to_answer(fixture),
        lambda: seconds_to_answer(fixture, "benchmarks.eager_app:create_app()"),
    )
    ratio = Ratio.of(rival, ours)
    return [
        Row(
            f"start of gunicorn, one worker, to the first {COUNT} neighbours among {logos:,} logos, files cached",
            f"{median(ours):.2f} s",
            f"{median(rival):.1f} s, the same service importing TensorFlow and building the Keras model at start",
            ratio,
            f"under {REACH_SECONDS:g} s, {REACH_RATIO:g} ×",
            median(ours) < REACH_SECONDS and ratio.median >= REACH_RATIO,
        )
    ]


def seconds_to_answer(fixture: Fixture, *app: str) -> float:
    """Start gunicorn, request the neighbours of a logo as soon as it listens, and kill it.

    Args:
        fixture: the data to serve.
        app: the WSGI app, if not the configured one.
    """
    indexed, port = fixture.indexed, free_port()
    variables = environment(
        indexed.data_dir, ANN_BIND=f"127.0.0.1:{port}", WEB_CONCURRENCY="1", TF_CPP_MIN_LOG_LEVEL="3"
    )
    with (fixture.scratch / "cold-start.log").open("ab") as log:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--config", "gunicorn_conf.py", *app],
            cwd=ROOT,
            env=variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with HttpClient(port, WAIT_SECONDS) as client:
            client.ask(neighbours_request(int(indexed.logo_ids[0]), COUNT))
        return time.monotonic() - started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
