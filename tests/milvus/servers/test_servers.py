"""The Milvus servers that the other tests rely on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from pymilvus import MilvusClient, MilvusException

from tests.milvus.servers.certificates import Authority
from tests.milvus.servers.lite import LiteServer
from tests.milvus.servers.server import MilvusServer
from tests.milvus.servers.standalone import StandaloneServer
from tests.waiting import wait_until

DIM = 8


def fill(client: MilvusClient, collection: str = "kept", count: int = 20) -> None:
    client.create_collection(collection, dimension=DIM, metric_type="L2")
    client.upsert(collection, [{"id": k, "vector": [float(k)] * DIM} for k in range(count)])


def count(client: MilvusClient, collection: str = "kept") -> int:
    return len(client.query(collection, filter="id >= 0", output_fields=["id"], limit=100, consistency_level="Strong"))


def loaded(client: MilvusClient, collection: str = "kept") -> bool:
    """Whether it can be searched; right after a restart it cannot, for a moment."""
    try:
        client.query(collection, filter="id == 0", output_fields=["id"])
    except MilvusException:
        return False
    return True


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_server_is_back_on_its_port_with_its_data(milvus: MilvusServer, end: str) -> None:
    client = milvus.client()
    fill(client)
    assert count(client) == 20
    getattr(milvus, end)()
    assert not milvus.running
    with socket.socket() as connection:
        assert connection.connect_ex(("127.0.0.1", milvus.port)) != 0
    milvus.start()
    again = milvus.client()
    if milvus.name == "lite":
        again.load_collection("kept")  # it forgets what was loaded
    wait_until(lambda: loaded(again))
    assert count(again) == 20


def test_a_paused_server_lets_clients_wait_and_then_goes_on(milvus: MilvusServer) -> None:
    client = milvus.client()
    fill(client)
    milvus.pause()
    started = time.monotonic()
    with pytest.raises((MilvusException, grpc.RpcError)):
        client.query("kept", filter="id == 1", timeout=0.5)
    assert time.monotonic() - started > 0.4
    milvus.resume()
    assert count(client) == 20


def test_each_test_finds_an_empty_server_whatever_was_done_to_it(milvus: MilvusServer) -> None:
    client = milvus.client()
    fill(client)
    client.create_alias("kept", "shown")
    milvus.pause()
    milvus.make_ready()
    again = milvus.client()
    assert again.list_collections() == []
    assert again.list_aliases()["aliases"] == []


def test_servers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.milvus.servers.lite import LiteServer\n"
        "server = LiteServer(Path(sys.argv[1])); server.start(); print(server.pid, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "lite"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.kill()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    server = LiteServer(tmp_path / "lite")
    (tmp_path / "lite" / "data").write_text("no folder")
    with pytest.raises(AssertionError, match="FileExistsError"):
        server.start()
    assert not server.running


@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mutual tls"])
def test_a_standalone_server_speaks_tls_and_asks_for_a_token(
    tmp_path: Path, milvus_binaries: Path, mutual: bool
) -> None:
    authority = Authority(tmp_path / "authority")
    of_server = authority.certificate("localhost", "IP:127.0.0.1")
    of_client = authority.certificate("client")
    options: dict[str, Any] = {"secure": True, "timeout": 3}
    if mutual:
        options["ca_pem_path"] = str(authority.path)
        mine = {"client_pem_path": str(of_client.path), "client_key_path": str(of_client.key_path)}
    else:
        options["server_pem_path"] = str(authority.path)
        mine = {}
    with StandaloneServer(
        tmp_path / "server",
        milvus_binaries,
        authorization=True,
        certificate=of_server,
        clients_of=authority.path if mutual else None,
    ) as server:
        client = server.client(**options, **mine)
        assert client.list_collections() == []
        with pytest.raises(MilvusException) as refused:
            server.client(**options, **mine, token="root:wrong")
        assert "auth check failure" in str(refused.value.__cause__)
        if mutual:
            with pytest.raises(MilvusException):
                server.client(**options)


def test_two_standalone_servers_do_not_meet(
    standalone: StandaloneServer, tmp_path: Path, milvus_binaries: Path
) -> None:
    with StandaloneServer(tmp_path / "second", milvus_binaries) as second:
        assert second.port != standalone.port
        fill(second.client())
        assert standalone.client().list_collections() == []
    assert standalone.client().list_collections() == []
