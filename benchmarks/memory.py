"""The memory of a worker beyond the index that it maps, after it has embedded."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benchmarks.fixture import COUNT, RELOAD, Fixture
from benchmarks.http_client import HttpClient, neighbours_request
from benchmarks.logos import SMALLEST_ID
from benchmarks.table import Ratio, Row
from index.files.manifest import BIN_NAME, RECORDS_NAME, VECTORS_NAME
from tests.end_to_end.service import Service
from tests.photo_server import PhotoServer, photo

LIMIT_MB = 200.0
PHOTO_SIZE = (4000, 3000)
ADDS = 8
QUERIES = 200

_MAPPED = tuple(f"/{name}" for name in (BIN_NAME, RECORDS_NAME, VECTORS_NAME))
_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)$")


def measure(fixture: Fixture) -> list[Row]:
    """Measure the memory of a single worker, after queries and adds."""
    fixture.say("memory: a worker after queries and adds")
    proportional, private = zip(*[_worker_mb(fixture) for _ in range(fixture.scale.few)], strict=True)
    ratio = Ratio.of(proportional, [LIMIT_MB] * len(proportional))
    width, height = PHOTO_SIZE
    return [
        Row(
            f"memory of a worker beyond the mapped index, after {QUERIES} queries and {ADDS} adds,"
            f" two at once, from a photo of {width * height / 1e6:.0f} MP",
            f"{median(proportional):.0f} MB (PSS; {median(private):.0f} MB private)",
            f"limit {LIMIT_MB:.0f} MB",
            ratio,
            "under the limit",
            ratio.median < 1,
        )
    ]


def _worker_mb(fixture: Fixture) -> tuple[float, float]:
    indexed = fixture.indexed
    with (
        PhotoServer({"/photo.jpg": photo(1, PHOTO_SIZE)}) as server,
        Service(indexed.data_dir, workers=1, **RELOAD) as service,
        ThreadPoolExecutor(2) as clients,
    ):
        with HttpClient(service.port) as client:
            for item in fixture.sample(QUERIES):
                client.ask(neighbours_request(int(indexed.logo_ids[item]), COUNT))
        url = server.url("/photo.jpg")
        free_id = service.get("/count").json()["count"] - fixture.scale.logos + 1
        assert free_id + ADDS <= SMALLEST_ID
        for answer in clients.map(lambda logo_id: service.add(url, logo_id), range(free_id, free_id + ADDS)):
            assert answer.json() == {"added": 1}, answer.text
        master = service.process.pid
        (worker,) = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return _beyond_index_mb(Path(f"/proc/{worker}/smaps").read_text())


def _beyond_index_mb(smaps: str) -> tuple[float, float]:
    """Sum the mappings of proc_pid_smaps(5) except the index: proportional share, and private part, in MB."""
    proportional = private = 0
    is_index = False
    for line in smaps.splitlines():
        if mapping := _MAPPING.match(line):
            is_index = mapping[1].endswith(_MAPPED)
        elif not is_index:
            field, kilobytes = line.split()[:2]
            proportional += int(kilobytes) if field == "Pss:" else 0
            private += int(kilobytes) if field in ("Private_Clean:", "Private_Dirty:") else 0
    return proportional * 1024 / 1e6, private * 1024 / 1e6
