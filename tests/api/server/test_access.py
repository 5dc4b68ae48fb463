"""Tokens decide who may read and who may write; everybody else gets an error that says which token is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import falcon.testing
import pytest

from api.app import AnnApp
from api.openapi import routes
from api.server.access import AccessTokens
from settings import Settings, SettingsError
from tests.api.conftest import INDEXED, VECTORS

Client = falcon.testing.TestClient
A = "/api/v1/ann"
WRITE, READ = "write-token-1", "read-token-22"
OPEN = {"/", "/docs", "/docs/{file}", "/explorer/{file}", "/openapi.json", "/livez", "/readyz", "/api/v1/health"}
SEARCHES = {f"{A}/batch", f"{A}/from_embedding", f"{A}/from_image", f"{A}/predict"}


def status(client: Client, method: str, path: str, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = client.simulate_request(method, path.format(logo_id=77, file="x"), headers=headers)
    return answer.status_code


@pytest.mark.parametrize(
    ("tokens", "readers", "writers"),
    [
        ({}, {None, READ, WRITE}, {None, READ, WRITE}),
        ({"write_token": WRITE}, {None, READ, WRITE}, {WRITE}),
        ({"read_token": READ}, {READ}, {READ}),
        ({"write_token": WRITE, "read_token": READ}, {READ, WRITE}, {WRITE}),
    ],
)
def test_every_route_wants_the_token_that_it_needs(
    open_app: Callable[..., AnnApp], tokens: dict[str, str], readers: set[str | None], writers: set[str | None]
) -> None:
    app = open_app(allow_delete=True, **tokens)
    client = Client(app)
    for method, path in routes(app):
        may = readers if method == "GET" or path in SEARCHES else writers
        for token in (None, READ, WRITE):
            is_let_in = status(client, method, path, token) != 401
            assert is_let_in == (path in OPEN or token in may), (method, path, token)


def test_a_refusal_says_what_to_send_and_any_page_may_read_it(open_app: Callable[..., AnnApp]) -> None:
    client = Client(open_app(read_token=READ))
    missing = client.simulate_get(f"{A}/{INDEXED[0]}", headers={"Origin": "https://games.example.org"})
    assert (missing.status_code, missing.json["title"]) == (401, "token required")
    assert missing.headers["www-authenticate"] == 'Bearer realm="robotoff-ann"'
    assert missing.headers["access-control-allow-origin"] == "*"
    for sent in ("Bearer wrong", f"bearer  {READ}x", f"Bearer {READ[:-1]}", "Bearer \u00e9\u00e9\u00e9"):
        wrong = client.simulate_get(f"{A}/{INDEXED[0]}", headers={"Authorization": sent})
        assert (wrong.status_code, wrong.json["title"]) == (401, "wrong token")
        assert 'error="invalid_token"' in wrong.headers["www-authenticate"]
        assert READ not in wrong.text
    for sent in (f"Basic {READ}", READ, f"Bearer {READ} x"):
        assert client.simulate_get(f"{A}/count", headers={"Authorization": sent}).json["title"] == "token required"
    for sent in (f"bearer {READ}", f"BEARER  {READ} "):
        assert client.simulate_get(f"{A}/count", headers={"Authorization": sent}).json == {"count": 60}


def test_preflight_requests_need_no_token_and_allow_to_send_one(open_app: Callable[..., AnnApp]) -> None:
    client = Client(open_app(read_token=READ, write_token=WRITE))
    headers = {
        "Origin": "https://games.example.org",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "Authorization",
    }
    answer = client.simulate_options(f"{A}/{INDEXED[0]}", headers=headers)
    assert answer.status_code == 200
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()


def test_a_write_without_its_token_changes_nothing(open_app: Callable[..., AnnApp]) -> None:
    client = Client(open_app(write_token=WRITE, allow_delete=True))
    logos = [{"id": INDEXED[0], "attributes": {"value": "a"}}]
    assert client.simulate_delete(f"{A}/{INDEXED[0]}").status_code == 401
    assert client.simulate_post(f"{A}/delete", json={"logo_ids": INDEXED}).status_code == 401
    assert client.simulate_put(f"{A}/attributes", json={"logos": logos}).status_code == 401
    assert client.simulate_get(f"{A}/count").json == {"count": 60}
    assert client.simulate_get(f"{A}/attributes?logo_ids={INDEXED[0]}").json["count"] == 0
    body = {"embedding": VECTORS[0].tolist()}
    assert client.simulate_post(f"{A}/from_embedding", json=body).status_code == 200


def test_tokens_are_read_from_files(open_app: Callable[..., AnnApp], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{READ}\n")
    client = Client(open_app(read_token_file=secret))
    assert [status(client, "GET", f"{A}/count", token) for token in (None, READ)] == [401, 200]


@pytest.mark.parametrize("held", [None, b"", b"short", b"two words here", b"\xff\xfe"])
def test_a_file_without_a_token_stops_the_start(tmp_path: Path, held: bytes | None) -> None:
    secret = tmp_path / "secret"
    if held is not None:
        secret.write_bytes(held)
    settings = Settings.from_env({"ANN_WRITE_TOKEN_FILE": str(secret)})
    with pytest.raises(SettingsError, match=r"ANN_WRITE_TOKEN_FILE=.*(cannot be read|must hold)"):
        settings.access.tokens()


def test_a_token_is_set_in_one_place_and_never_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ANN_READ_TOKEN and ANN_READ_TOKEN_FILE: set one of them"):
        Settings.from_env({"ANN_READ_TOKEN": READ, "ANN_READ_TOKEN_FILE": str(tmp_path)})
    with pytest.raises(SettingsError, match=r"ANN_READ_TOKEN=\.\.\.: must be 8 to 256"):
        Settings.from_env({"ANN_READ_TOKEN": "a secret"})
    assert READ not in repr(Settings.from_env({"ANN_READ_TOKEN": READ}))
    assert READ not in repr(AccessTokens(None, READ))
