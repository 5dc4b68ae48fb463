"""Milvus itself: the standalone server of the wheel `milvus`, run without the wheel's own runner.

That runner looks for new ports at each start, and its etcd listens on the default one. Here the configuration is
written once, with our own ports, so that several servers can run side by side, and restart on the same ports.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import lzma
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from tests.milvus.servers.certificates import Certificate
from tests.milvus.servers.server import MilvusServer
from tests.ports import free_ports

PARTS = ("rootCoord", "queryCoord", "queryNode", "dataCoord", "dataNode", "indexNode")
SESSIONS = "by-dev/meta/session"
NO_SUCH_LEASE = 404
RUN_FOLDERS = (Path("/run/milvus"), Path("/tmp/milvus"))  # it locks a file in the first that it may write to


def unpack(folder: Path) -> Path:
    """Unpack the wheel's binary and its libraries, 250 MB, unless that was already done; return their folder.

    Args:
        folder: the target; several processes may unpack there at once.
    """
    spec = importlib.util.find_spec("milvus")
    assert spec is not None, "the wheel milvus is not installed (requirements-dev.txt)"
    assert spec.origin is not None
    packed = list((Path(spec.origin).parent / "data" / "bin").glob("*.lzma"))
    ready = folder / "bin"
    if not ready.exists():
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder))

        def unpack_one(source: Path) -> None:
            target = draft / source.stem
            with lzma.open(source) as compressed, target.open("wb") as file:
                shutil.copyfileobj(compressed, file, 1 << 20)
            target.chmod(0o755)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(unpack_one, sorted(packed, key=lambda file: -file.stat().st_size)))
        try:
            draft.rename(ready)
        except OSError:  # another process was first
            shutil.rmtree(draft)
    return ready


class StandaloneServer(MilvusServer):
    """Milvus 2.3.5, all its parts in one process.

    Right after a restart it answers, but reports loaded collections as not loaded, for about a second.

    Args:
        binaries: the folder that `unpack` returned.
        authorization: require a token, which is `root:Milvus`.
        certificate: use TLS with this certificate.
        clients_of: accept only clients with a certificate from this authority (a PEM file).
        settings: of milvus.yaml, overriding those set here: {"proxy": {"timeTickInterval": 50}}.
    """

    name = "standalone"
    seconds_to_end = 1  # its orderly end waits for half an hour; the wheel's runner gives it a second, too

    def __init__(
        self,
        folder: Path,
        binaries: Path,
        *,
        authorization: bool = False,
        certificate: Certificate | None = None,
        clients_of: Path | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(folder, token="root:Milvus" if authorization else "")
        self._binaries = binaries
        self._etcd, self._health, etcd_peers, internal, *ports = free_ports(4 + len(PARTS))
        self._alias = f"{os.getpid()}-{self.port}"
        self._leases: list[str] = []
        if certificate is not None:
            self.uri = f"https://127.0.0.1:{self.port}"
        etcd = f"http://127.0.0.1:{self._etcd}"
        peers = f"http://127.0.0.1:{etcd_peers}"
        etcd_configuration = {
            "name": "default",
            "listen-client-urls": etcd,
            "advertise-client-urls": etcd,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"default={peers}",
            "enable-grpc-gateway": True,  # for `_forget_sessions`
            "unsafe-no-fsync": True,  # a killed process leaves what it wrote to the kernel
            "heartbeat-interval": 20,  # milliseconds: it has nobody to hear from, and elects itself at once
            "election-timeout": 200,
        }
        configuration: dict[str, dict[str, Any]] = {
            "etcd": {
                "endpoints": f"127.0.0.1:{self._etcd}",
                "use": {"embed": True},
                "data": {"dir": str(folder / "etcd")},
                "config": {"path": str(folder / "etcd.yaml")},
                "log": {"level": "warn", "path": "stdout"},
            },
            "localStorage": {"path": str(folder / "data")},
            "mq": {"type": "rocksmq"},
            "rocksmq": {"path": str(folder / "rocksmq")},
            "common": {
                "storageType": "local",
                # Seconds that it may stand still before etcd takes it for dead, which it does not get over.
                "session": {"ttl": 60},
                "security": {
                    "authorizationEnabled": authorization,
                    "tlsMode": 0 if certificate is None else 1 if clients_of is None else 2,
                },
            },
            "log": {"level": "warn", "stdout": True},
            "queryCoord": {  # milliseconds: its usual second of each makes loading take two more
                "checkSegmentInterval": 100,
                "checkChannelInterval": 100,
                "checkIndexInterval": 500,
                "distPullInterval": 100,
            },
            "quotaAndLimits": {"enabled": False},
            "proxy": {"ip": "127.0.0.1", "port": self.port, "internalPort": internal},
        }
        for part, port in zip(PARTS, ports, strict=True):
            configuration.setdefault(part, {}).update({"ip": "127.0.0.1", "port": port})
        if certificate is not None:
            configuration["tls"] = {
                "serverPemPath": str(certificate.path),
                "serverKeyPath": str(certificate.key_path),
                "caPemPath": str(clients_of or certificate.authority_path),
            }
        for section, values in (settings or {}).items():
            configuration[section] = {**configuration.get(section, {}), **values}
        # JSON is YAML.
        (folder / "etcd.yaml").write_text(json.dumps(etcd_configuration, indent=1))
        (folder / "milvus.yaml").write_text(json.dumps(configuration, indent=1))
        (folder / "glog.conf").write_text("--logtostderr=true\n--minloglevel=1\n")  # without it, it crashes

    def _command(self) -> Iterable[str]:
        return [str(self._binaries / "milvus"), "run", "standalone", "-alias", self._alias]

    def _environment(self) -> dict[str, str]:
        return {
            "DEPLOY_MODE": "STANDALONE",
            "LD_LIBRARY_PATH": str(self._binaries),
            "METRICS_PORT": str(self._health),
            "MILVUSCONF": str(self.folder),
        }

    def _answers(self) -> bool:
        try:
            if self._leases:
                self._forget_sessions()
            healthy = requests.get(f"http://127.0.0.1:{self._health}/healthz", timeout=5).text == "OK"
            if healthy:
                self._leases = self._sessions()
                healthy = bool(self._leases)  # it says that it is well before all its parts do
        except requests.RequestException:
            return False
        return healthy

    def _sessions(self) -> list[str]:
        """The leases that its parts hold in etcd, while they live and for `ttl` seconds more."""
        first, after = (base64.b64encode(f"{SESSIONS}{end}".encode()).decode() for end in ("/", "0"))
        found = self._ask_etcd("kv/range", key=first, range_end=after).get("kvs", [])
        return [entry["lease"] for entry in found if "lease" in entry]

    def _forget_sessions(self) -> None:
        """End the leases of the killed process, which its successor would otherwise wait for."""
        while self._leases:
            try:
                self._ask_etcd("lease/revoke", ID=self._leases[-1])
            except requests.HTTPError as error:
                if error.response.status_code != NO_SUCH_LEASE:
                    raise
            self._leases.pop()

    def _ask_etcd(self, what: str, **body: str) -> Any:
        answer = requests.post(f"http://127.0.0.1:{self._etcd}/v3/{what}", json=body, timeout=5)
        answer.raise_for_status()
        return answer.json()

    def _gone(self) -> None:
        super()._gone()
        for folder in RUN_FOLDERS:
            (folder / f"standalone-{self._alias}.pid").unlink(missing_ok=True)
