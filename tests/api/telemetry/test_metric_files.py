"""The files in which worker processes count."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from api.telemetry.metric_files import MetricFiles
from tests.end_to_end.service import ROOT
from tests.waiting import PATIENCE

COUNT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from api.telemetry.metric_files import MetricFiles
MetricFiles(Path(sys.argv[2]), -1).use(int(sys.argv[3]))
from api.telemetry.metrics import Metrics
metrics = Metrics()
for _ in range(int(sys.argv[4])):
    metrics.count_request("GET", "/x", 200, 0.1)
metrics.set_load(5, 100)
print(metrics.render().decode(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def count(files: MetricFiles, slot: int, times: int) -> dict[str, float]:
    """Count in a process that is then killed, and return the metrics that it rendered before."""
    command = [sys.executable, "-c", COUNT, str(ROOT), str(files.directory), str(slot), str(times)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert process.returncode == -9, process.stderr
    lines = re.findall(r"^robotoff_ann_(\w+?)(?:_total)?(?:\{.*\})? (\S+)$", process.stdout, re.MULTILINE)
    return {name: float(value) for name, value in lines}


def test_sums_include_all_slots_and_outlive_their_processes(tmp_path: Path) -> None:
    files = MetricFiles.make(tmp_path)
    assert count(files, 0, 3)["requests"] == 3
    found = count(files, 1, 4)
    assert (found["requests"], found["request_duration_seconds_count"]) == (7, 7)
    assert found["open_connections"] == 10
    files.forget(0)
    found = count(files, 1, 2)  # replaces a dead one
    assert (found["requests"], found["open_connections"]) == (9, 5)
    files.forget(7)
    files.remove()
    assert list(tmp_path.iterdir()) == []


def test_slots_are_reused(tmp_path: Path) -> None:
    files = MetricFiles.make(tmp_path)
    assert [files.free_slot(taken) for taken in ([], [0], [1], [0, 2], [0, 1])] == [0, 1, 0, 1, 2]
    files.remove()


def test_directory_of_a_killed_master_is_removed_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    killed, living = MetricFiles.make(tmp_path), MetricFiles.make(tmp_path)
    os.close(killed.lock)  # as the kernel does
    (killed.directory / "counter_0.db").write_bytes(b"x")
    new = MetricFiles.make(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {living.directory.name, new.directory.name}


def test_worker_without_space_still_returns_the_counts_of_others(tmp_path: Path) -> None:
    files = MetricFiles.make(tmp_path)
    assert count(files, 0, 3)["requests"] == 3
    script = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from api.telemetry.metric_files import MetricFiles
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    MetricFiles(Path(sys.argv[2]), -1).use(1)
except OSError:
    from api.telemetry.metrics import Metrics
    metrics = Metrics()
    metrics.count_request("GET", "/x", 200, 0.1)
    print(metrics.render().decode())
"""
    command = [sys.executable, "-c", script, str(ROOT), str(files.directory)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert 'robotoff_ann_requests_total{method="GET",route="/x",status="200"} 3.0' in process.stdout
    assert count(files, 1, 4)["requests"] == 7


def test_files_are_allocated_at_the_start(tmp_path: Path) -> None:
    files = MetricFiles.make(tmp_path)
    count(files, 0, 1)
    for path in files.directory.glob("*.db"):
        status = path.stat()
        assert status.st_blocks * 512 >= status.st_size > 0
        assert status.st_mode & 0o077 == 0
