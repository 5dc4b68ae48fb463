"""What the document shows as examples is what the running service answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.openapi.examples import examples
from tests.openapi.toured_service import TouredService
from tests.photo_server import PhotoServer

# Of these, what is shown says only what they are like: they tell the time, or where chance or rounding led.
VARIABLE = {"generation", "built_at", "age_seconds", "detail", "x", "y"}
RANDOM = "neighboursOfRandomLogo"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TouredService]:
    with PhotoServer() as photos, TouredService(tmp_path_factory.mktemp("tour"), photos) as service:
        service.take_the_tour()
        yield service


def fixed(value: Any, variable: set[str]) -> Any:
    """Answer what must be the same: of distances, the first digits; of what is variable, the type."""
    if isinstance(value, dict):
        return {key: type(part) if key in variable else fixed(part, variable) for key, part in value.items()}
    if isinstance(value, list):
        return [fixed(part, variable) for part in value]
    return round(value, 1) if isinstance(value, float) else value


def test_every_example_is_answered_as_the_document_shows(service: TouredService) -> None:
    shown = list(examples(service.document))
    assert len(shown) >= 17
    for example in shown:
        text, expected = (
            json.dumps(shown_json).replace("https://images.example.org", service.photos.url(""))
            for shown_json in (example.body, example.answer)
        )
        body = {} if example.body is None else {"data": text, "headers": {"Content-Type": "application/json"}}
        answer = service.request(example.method, example.path, **body)
        variable = VARIABLE | ({"logo_id"} if example.operation_id == RANDOM else set())
        told = (example.operation_id, example.name, answer.status_code, fixed(answer.json(), variable))
        assert told == (example.operation_id, example.name, example.status, fixed(json.loads(expected), variable))
