"""docker/milvus.yml, laid over docker-compose.yml: what one names, the other has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from version import VERSION

ROOT = Path(__file__).resolve().parents[1]
STACK = yaml.safe_load((ROOT / "docker" / "milvus.yml").read_text())
UNDER = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = ("api", "generate-index")
SERVICES: dict[str, dict[str, Any]] = {name: STACK["services"][name] for name in STACK["services"] if name not in OURS}


def test_it_changes_services_that_are_there() -> None:
    assert set(OURS) == set(UNDER["services"])
    assert set(SERVICES) == {"milvus", "etcd", "minio"}


@pytest.mark.parametrize("name", OURS)
def test_the_service_asks_the_engine_of_the_stack(name: str) -> None:
    service = STACK["services"][name]
    host, _, port = service["environment"]["ANN_MILVUS_URI"].removeprefix("http://").partition(":")
    assert service["environment"]["ANN_ENGINE"] == "milvus"
    assert SERVICES[host]["ports"][0].endswith(f":{port}")
    assert host in service["depends_on"]


@pytest.mark.parametrize("name", OURS)
def test_the_image_with_the_client_has_a_tag_of_its_own(name: str) -> None:
    service = STACK["services"][name]
    assert service["image"] == f"{UNDER['services'][name]['image']}-milvus"
    assert f"${{TAG:-{VERSION}}}" in service["image"]
    assert service["build"]["args"] == {"MILVUS": "1"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_engine_is_pinned_kept_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":(v\d+\.\d+\.\d+|RELEASE\.[\dTZ-]+)$", service["image"])
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert [volume.split(":")[0] for volume in service["volumes"]] == [name]
    assert name in STACK["volumes"]


def test_nothing_listens_but_on_the_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(re.fullmatch(r"\$\{EXPOSE_\w+:-127\.0\.0\.1:\d+\}:\d+", port) for port in ports)


def test_milvus_and_minio_agree_on_the_credentials() -> None:
    milvus, minio = SERVICES["milvus"]["environment"], SERVICES["minio"]["environment"]
    assert milvus["MINIO_ACCESS_KEY_ID"] == minio["MINIO_ROOT_USER"]
    assert milvus["MINIO_SECRET_ACCESS_KEY"] == minio["MINIO_ROOT_PASSWORD"]


@pytest.mark.parametrize("waiting", ["milvus", "generate-index"])
def test_what_waits_for_health_waits_for_a_service_that_tells_it(waiting: str) -> None:
    for name, condition in STACK["services"][waiting]["depends_on"].items():
        assert condition == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[name]
