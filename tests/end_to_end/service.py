"""The real service, started as an operator starts it: gunicorn with the configuration file, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import requests

from tests.ports import free_ports
from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[2]
BOX = [0.1, 0.1, 0.9, 0.9]


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    """Return this process's environment with the service's settings added."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANN_", "GUNICORN", "WEB_"))}
    return {**kept, "ANN_DATA_DIR": str(data_dir), "ANN_STORE_CAPACITY": "5000", **settings}


def manage(data_dir: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command of manage.py to its end."""
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env=environment(data_dir, **settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def free_port() -> int:
    """Return a free port of the loopback address."""
    return free_ports(1)[0]


class Service:
    """A running service on a data directory. The end of its `with` block kills all its processes."""

    def __init__(self, data_dir: Path, *, workers: int = 1, **settings: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self._settings = {
            "ANN_BIND": f"127.0.0.1:{self.port}",
            "ANN_ALLOW_PRIVATE_IMAGE_HOSTS": "1",
            "ANN_RELOAD_SECONDS": "0.1",
            "WEB_CONCURRENCY": str(workers),
            **settings,
        }
        self._client: Any = requests  # what has its functions
        data_dir.mkdir(exist_ok=True)
        self.log_path = data_dir.parent / f"service-{self.port}.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the service, and wait until it answers."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--config", "gunicorn_conf.py"],
                cwd=ROOT,
                env=environment(self.data_dir, **self._settings),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._answers)
        except TimeoutError:
            self.kill()
            raise AssertionError(self.log) from None

    def kill(self) -> None:
        """Kill the master and every worker with SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> int:
        """Shut the service down with SIGTERM, and return its exit status."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    @property
    def log(self) -> str:
        """The whole log so far."""
        return self.log_path.read_text()

    @property
    def worker_pid(self) -> int:
        """The process id of the first worker."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def url(self, path: str) -> str:
        """Return the URL of a path under /api/v1/ann."""
        return f"http://127.0.0.1:{self.port}/api/v1/ann{path}"

    @contextlib.contextmanager
    def on_one_connection(self) -> Iterator[None]:
        """Send all requests over one connection, opened at the start of the block."""
        with requests.Session() as self._client:
            try:
                self.get("/count")
                yield
            finally:
                self._client = requests

    def get(self, path: str, **arguments: Any) -> requests.Response:
        """GET a path under /api/v1/ann."""
        answer: requests.Response = self._client.get(self.url(path), timeout=PATIENCE, **arguments)
        return answer

    def post(self, path: str, body: Any) -> requests.Response:
        """POST JSON to a path under /api/v1/ann."""
        answer: requests.Response = self._client.post(self.url(path), json=body, timeout=PATIENCE)
        return answer

    def add(self, image_url: str, *logo_ids: int) -> requests.Response:
        """Add logos, each with the same box."""
        logos = [{"id": logo_id, "bounding_box": BOX} for logo_id in logo_ids]
        return self.post("/add", {"image_url": image_url, "logos": logos})

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"it stopped with {self.process.returncode}: {self.log}")
        try:
            return self.get("/count").status_code == 200
        except requests.ConnectionError:
            return False
