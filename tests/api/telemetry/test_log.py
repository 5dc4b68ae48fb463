"""The log: one line for each request, the request id in every line, and no secrets."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import re
from collections.abc import Callable, Iterator

import falcon.testing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.app import AnnApp
from api.telemetry.access_line import shown_target
from runtime import logs, request_id
from tests.api.conftest import VECTORS
from tests.api.routes.test_adds import BOX, add
from tests.photo_server import PhotoServer

Client = falcon.testing.TestClient
SECRET = "s3cr3t"


class Log:
    """Captures what the root logger writes in one of the formats."""

    def __init__(self, form: str) -> None:
        self._stream = io.StringIO()
        config = logs.configuration("DEBUG", form)
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(config["formatters"]["line"]["()"]())
        self.handler.addFilter(logs.RequestIdFilter())

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def objects(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text.split("\n") if line]


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    root = logging.getLogger()
    level = root.level
    log = Log(getattr(request, "param", "human"))
    root.addHandler(log.handler)
    root.setLevel(logging.INFO)
    yield log
    root.removeHandler(log.handler)
    root.setLevel(level)
    request_id.end()


BOTH = pytest.mark.parametrize("log", ["human", "json"], indirect=True)
JSON = pytest.mark.parametrize("log", ["json"], indirect=True)


def access_lines(log: Log) -> list[str]:
    return [line for line in log.lines if re.search(r' access (\[\S+\])?: "|"logger":"access"', line)]


def test_each_request_has_one_line(client: Client, log: Log) -> None:
    headers = {"X-Request-ID": "my-id", "User-Agent": 'Mozilla "5"'}
    answer = client.simulate_get("/api/v1/ann/3?count=2&index=efficientnet-b0", headers=headers)
    client.simulate_post("/api/v1/ann/from_embedding", json={"embedding": VECTORS[0].tolist()})
    client.simulate_get("/nothing")
    first, second, third = access_lines(log)
    assert re.search(
        r'INFO \d+ access \[my-id\]: "GET /api/v1/ann/3\?count=2&index=efficientnet-b0" 200'
        rf" {len(answer.content)} bytes \d+\.\d ms - \"Mozilla '5'\"$",
        first,
    )
    assert '"POST /api/v1/ann/from_embedding" 200' in second
    assert '"GET /nothing" 404' in third


@JSON
def test_line_of_a_request_is_an_object_with_its_fields(client: Client, log: Log) -> None:
    answer = client.simulate_get("/api/v1/ann/3?count=2", headers={"X-Request-ID": "my-id", "User-Agent": "curl"})
    (line,) = (line for line in log.objects if line["logger"] == "access")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("time")))
    assert isinstance(line.pop("ms"), float)
    assert isinstance(line.pop("process"), int)
    assert str(line.pop("message")).startswith('"GET /api/v1/ann/3?count=2" 200')
    assert line == {
        "level": "INFO",
        "logger": "access",
        "request_id": "my-id",
        "method": "GET",
        "target": "/api/v1/ann/3?count=2",
        "route": "/api/v1/ann/{logo_id}",
        "status": 200,
        "bytes": len(answer.content),
        "client": "-",
        "user_agent": "curl",
    }


@pytest.mark.parametrize("path", ["/livez", "/nothing", "/api/v1/ann?count=0", "/api/v1/ann/stored", "/readyz"])
def test_answer_has_the_request_id_of_the_client(client: Client, path: str) -> None:
    headers = {"X-Request-ID": "01HF:a/b+c=d@e~f_g.h-i"}
    assert client.simulate_get(path, headers=headers).headers["x-request-id"] == headers["X-Request-ID"]


@pytest.mark.parametrize("named", ["", "a b", "a\tb", "ü", "x" * 129, '"', "a,b", "<script>"])
def test_invalid_request_id_is_replaced(client: Client, named: str) -> None:
    answers = [client.simulate_get("/livez", headers={"X-Request-ID": named}).headers["x-request-id"] for _ in "12"]
    assert all(re.fullmatch("[0-9a-f]{16}", made) for made in answers)
    assert answers[0] != answers[1]


@BOTH
def test_every_line_of_a_request_has_its_id(client: Client, log: Log, photos: PhotoServer) -> None:
    request = client.simulate_post(
        "/api/v1/ann/add",
        json={"image_url": photos.url("/1.jpg"), "logos": [{"id": 900, "bounding_box": BOX}]},
        headers={"X-Request-ID": "the-add"},
    )
    assert request.json == {"added": 1}
    about = [line for line in log.lines if "loaded efficientnet-lite0" in line or "/add" in line]
    assert len(about) == 2
    assert all("the-add" in line for line in about)


@BOTH
def test_error_is_logged_with_its_traceback_and_id(
    open_app: Callable[..., AnnApp], monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    def fail(store: object) -> None:
        raise ValueError("two\nlines \x1b[31m")

    app = open_app()
    monkeypatch.setattr(type(app.parts.store), "seen", fail)
    Client(app).simulate_get("/api/v1/ann/stored", headers={"X-Request-ID": "broken"})
    assert "\x1b" not in log.text
    if log.text.startswith("{"):
        (line,) = (line for line in log.objects if "exception" in line)
        assert line["request_id"] == "broken"
        assert str(line["exception"]).startswith("Traceback")
        assert str(line["exception"]).endswith("ValueError: two\nlines \x1b[31m")
    else:
        (start,) = (number for number, line in enumerate(log.lines) if "failed" in line)
        assert "[broken]" in log.lines[start]
        assert log.lines[start + 1] == "  Traceback (most recent call last):"
        assert "  ValueError: two" in log.lines
        assert "  lines \\x1b[31m" in log.lines


@BOTH
@pytest.mark.parametrize(
    "path",
    [
        "/a%0a2026-11-25%2000:00:00,000%20INFO%201%20access:%20forged",
        "/%1b[2J",
        "/%e2%80%ae",
        "/api/v1/ann/batch?logo_ids=%0aforged",
    ],
)
def test_clients_cannot_forge_lines(client: Client, log: Log, path: str) -> None:
    before = len(log.lines)
    client.simulate_request("GET", path.partition("?")[0], query_string=path.partition("?")[2])
    client.simulate_get("/livez", headers={"User-Agent": "a\u202eb\x7f\x85"})
    assert len(log.lines) == before + 2
    assert log.text.replace("\n", "").isprintable()


@BOTH
def test_log_contains_no_body_and_no_secret(open_app: Callable[..., AnnApp], log: Log, photos: PhotoServer) -> None:
    client = Client(open_app(max_add_logos=3))
    embedding = [0.123456789, *VECTORS[0].tolist()[1:]]
    client.simulate_post("/api/v1/ann/from_embedding", json={"embedding": embedding})
    client.simulate_post("/api/v1/ann/from_embedding", json={"embedding": embedding[1:]})
    client.simulate_post("/api/v1/ann/from_embedding", json={"embedding": [*embedding, SECRET]})
    client.simulate_post("/api/v1/ann/from_embedding", body=json.dumps({"embedding": embedding})[:-3])
    for address in (
        f"http://user:{SECRET}@images.example/1.jpg",
        f"http://127.0.0.1:1/{1}.jpg?signature={SECRET}",
        photos.url(f"/404.jpg?token={SECRET}"),
        f"http://[{SECRET}",
    ):
        add(client, address, (900, BOX))
    add(client, photos.url("/1.jpg"), *((k, BOX) for k in range(1, 9)))
    client.simulate_get(f"/api/v1/ann/3?api_key={SECRET}&count=1&{SECRET}")
    assert len(access_lines(log)) == 10
    assert "0.123456789" not in log.text
    assert log.text.replace(f"&{SECRET}", "").count(SECRET) == 0
    assert max(map(len, log.lines)) < 1000


@BOTH
def test_libraries_do_not_log_the_content_of_images_and_urls(log: Log) -> None:
    for name, settings in logs.configuration("DEBUG", "human")["loggers"].items():
        if name in ("PIL", "urllib3"):
            assert settings["level"] == logging.INFO


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/api/v1/ann?count=3&index=a", "/api/v1/ann?count=3&index=a"),
        ("/x?password=1&count=2&=3&flag", "/x?password=...&count=2&=...&flag"),
        ("http://user:pass@host/path?logo_ids=1", "/path?logo_ids=1"),
        ("/" + "a" * 600, "/" + "a" * 499 + "..."),
        ('/"quoted"\x00', "/%22quoted%22\\x00"),
        ("-", "-"),
        ("*", "*"),
    ],
)
def test_target_is_shortened_and_has_no_values_of_unknown_parameters(target: str, shown: str) -> None:
    assert shown_target(target) == shown


@given(st.text(max_size=50), st.sampled_from(["human", "json"]))
def test_every_message_is_one_valid_line(message: str, form: str) -> None:
    formatter = logs.configuration("INFO", form)["formatters"]["line"]["()"]()
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "%s", (message,), None)
    line = formatter.format(record)
    assert len(line.splitlines()) == 1
    if form == "json":
        assert json.loads(line)["message"] == logs.escaped(message)


@pytest.mark.parametrize("form", ["human", "json"])
def test_lines_are_limited_in_length_even_with_tracebacks(form: str) -> None:
    formatter = logs.configuration("INFO", form)["formatters"]["line"]["()"]()
    error = ValueError("y" * 10**6)
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "z" * 10**6, None, (ValueError, error, None))
    text = formatter.format(record)
    assert len(text) < logs.MAX_MESSAGE + logs.MAX_TRACEBACK + 500
    assert "(1000000 characters)" in text


def test_lone_surrogate_is_still_json() -> None:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "odd", None, None)
    record.fields = {"target": "\udcff"}
    assert json.loads(logs.JsonFormatter().format(record))["target"] == "\udcff"
