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
MILVUS = SERVICES["milvus"]


def test_it_changes_services_that_are_there() -> None:
    assert set(OURS) == set(UNDER["services"])
    assert set(SERVICES) == {"milvus"}


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


def test_milvus_is_pinned_kept_and_watched() -> None:
    assert re.fullmatch(r"milvusdb/milvus:v\d+\.\d+\.\d+", MILVUS["image"])
    assert MILVUS["restart"] == "unless-stopped"
    assert MILVUS["healthcheck"]["test"][0] == "CMD"
    assert "no-new-privileges:true" in MILVUS["security_opt"]
    assert MILVUS["logging"] == UNDER["services"]["api"]["logging"]


def test_milvus_needs_no_other_service_and_keeps_everything_in_its_volume() -> None:
    environment = MILVUS["environment"]
    [(volume, folder)] = [mounted.split(":") for mounted in MILVUS["volumes"]]
    assert set(STACK["volumes"]) == {volume}
    assert "depends_on" not in MILVUS
    assert (environment["ETCD_USE_EMBED"], environment["COMMON_STORAGETYPE"]) == ("true", "local")
    assert environment["MQ_TYPE"] == "rocksmq"
    assert environment["ETCD_DATA_DIR"].startswith(f"{folder}/")


def test_etcd_inside_milvus_can_be_reached_by_milvus_alone() -> None:
    [mounted] = MILVUS["configs"]
    assert MILVUS["environment"]["ETCD_CONFIG_PATH"] == mounted["target"]
    configuration = yaml.safe_load(STACK["configs"][mounted["source"]]["content"])
    for name in ("listen-client-urls", "advertise-client-urls"):
        assert configuration[name] == "http://127.0.0.1:2379"


def test_nothing_listens_but_on_the_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(re.fullmatch(r"\$\{EXPOSE_\w+:-127\.0\.0\.1:\d+\}:\d+", port) for port in ports)


def test_build_waits_until_milvus_is_healthy() -> None:
    assert STACK["services"]["generate-index"]["depends_on"] == {"milvus": {"condition": "service_healthy"}}
