"""docker-compose.yml and the files over it: what they take from `.env`, what their containers may do, their images."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import yaml

from manage import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text()
STACK = yaml.safe_load(TEXT)
SERVICES = sorted(STACK["services"])
MONITOR = yaml.safe_load((ROOT / "docker" / "monitor" / "docker-compose.yml").read_text())
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
FILES = [ROOT / "docker-compose.yml", *(ROOT / "docker").rglob("*.yml")]


def test_the_env_file_of_the_original_is_honoured() -> None:
    api = STACK["services"]["api"]
    assert api["ports"] == ["${ANN_EXPOSE:-${EXPOSE:-127.0.0.1:5501}}:5501"]
    assert api["volumes"] == ["${ANN_DATA_MOUNT_POINT:-data}:/data"]
    assert api["restart"] == "${RESTART_POLICY:-unless-stopped}"
    assert "data" in STACK["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_do_no_more_than_serve(name: str) -> None:
    service = STACK["services"][name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"] == "${MEMORY_LIMIT:-0}"
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("name", MONITOR["services"])
def test_monitoring_is_pinned_and_gains_no_privileges(name: str) -> None:
    service = MONITOR["services"][name]
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"] == STACK["services"]["api"]["logging"]
    assert all(re.fullmatch(r"\$\{EXPOSE_\w+:-127\.0\.0\.1:\d+\}:\d+", port) for port in service["ports"])


def test_base_image_names_a_patch_of_python_and_a_release_of_debian() -> None:
    tag = re.search(r"^ARG PYTHON=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert tag is not None
    assert re.fullmatch(r"3\.\d+\.\d+-slim-[a-z]+", tag[1])
    assert f"| `PYTHON` | `{tag[1]}` |" in SETTINGS


def test_every_variable_is_on_the_page_of_settings() -> None:
    for file in FILES:
        for name in re.findall(r"\$\{(\w+)", file.read_text()):
            assert f"`{name}`" in SETTINGS, (file.name, name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_docker_line(name: str) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    lines = page.partition("\n### Commands with Docker\n")[2].partition("\n## ")[0].splitlines()
    found = [line for line in lines if re.match(rf"docker compose .*(manage\.py|--rm|instead of) {name}\b", line)]
    assert found
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    for line in found:
        assert set(re.findall(r" (--[a-z-]+)", line.partition("manage.py")[2])) <= known, line
