"""What the document shows as examples is what the running service answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.openapi.examples import examples
from tests.openapi.toured_service import TouredService
from tests.photo_server import PhotoServer

RANDOM = {"neighboursOfRandomLogo"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TouredService]:
    with PhotoServer() as photos, TouredService(tmp_path_factory.mktemp("tour"), photos) as service:
        service.take_the_tour()
        yield service


def shape(value: Any, *, of_random_logo: bool) -> Any:
    """Answer what must be the same: all but distances, which differ a little from one processor to another."""
    if isinstance(value, dict):
        return {
            key: shape(part, of_random_logo=of_random_logo)
            for key, part in value.items()
            if not (of_random_logo and key == "logo_id")
        }
    if isinstance(value, list):
        return [shape(part, of_random_logo=of_random_logo) for part in value]
    return round(value, 1) if isinstance(value, float) else value


def test_every_example_is_answered_as_the_document_shows(service: TouredService) -> None:
    shown = list(examples(service.document))
    assert len(shown) >= 12
    for example in shown:
        text = json.dumps(example.body).replace("https://images.example.org", service.photos.url(""))
        body = {} if example.body is None else {"data": text, "headers": {"Content-Type": "application/json"}}
        answer = service.request(example.method, example.path, **body)
        is_random = example.operation_id in RANDOM
        told = (example.operation_id, example.name, answer.status_code, shape(answer.json(), of_random_logo=is_random))
        expected = shape(example.answer, of_random_logo=is_random)
        assert told == (example.operation_id, example.name, example.status, expected)
