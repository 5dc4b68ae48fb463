"""What the service is bound to answer, as it was recorded, is what the document says: each request, status and answer.

`recorded_requests.jsonl` holds what was sent to the original service, and what this one must answer to it: all of it
where that was compared, else only the status.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema_rs
import pytest

from api.app import create_app
from settings import Settings
from tests.openapi.references import inlined
from tests.openapi.test_document import document_of

RECORDED = [json.loads(line) for line in Path(__file__).with_name("recorded_requests.jsonl").read_text().splitlines()]
# Whole numbers are read as the original read them, more leniently than the document asks for: `+5`, ` 5`, and of `5,6`
# the last.
LENIENT = {"count_param_%2B5", "count_param_%205", "count_param_5,6"}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    app = create_app(Settings(data_dir=tmp_path_factory.mktemp("data"), store_capacity=10))
    yield inlined(document_of(app))
    app.parts.close()


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded["name"])
def test_recorded_request_is_answered_as_the_document_says(recorded: Any, document: Any) -> None:
    found = _operation(document, recorded["method"], urlsplit(recorded["path"]).path)
    if found is None:
        assert set(recorded["statuses"]) <= {200, 400, 404, 405}
        return
    operation, path_values = found
    documented = {int(status) for status in operation["responses"]}
    assert documented >= set(recorded["statuses"])
    if recorded["answer"] is not None:
        (status,) = recorded["statuses"]
        _json_schema_of(operation["responses"][str(status)]).validate(recorded["answer"])
    if recorded["statuses"] == [200]:
        objections = list(_objections(operation, path_values, recorded))
        assert bool(objections) == (recorded["name"] in LENIENT), objections


def _operation(document: Any, method: str, path: str) -> tuple[Any, dict[str, str]] | None:
    path = path.removesuffix("/") or "/"
    for template, operations in sorted(document["paths"].items(), key=lambda item: "{" in item[0]):
        match = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>-?[0-9]+)", template), path)
        if match:
            operation = operations.get(method.lower())
            return None if operation is None else (operation, match.groupdict())
    return None


def _json_schema_of(holder: Any) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(holder["content"]["application/json"]["schema"])


def _objections(operation: Any, path_values: dict[str, str], recorded: Any) -> Iterator[str]:
    query = dict(parse_qsl(urlsplit(recorded["path"]).query, keep_blank_values=True))
    for parameter in operation.get("parameters", []):
        text = (path_values if parameter["in"] == "path" else query).get(parameter["name"])
        if text is None:
            if parameter.get("required"):
                yield f"{parameter['name']} is missing"
        elif not jsonschema_rs.Draft202012Validator(parameter["schema"]).is_valid(_read(text, parameter["schema"])):
            yield f"{parameter['name']}={text}"
    if "requestBody" in operation:
        schema = _json_schema_of(operation["requestBody"])
        yield from (error.message for error in schema.iter_errors(json.loads(recorded["body"])))


def _read(text: str, schema: Any) -> Any:
    if schema["type"] == "array":
        return [_read(part, schema["items"]) for part in text.split(",")]
    return int(text) if schema["type"] == "integer" and re.fullmatch("-?[0-9]+", text) else text
