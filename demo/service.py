"""Run the real service in a process of its own, and send it requests.

The end of the `with` block stops the process and its workers, even after an error.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from demo.photos import PhotographedLogo
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
SECONDS_TO_START = 60.0
SECONDS_TO_RELOAD = 30.0
SECONDS_TO_STOP = 10.0
SECONDS_TO_ANSWER = 30.0  # as long as Robotoff waits
SECONDS_TO_BUILD = 120.0
LINES_OF_LOG = 15


class ServiceError(RuntimeError):
    """The service or one of its commands did not do what the demo needs; the message ends with its log."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A logo and its Euclidean distance from the query."""

    logo_id: int
    distance: float


class Service:
    """gunicorn with the project's configuration and an empty data directory, on the loopback address.

    Args:
        directory: receives the data and the log.
        port: the port; 0 for a free one.

    Attributes:
        root: the URL of the service, without a path.
    """

    def __init__(self, directory: Path, *, port: int = 0) -> None:
        self._log_path = directory / "service.log"
        port = port or free_ports(1)[0]
        self.root = f"http://127.0.0.1:{port}"
        inherited = ("ANN_", "GUNICORN_", "WEB_CONCURRENCY", "SENTRY_")  # this run has its own settings
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(inherited)} | {
            "ANN_DATA_DIR": str(directory / "data"),
            "ANN_BIND": f"127.0.0.1:{port}",
            "ANN_ALLOW_PRIVATE_IMAGE_HOSTS": "1",
            "ANN_RELOAD_SECONDS": "0.2",
            "ANN_STORE_CAPACITY": "10000",
            "WEB_CONCURRENCY": "1",
            "LOG_LEVEL": "INFO",
        }
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy cannot reach this machine's loopback address

    @property
    def url(self) -> str:
        """The URL of the API routes."""
        return f"{self.root}/api/v1/ann"

    def __enter__(self) -> Service:
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--config", "gunicorn_conf.py"],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only the demo, which then stops the service
            )
        try:
            self._wait_until(self._answers, SECONDS_TO_START, "The service does not answer.")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def add(self, image_url: str, logos: Sequence[PhotographedLogo]) -> int:
        """Add the logos of an image, and return how many were new.

        Raises:
            ServiceError: the service refused.
        """
        body = {
            "image_url": image_url,
            "logos": [{"id": logo.logo_id, "bounding_box": logo.box} for logo in logos],
        }
        added: int = self._ask("POST", "/add", json=body)["added"]
        return added

    def neighbours(self, logo_id: int, count: int) -> list[Neighbour]:
        """Return the nearest logos to one, nearest first; an indexed logo comes first itself.

        Raises:
            ServiceError: the logo is unknown.
        """
        return _listed(self._ask("GET", f"/{logo_id}", params={"count": count})["results"])

    def batch(self, logo_ids: Sequence[int], count: int) -> dict[int, list[Neighbour]]:
        """Return the nearest logos to each of several.

        Raises:
            ServiceError: the service refused.
        """
        wanted = {"logo_ids": ",".join(map(str, logo_ids)), "count": str(count)}
        results = self._ask("GET", "/batch", params=wanted)["results"]
        return {int(logo_id): _listed(rows) for logo_id, rows in results.items()}

    def generate_index(self) -> None:
        """Build the index beside the running service, as cron does every night.

        Raises:
            ServiceError: the build failed.
        """
        try:
            built = subprocess.run(
                [sys.executable, "manage.py", "generate-index", "--tree-count", "10"],
                cwd=ROOT,
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=SECONDS_TO_BUILD,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ServiceError(f"generate-index did not finish within {SECONDS_TO_BUILD:.0f} s.") from error
        if built.returncode:
            raise ServiceError(f"generate-index ended with {built.returncode}.\n{_end_of(built.stderr)}")

    def wait_for_index(self, logo_id: int) -> None:
        """Wait until the service has loaded an index that contains a logo.

        Raises:
            ServiceError: it was not loaded in time.
        """
        self._wait_until(
            lambda: bool(self.neighbours(logo_id, 1)), SECONDS_TO_RELOAD, "The service does not load the index."
        )

    def _ask(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            response = self._session.request(method, self.url + path, timeout=SECONDS_TO_ANSWER, **arguments)
        except requests.RequestException as error:
            raise ServiceError(f"{method} {path} got no answer: {error}\n{self._log_end()}") from error
        if response.status_code != 200:
            raise ServiceError(
                f"{method} {path} was answered {response.status_code}: {response.text}\n{self._log_end()}"
            )
        answer: dict[str, Any] = response.json()
        return answer

    def _answers(self) -> bool:
        try:
            return self._session.get(f"{self.url}/count", timeout=SECONDS_TO_ANSWER).status_code == 200
        except requests.RequestException:
            return False

    def _wait_until(self, condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if self._process.poll() is not None:
                raise ServiceError(f"The service stopped by itself ({self._process.returncode}).\n{self._log_end()}")
            if time.monotonic() > deadline:
                raise ServiceError(f"{otherwise} The limit was {seconds:.0f} s.\n{self._log_end()}")
            time.sleep(0.05)

    def _stop(self) -> None:
        self._session.close()
        try:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(SECONDS_TO_STOP)
        finally:  # even after a second Ctrl-C, kill what is left, such as workers without a master
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _log_end(self) -> str:
        return _end_of(self._log_path.read_text(errors="replace"))


def _listed(rows: list[dict[str, Any]]) -> list[Neighbour]:
    return [Neighbour(row["logo_id"], row["distance"]) for row in rows]


def _end_of(log: str) -> str:
    return "\n".join(f"  | {line}" for line in log.splitlines()[-LINES_OF_LOG:]) or "  | (its log is empty)"
