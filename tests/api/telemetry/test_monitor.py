"""The files of docker/monitor/ use only metrics that `/metrics` has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import falcon.testing
import numpy as np
import pytest
import yaml

from api.app import AnnApp
from index.files.generations import publish
from index.sample import Sample
from tests.api.conftest import LOGO_IDS, VECTORS
from tests.index.samples import build
from tests.waiting import PATIENCE

FOLDER = Path(__file__).resolve().parents[3] / "docker" / "monitor"
RULES = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "robotoff-ann.json").read_text())
NAME = re.compile(r"\brobotoff_ann_\w+")
LABELLED = re.compile(r"\b(robotoff_ann_\w+)\{([^}]*(?:\\\\\}[^}]*)*)\}")


@pytest.fixture
def text(data_dir: Path, open_app: Callable[..., AnnApp]) -> str:
    """Return the metrics of a service that has an index with a known recall and has answered requests."""
    directory = data_dir / "efficientnet-b0"
    logos = np.array(LOGO_IDS), VECTORS
    publish(directory, lambda folder: build(folder, logos, sample=Sample(*logos)))
    client = falcon.testing.TestClient(open_app())
    client.simulate_get("/api/v1/ann/3")
    return str(client.simulate_get("/metrics").text)


def expressions() -> list[str]:
    targets = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    annotations = [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]
    variables = [variable["query"]["query"] for variable in DASHBOARD["templating"]["list"]]
    return [*(rule["expr"] for rule in RULES), *targets, *annotations, *variables]


def test_every_metric_in_use_exists(text: str) -> None:
    told = set(re.findall(r"^# HELP (\S+)", text, re.MULTILINE)) | {
        line.partition("{")[0].partition(" ")[0] for line in text.splitlines()
    }
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(asked) > 15
    assert asked <= told


def test_every_label_in_use_exists(text: str) -> None:
    for name, matchers in (found for expression in expressions() for found in LABELLED.findall(expression)):
        labels = set(re.findall(r"(\w+)=~?\"|(\w+)!~?\"", matchers))
        lines = [line for line in text.splitlines() if line.startswith(f"{name}{{")]
        assert lines, name
        for label in ("".join(pair) for pair in labels):
            assert any(f'{label}="' in line for line in lines), (name, label)


def test_every_route_in_use_exists(open_app: Callable[..., AnnApp]) -> None:
    app = open_app()
    found = 0
    for expression in expressions():
        for pattern in re.findall(r'route!?=~?"([^"]*)"', expression):
            for route in pattern.replace("\\\\", "").split("|"):
                found += 1
                path = route.replace("{logo_id}", "3")
                assert app.template_of(path) is not None, route
    assert found > 10


def test_every_alert_has_a_severity_and_is_tested_firing_and_silent() -> None:
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    tried = [case for test in tests for case in test["alert_rule_test"]]
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        assert {bool(case["exp_alerts"]) for case in tried if case["alertname"] == rule["alert"]} == {True, False}


def test_every_file_that_the_stack_mounts_exists() -> None:
    services = yaml.safe_load((FOLDER / "docker-compose.yml").read_text())["services"]
    sources = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    files = [source for source in sources if source.startswith("./")]
    assert len(files) == 4
    assert all((FOLDER.parents[1] / file).exists() for file in files)
    assert all(re.search(r":v?\d+\.\d+\.\d+$", service["image"]) for service in services.values())


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool, of Debian's package prometheus, is not here")
@pytest.mark.parametrize(
    "arguments",
    [["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]],
)
def test_rules_are_valid(arguments: list[str]) -> None:
    subprocess.run(["promtool", *arguments], cwd=FOLDER, check=True, timeout=PATIENCE)
