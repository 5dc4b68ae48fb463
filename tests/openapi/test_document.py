"""The document: valid, whole, true to the settings, and written of the very schemas that requests are held to."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import falcon.testing
import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.app import AnnApp, create_app
from api.errors import MAPPING
from api.openapi.answers import COMPONENTS
from api.openapi.document import operations, routes
from api.routes import schemas
from settings import Settings
from tests.openapi.examples import examples
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


def test_every_route_is_in_the_document(app: AnnApp) -> None:
    assert set(operations_in(document_of(app))) == set(routes(app))


def test_every_route_that_the_document_knows_is_there(app: AnnApp) -> None:
    known = operations(Settings(), 1280)
    assert {(operation.method, operation.path) for operation in known} == set(routes(app))
    assert len({operation.id for operation in known}) == len(known)


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
    document = document_of(
        open_app(max_batch_logos=7, max_add_logos=8, default_index="mine", max_body_bytes=12345, receive_seconds=2.5)
    )
    logo_ids, count, index = document["paths"]["/api/v1/ann/batch"]["get"]["parameters"]
    assert (logo_ids["schema"]["maxItems"], count["schema"]["maximum"]) == (7, schemas.MAX_COUNT)
    assert index["schema"]["default"] == "mine"
    assert schema_of_body(document, "/api/v1/ann/add")["properties"]["logos"]["maxItems"] == 8
    embedding = schema_of_body(document, "/api/v1/ann/from_embedding")["properties"]["embedding"]
    assert (embedding["minItems"], embedding["maxItems"]) == (1280, 1280)
    assert "12345 bytes" in document["components"]["responses"]["413"]["description"]
    assert "2.5 s" in document["components"]["responses"]["408"]["description"]


def test_bodies_in_the_document_are_held_to_the_same_schemas_as_requests() -> None:
    bodies = {op.path: op.body for op in operations(Settings(), 1280) if op.method == "POST" and op.body}
    added = bodies["/api/v1/ann/add"].content["application/json"]["properties"]
    assert added["logos"]["items"] is schemas.ADD_BODY["properties"]["logos"]["items"]
    assert added["image_url"] is schemas.ADD_BODY["properties"]["image_url"]
    embedding = bodies["/api/v1/ann/from_embedding"].content["application/json"]["properties"]["embedding"]
    assert embedding["items"] is schemas.FROM_EMBEDDING_BODY["properties"]["embedding"]["items"]


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
    text = repr(operations(Settings(), 1280)) + repr(COMPONENTS)
    for name in COMPONENTS:
        assert f"'#/components/schemas/{name}'" in text or name == "Error"


def test_document_is_sent_once_and_compressed(app: AnnApp) -> None:
    client = falcon.testing.TestClient(app)
    plain = client.simulate_get("/openapi.json", headers={"Origin": "https://editor.example.org"})
    packed = client.simulate_get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert plain.headers["content-type"] == "application/json"
    assert plain.headers["access-control-allow-origin"] == "*"
    assert gzip.decompress(packed.content) == plain.content
    assert len(packed.content) < 12_000
    known = {"If-None-Match": plain.headers["etag"]}
    assert client.simulate_get("/openapi.json", headers=known).status_code == 304
    assert client.simulate_head("/openapi.json").headers["content-length"] == str(len(plain.content))
