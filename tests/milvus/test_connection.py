"""How the service gets to Milvus: tokens, certificates, and what it takes at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from api.app import AnnApp
from settings import Settings, SettingsError
from tests.end_to_end.service import ROOT, environment
from tests.milvus.indexed import INDEXED, A
from tests.milvus.servers.certificates import Authority, Certificate
from tests.milvus.servers.standalone import StandaloneServer
from tests.waiting import PATIENCE, wait_until

Client = falcon.testing.TestClient
OpenApp = Callable[..., AnnApp]


@dataclass
class Guarded:
    """A Milvus that speaks TLS and asks for a token, and what a service has to know of it."""

    server: StandaloneServer
    authority: Authority
    of_client: Certificate
    mutual: bool

    @property
    def good(self) -> dict[str, Any]:
        certificate = {"milvus_cert": self.of_client.path, "milvus_key": self.of_client.key_path}
        return {
            "milvus_ca": self.authority.path,
            "milvus_server_name": "milvus.internal",  # it is reached by an address that is not in its certificate
            "milvus_connect_seconds": 4.0,
            **(certificate if self.mutual else {}),
        }


@pytest.fixture(scope="module", params=[False, True], ids=["tls", "mutual tls"])
def guarded(
    tmp_path_factory: pytest.TempPathFactory, milvus_binaries: Path, request: pytest.FixtureRequest
) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority(folder / "authority")
    mutual: bool = request.param
    with StandaloneServer(
        folder / "server",
        milvus_binaries,
        authorization=True,
        certificate=authority.certificate("milvus.internal"),
        clients_of=authority.path if mutual else None,
    ) as server:
        yield Guarded(server, authority, authority.certificate("client"), mutual)


def readiness(client: Client) -> tuple[int, str]:
    answer = client.simulate_get("/readyz")
    return answer.status_code, answer.json["checks"]["index"]["detail"]


def test_a_service_gets_through_with_all_that_is_asked_for_and_not_without(
    guarded: Guarded, open_app: OpenApp, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, good = guarded.server, guarded.good
    client = Client(open_app(server, **good))
    wait_until(lambda: readiness(client)[0] == 200)  # at first, its proxy is "not ready yet"
    assert readiness(client) == (200, "empty: none has been built yet")
    stranger = Authority(tmp_path / "stranger", "another authority")
    without: list[dict[str, Any]] = [
        {"milvus_token": "root:wrong"},
        {"milvus_token": ""},
        {"milvus_ca": stranger.path},
        {"milvus_server_name": ""},
        {"milvus_server_name": "elsewhere.internal"},
    ]
    if guarded.mutual:
        of_stranger = stranger.certificate("client")
        without.append({"milvus_cert": None, "milvus_key": None})
        without.append({"milvus_cert": of_stranger.path, "milvus_key": of_stranger.key_path})
    for change in without:
        client = Client(open_app(server, **{**good, **change}))
        status, why = readiness(client)
        assert status == 503, change
        assert server.uri in why
        answer = client.simulate_get(f"{A}/{INDEXED[0]}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert client.simulate_get(f"{A}/count").json == {"count": 60}
        if "milvus_token" in change:
            assert "auth" in why.lower(), why
    assert "root:" not in caplog.text


def test_plain_text_does_not_get_through_to_tls(guarded: Guarded, open_app: OpenApp) -> None:
    uri = guarded.server.uri.replace("https:", "http:")
    client = Client(open_app(guarded.server, milvus_uri=uri, milvus_connect_seconds=4.0))
    status, why = readiness(client)
    assert status == 503
    assert uri in why


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"ANN_ENGINE": "faiss"}, "ANN_ENGINE='faiss': must be annoy or milvus"),
        ({"ANN_MILVUS_URI": "127.0.0.1:19530"}, "ANN_MILVUS_URI='127.0.0.1:19530': must be http://HOST:PORT"),
        ({"ANN_MILVUS_URI": "http://root:Milvus@localhost:19530"}, "must be http://HOST:PORT"),
        ({"ANN_MILVUS_URI": "./milvus.db"}, "must be http://HOST:PORT"),
        ({"ANN_MILVUS_URI": "http://localhost:0"}, "must be http://HOST:PORT"),
        ({"ANN_MILVUS_DATABASE": "a b"}, "ANN_MILVUS_DATABASE='a b': must be a name"),
        ({"ANN_MILVUS_INDEX": "IVF_PQ"}, "ANN_MILVUS_INDEX='IVF_PQ': must be auto, FLAT"),
        ({"ANN_MILVUS_QUERY_SECONDS": "0"}, "ANN_MILVUS_QUERY_SECONDS='0': must be a number of seconds"),
        ({"ANN_MILVUS_CONNECT_SECONDS": "nan"}, "must be a number of seconds"),
        ({"ANN_MILVUS_MESSAGE_BYTES": str(2**26)}, "must be a whole number of bytes from 8192 to 67043328"),
        ({"ANN_MILVUS_REPLICAS": "0"}, "must be a whole number"),
        ({"ANN_MILVUS_CERT": "c.pem", "ANN_MILVUS_CA": "ca.pem"}, "must be set together"),
        ({"ANN_MILVUS_KEY": "k.pem", "ANN_MILVUS_CA": "ca.pem"}, "must be set together"),
        ({"ANN_MILVUS_CERT": "c.pem", "ANN_MILVUS_KEY": "k.pem"}, "require ANN_MILVUS_CA"),
        ({"ANN_MILVUS_CA": "ca.pem", "ANN_MILVUS_URI": "http://localhost:19530"}, "http:// is not encrypted"),
    ],
    ids=lambda value: "-".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_is_named(variables: dict[str, str], complaint: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(variables)
    assert complaint in str(refused.value)


def test_the_token_is_shown_by_nothing() -> None:
    settings = Settings.from_env({"ANN_ENGINE": "Milvus", "ANN_MILVUS_TOKEN": "root:secret"})
    assert settings.milvus.token == "root:secret"
    assert settings.engine == "milvus"
    assert "secret" not in repr(settings)


# Runs what its arguments name as if pymilvus, and gRPC with it, were not installed.
WITHOUT_PYMILVUS = """
import runpy, sys
sys.modules["pymilvus"] = sys.modules["grpc"] = None
sys.argv = sys.argv[1:]
sys.path.insert(0, "")
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def run_without_pymilvus(data_dir: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_PYMILVUS, *arguments],
        cwd=ROOT,
        env={**environment(data_dir), "ANN_BIND": "127.0.0.1:0", **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [("gunicorn", "--config", "gunicorn_conf.py"), ("manage", "generate-index")],
    ids=["service", "generate-index"],
)
def test_without_pymilvus_one_line_says_how_to_install_it(data_dir: Path, arguments: tuple[str, ...]) -> None:
    stopped = run_without_pymilvus(data_dir, *arguments, ANN_ENGINE="milvus")
    assert stopped.returncode == 1
    (line,) = [line for line in stopped.stderr.splitlines() if "pymilvus" in line]
    assert "`pip install -r requirements-milvus.txt`" in line
    assert "--build-arg MILVUS=1" in line
    assert "Traceback" not in stopped.stderr


def test_the_default_engine_takes_no_pymilvus(data_dir: Path) -> None:
    built = run_without_pymilvus(data_dir, "manage", "generate-index", "--tree-count", "3", ANN_MAP_POINTS="0")
    assert built.returncode == 0, built.stderr
    program = """
import sys
sys.modules["pymilvus"] = sys.modules["grpc"] = None
import falcon.testing
from api.app import create_app
app = create_app()
print(falcon.testing.TestClient(app).simulate_get("/api/v1/ann/3?count=60").json["count"])
app.parts.close()
assert not [name for name in sys.modules if name.startswith("index.milvus")]
"""
    command = [sys.executable, "-c", program]
    served = subprocess.run(command, cwd=ROOT, env=environment(data_dir), capture_output=True, text=True, check=False)
    assert (served.returncode, served.stdout) == (0, "60\n"), served.stderr


def test_a_certificate_that_cannot_be_read_stops_the_start_in_one_line(data_dir: Path) -> None:
    stopped = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--config", "gunicorn_conf.py"],
        cwd=ROOT,
        env={
            **environment(data_dir),
            "ANN_BIND": "127.0.0.1:0",
            "ANN_ENGINE": "milvus",
            "ANN_MILVUS_URI": "https://127.0.0.1:19530",
            "ANN_MILVUS_CA": "/no/ca.pem",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert stopped.returncode == 1
    *started, line = stopped.stderr.splitlines()
    assert line == "robotoff-ann: ANN_MILVUS_CA=/no/ca.pem: cannot be read; correct the path or its permissions"
    assert all(" INFO " in before for before in started)
