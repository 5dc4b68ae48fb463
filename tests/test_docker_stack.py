"""docker-compose.yml: what it takes from `.env`, and what its containers may do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text()
STACK = yaml.safe_load(TEXT)
SERVICES = sorted(STACK["services"])


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
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


def test_every_variable_is_on_the_page_of_settings() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    table = page.partition("## The Docker stack")[2]
    for name in re.findall(r"\$\{(\w+)", TEXT):
        assert f"`{name}`" in table, name
