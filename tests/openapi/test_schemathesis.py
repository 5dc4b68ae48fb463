"""The running service keeps to its document, whatever is sent: schemathesis makes the requests, and holds every check.

`PROPERTY_EXAMPLES=100 python -m pytest tests/openapi/test_schemathesis.py` makes a hundred times as many.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.service import ROOT
from tests.openapi.toured_service import TouredService
from tests.photo_server import PhotoServer
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow
EXAMPLES = 10  # of each operation, besides those that schemathesis thinks out from the schemas
TIMES = int(os.environ.get("PROPERTY_EXAMPLES", "1"))
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TouredService]:
    with PhotoServer() as photos, TouredService(tmp_path_factory.mktemp("tried"), photos) as service:
        service.take_the_tour()
        yield service


def test_service_keeps_to_its_document(service: TouredService, tmp_path: Path) -> None:
    """All checks, of good and of bad requests; then: has every operation answered a good one?"""
    answers, document = tmp_path / "answers", tmp_path / "openapi.json"
    document.write_text(json.dumps(service.document))  # from a file: it would not try the route that it read it from
    arguments = [f"--url={service.address('')}", f"--max-examples={EXAMPLES * TIMES}"]
    arguments += ["--continue-on-failure", "--no-color", f"--request-timeout={PATIENCE}"]
    arguments += ["--generation-deterministic"] if TIMES == 1 else []
    config = f"--config-file={HERE / 'schemathesis.toml'}"
    run = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", config, "run", str(document), *arguments],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.openapi.schemathesis_hooks",
            "TOUR_PHOTOS": service.photos.url(""),
            "TOUR_ANSWERS": str(answers),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    told = re.sub(r"(?<=.{2000}).*", "…", run.stdout + run.stderr)
    sys.stdout.write(told)
    assert run.returncode == 0, told
    assert "Traceback" not in service.log
    # 1004 is the one that the document's example deletes; had others been deleted, too, searches would find nothing.
    assert {1003, 1005} <= set(service.get("/stored").json()["stored"])
    statuses = Counter(tuple(line.rsplit(" ", 1)) for line in answers.read_text().splitlines())
    for path, operations in service.document["paths"].items():
        for method in operations:
            assert statuses[f"{method.upper()} {path}", "200"], f"{method} {path} never answered 200: {told}"
