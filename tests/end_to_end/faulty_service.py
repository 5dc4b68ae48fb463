"""The real service under faults, and the checks that must pass under every fault."""

from __future__ import annotations

import itertools
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import requests

from embeddings.store.store import EmbeddingStore
from tests.end_to_end.injected_faults import InjectedFaults
from tests.end_to_end.service import ROOT, Service, environment, manage
from tests.photo_server import PhotoServer
from tests.waiting import PATIENCE, wait_until

INDEXED, ONLY_STORED = range(1, 7), range(7, 10)


class FaultyService(Service):
    """A service of two workers with injected faults. It records the ids that it acknowledged.

    Attributes:
        store: the file of the store.
        acknowledged: the ids of logos that an answer confirmed.
    """

    def __init__(self, data_dir: Path, photos: PhotoServer, faults: InjectedFaults | None = None) -> None:
        super().__init__(data_dir, workers=2, **faults.environment if faults else {})
        self.store = data_dir / "efficientnet-b0.hdf5"
        self.lock = data_dir / "efficientnet-b0.hdf5.lock"
        self.acknowledged: set[int] = set()
        self._photos = photos
        self._new_ids = itertools.count(1000)

    def __enter__(self) -> Self:
        self.start()
        return self

    def prepare(self) -> None:
        """Store some logos, and index the first of them."""
        for logo_id in INDEXED:
            assert self.add_one(logo_id).status_code == 200
        self.build_index()
        for logo_id in ONLY_STORED:
            assert self.add_one(logo_id).status_code == 200

    def build_index(self, **environment: str) -> None:
        """Build an index of all logos, and wait until both workers serve it."""
        newest = max(self.acknowledged)
        built = manage(self.data_dir, "generate-index", "--tree-count", "3", **environment)
        assert built.returncode == 0, built.stderr
        generation = built.stderr.split("published ")[1].split()[0]
        wait_until(lambda: self.log.count(f"logos from {generation}") == 2)
        assert self.get(f"/{newest}?count=1").json()["results"][0]["logo_id"] == newest

    def add_one(self, logo_id: int | None = None) -> requests.Response:
        """Add a logo, a new one by default."""
        logo_id = logo_id or next(self._new_ids)
        answer = self.add(self._photos.url(f"/{logo_id % 20}.jpg"), logo_id)
        if answer.status_code == 200:
            assert answer.json() == {"added": 1}
            self.acknowledged.add(logo_id)
        return answer

    def assert_adds_are_refused(self, status: int, why: str) -> None:
        """Check that adds are refused and that the log says why."""
        logged = len(self.log)
        for _ in range(4):
            answer = self.add_one()
            assert (answer.status_code, set(answer.json())) == (status, {"title", "description"}), answer.text
        assert self.log[logged:].count(why) >= 4

    def assert_queries_succeed(self) -> None:
        """Check queries for indexed and for not yet indexed logos, and the count."""
        for _ in range(3):
            assert self.get("/1?count=2").json()["results"][0] == {"distance": 0.0, "logo_id": 1}
            assert self.get("/8?count=2").json()["count"] == 2
            assert self.get("/batch?logo_ids=1,8&count=1").json()["count"] == 2
            assert self.get("/count").json()["count"] >= len(self.acknowledged)

    def assert_intact(self) -> None:
        """Check that adds and queries work, and that no acknowledged logo is missing or damaged."""
        for _ in range(4):
            answer = self.add_one()
            assert answer.status_code == 200, answer.text
        self.assert_queries_succeed()
        stored = self.get("/stored").json()["stored"]
        assert len(stored) == len(set(stored))
        assert self.acknowledged <= set(stored)
        with EmbeddingStore(self.store, writable=False) as store:
            assert [*store.verify()] == []

    def restart(self) -> None:
        """Shut the service down, and start it again."""
        assert self.terminate() == 0
        self.start()

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers."""
        pid = self.process.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    @contextmanager
    def limited(self, which: int, soft: dict[int, int] | int) -> Iterator[None]:
        """Lower a limit of the running workers, either all to one value or each to its own."""
        before = {pid: resource.prlimit(pid, which) for pid in self.worker_pids()}
        try:
            for pid, (_, hard) in before.items():
                resource.prlimit(pid, which, (soft if isinstance(soft, int) else soft[pid], hard))
            yield
        finally:
            for pid, limits in before.items():
                resource.prlimit(pid, which, limits)
        assert self.worker_pids() == [*before], "a worker died of it"


def start_that_fails(prelude: str, data_dir: Path, **variables: str) -> list[str]:
    """Run a shell command, start a service that must fail, and return the lines that it printed."""
    stopped = subprocess.run(
        ["sh", "-c", f'{prelude} && exec "$0" -m gunicorn --config gunicorn_conf.py', sys.executable],
        cwd=ROOT,
        env={**environment(data_dir), "ANN_BIND": "127.0.0.1:0", **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert stopped.returncode == 1
    assert "Traceback" not in stopped.stderr
    return stopped.stderr.splitlines()
