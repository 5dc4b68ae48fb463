"""The document: valid, complete, true to the settings and the code, and what request bodies are validated by."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import falcon.testing
import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from api import openapi
from api.app import AnnApp, create_app
from api.errors import MAPPING
from api.openapi import routes
from api.routes import schemas
from api.routes.parameters import DEFAULT_COUNT
from api.server.refusal import SECONDS_UNTIL_RETRY
from embeddings.images.decode import FORMATS
from tests.openapi.examples import examples
from tests.openapi.references import inlined
from tests.settings_with import settings_with


@pytest.fixture
def open_app(tmp_path: Path) -> Iterator[Callable[..., AnnApp]]:
    apps = []

    def open_one(**changes: Any) -> AnnApp:
        apps.append(create_app(settings_with(data_dir=tmp_path, store_capacity=10, **changes)))
        return apps[-1]

    yield open_one
    for app in apps:
        app.parts.close()


@pytest.fixture
def app(open_app: Callable[..., AnnApp]) -> AnnApp:
    return open_app(allow_delete=True)


def document_of(app: AnnApp) -> Any:
    return falcon.testing.TestClient(app).simulate_get("/openapi.json").json


def operations_in(document: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    return {
        (method.upper(), path): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def schema_of_body(document: Mapping[str, Any], path: str) -> Any:
    return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]


def test_document_is_valid_openapi_3_1(app: AnnApp) -> None:
    document = document_of(app)
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1.")


def test_file_is_valid_openapi_3_1_by_itself() -> None:
    OpenAPIV31SpecValidator(dict(openapi.load())).validate()


def test_document_is_filled_in(app: AnnApp) -> None:
    assert not re.findall(r"\$\{.*?\}|x-shared", json.dumps(document_of(app)))


def test_every_route_is_in_the_document(app: AnnApp) -> None:
    assert set(operations_in(document_of(app))) == set(routes(app))


def test_every_route_that_the_document_knows_is_there(app: AnnApp) -> None:
    known = operations_in(openapi.load())
    assert set(known) == set(routes(app))
    assert len({operation["operationId"] for operation in known.values()}) == len(known)


def test_deleting_is_in_the_document_only_where_it_is_allowed(open_app: Callable[..., AnnApp]) -> None:
    deletion = ("DELETE", "/api/v1/ann/{logo_id}")
    assert deletion not in operations_in(document_of(open_app()))
    assert deletion in operations_in(document_of(open_app(allow_delete=True)))


def test_answers_link_only_to_operations_that_are_there(open_app: Callable[..., AnnApp]) -> None:
    def links(document: Any) -> set[str]:
        return {
            link["operationId"]
            for operation in operations_in(document).values()
            for answer in operation["responses"].values()
            for link in answer.get("links", {}).values()
        }

    assert links(document_of(open_app())) == {"neighboursOfLogo", "provenanceOfLogos"}
    assert links(document_of(open_app(allow_delete=True))) == {"neighboursOfLogo", "provenanceOfLogos", "deleteLogo"}


def test_limits_are_those_of_the_settings(open_app: Callable[..., AnnApp]) -> None:
    changes = {"max_batch_logos": 7, "max_add_logos": 8, "max_body_bytes": 12345, "image_max_bytes": 23456}
    app = open_app(**changes, default_index="mine", receive_seconds=2.5)
    document = inlined(document_of(app))
    logo_ids, _, index, *_ = document["paths"]["/api/v1/ann/batch"]["get"]["parameters"]
    assert logo_ids["schema"]["maxItems"] == 7
    assert "at most 7." in logo_ids["description"]
    assert index["schema"]["default"] == "mine"
    assert "`mine`" in index["description"]
    assert schema_of_body(document, "/api/v1/ann/batch")["properties"]["logo_ids"]["maxItems"] == 7
    assert schema_of_body(document, "/api/v1/ann/add")["properties"]["logos"]["maxItems"] == 8
    embedding = schema_of_body(document, "/api/v1/ann/from_embedding")["properties"]["embedding"]
    assert (embedding["minItems"], embedding["maxItems"]) == (1280, 1280)
    too_large = document["components"]["responses"]["413"]["description"]
    assert "12345 bytes" in too_large
    assert "23456" in too_large
    assert "23456 bytes" in document["paths"]["/api/v1/ann/from_image"]["post"]["description"]
    assert "2.5 s" in document["components"]["responses"]["408"]["description"]


def test_limits_in_the_document_are_those_of_the_code(app: AnnApp) -> None:
    document = inlined(document_of(app))
    in_address = document["paths"]["/api/v1/ann/{logo_id}"]["get"]["parameters"][1]
    in_body = schema_of_body(document, "/api/v1/ann/from_embedding")["properties"]["count"]
    in_batch = schema_of_body(document, "/api/v1/ann/batch")["properties"]["count"]
    assert (in_address["name"], in_address["schema"]["default"], in_body["default"]) == ("count", DEFAULT_COUNT, 1)
    assert in_batch["default"] == DEFAULT_COUNT
    assert in_address["schema"]["maximum"] == in_body["maximum"] == schemas.MAX_COUNT
    images = document["paths"]["/api/v1/ann/from_image"]["post"]["requestBody"]["content"]
    assert list(images) == [f"image/{name.lower()}" for name in FORMATS]
    retry = document["components"]["responses"]["503"]["headers"]["Retry-After"]
    assert retry["schema"]["minimum"] == SECONDS_UNTIL_RETRY


BOX = [0.1, 0.1, 0.9, 0.9]
INVALID: list[tuple[str, Any]] = [
    ("add", []),
    ("add", {"image_url": "https://images.example.org/a.jpg"}),
    ("add", {"image_url": 1, "logos": []}),
    ("add", {"image_url": "", "logos": {}}),
    ("add", {"image_url": "", "logos": [{"id": 0, "bounding_box": BOX}]}),
    ("add", {"image_url": "", "logos": [{"id": 2**63, "bounding_box": BOX}]}),
    ("add", {"image_url": "", "logos": [{"id": 1, "bounding_box": [*BOX, 1]}]}),
    ("add", {"image_url": "", "logos": [{"id": 1, "bounding_box": ["0", 0, 1, 1]}]}),
    ("add_embeddings", {"logos": [{"id": 1}]}),
    ("add_embeddings", {"logos": [{"id": 1, "embedding": 1}]}),
    ("add_embeddings", {"logos": [{"id": 1, "embedding": "", "colour": "red"}]}),
    ("from_embedding", "a"),
    ("from_embedding", {"count": 1}),
    ("from_embedding", {"embedding": 1}),
    ("batch", [1]),
    ("batch", {"logo_ids": []}),
    ("batch", {"logo_ids": [1, "2"]}),
    ("batch", {"logo_ids": [1], "count": 0}),
]


@pytest.mark.parametrize(("route", "body"), INVALID)
def test_bodies_are_validated_by_the_file(app: AnnApp, route: str, body: Any) -> None:
    schema = schema_of_body(openapi.load(), f"/api/v1/ann/{route}")
    error = next(validator(schema, openapi.load()).iter_errors(body))
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
    answer = falcon.testing.TestClient(app).simulate_post(f"/api/v1/ann/{route}", json=body)
    assert answer.status_code == 400
    assert answer.json == {"title": "invalid request", "description": f"body{place}: {error.message}"}


def test_every_error_of_the_rooms_has_a_status_in_the_document(app: AnnApp) -> None:
    written = operations_in(document_of(app))
    for _, answer, _ in MAPPING:
        status = str(answer(title="any").status_code)
        assert any(status in operation["responses"] for operation in written.values())


def test_every_503_says_when_to_try_again(app: AnnApp) -> None:
    assert document_of(app)["components"]["responses"]["503"]["headers"]["Retry-After"]["required"] is True


def test_examples_are_of_their_schemas(app: AnnApp) -> None:
    document = document_of(app)
    by_id = {operation["operationId"]: operation for operation in operations_in(document).values()}
    shown = list(examples(document))
    assert shown
    for example in shown:
        operation = by_id[example.operation_id]
        answer = operation["responses"][str(example.status)]["content"]["application/json"]["schema"]
        validator(answer, document).validate(example.answer)
        if example.status == 200 and example.body is not None:
            validator(operation["requestBody"]["content"]["application/json"]["schema"], document).validate(
                example.body
            )


def validator(schema: Any, document: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})


def test_every_component_is_used() -> None:
    document = openapi.load()
    text = json.dumps(document)
    for kind, components in document["components"].items():
        for name in components if kind != "securitySchemes" else ():  # which are not used by `$ref`
            assert f'"#/components/{kind}/{name}"' in text, f"{kind}/{name}"


def test_document_is_sent_once_and_compressed(app: AnnApp) -> None:
    client = falcon.testing.TestClient(app)
    plain = client.simulate_get("/openapi.json", headers={"Origin": "https://editor.example.org"})
    packed = client.simulate_get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert plain.headers["content-type"] == "application/json"
    assert plain.headers["access-control-allow-origin"] == "*"
    assert gzip.decompress(packed.content) == plain.content
    assert len(packed.content) < 13_000
    known = {"If-None-Match": plain.headers["etag"]}
    assert client.simulate_get("/openapi.json", headers=known).status_code == 304
    assert client.simulate_head("/openapi.json").headers["content-length"] == str(len(plain.content))
