"""Milvus servers for the tests: processes that are started, killed, paused and started again on their port and data.

They listen on loopback, on ports that no one else has, and die with the process (the very thread) that started them.
"""

from __future__ import annotations

import abc
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.ports import free_ports
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from pymilvus import MilvusClient

# gRPC reads it when it begins: with it, its threads end what else this process forks (`embeddings.store.hdf5_probe`).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# Run by a child before it becomes the server: it is killed when its parent ends (PR_SET_PDEATHSIG is 1: prctl(2)), and
# SIGINT ends it even where the parent was started in the background.
BECOME = """
import ctypes, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
if sys.platform == "linux":
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""
# Python's gRPC servers hang up on who asks every ten seconds, as pymilvus does, whether they are there.
QUIET = {"grpc.keepalive_time_ms": 300_000}


class MilvusServer(abc.ABC):
    """One server, with an address and data that outlive its ends; leaving its `with` block kills it.

    Attributes:
        uri: its address, the same after each start.
        token: what a client has to say, `user:password`; empty if nobody asks.
        log_path: what it printed, of all its starts.
    """

    name: str
    end_signal = signal.SIGTERM
    seconds_to_end: float = 10

    def __init__(self, folder: Path, *, token: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        (self.port,) = free_ports(1)
        self.uri = f"http://127.0.0.1:{self.port}"
        self.token = token
        self.log_path = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._clients: list[MilvusClient] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._close_clients()
        self.kill()

    @property
    def running(self) -> bool:
        """Whether its process is there, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process that is the server; it has to run."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            AssertionError: it does not; with the end of its log.
        """
        assert not self.running, "it runs already"
        # Coverage would measure the Python of a server, too.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", BECOME, str(os.getpid()), *self._command()],
                cwd=self.folder,
                env={**kept, **self._environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._paused = False
        try:
            wait_until(self._runs_and_answers)
        except TimeoutError as error:
            self.kill()
            raise AssertionError(f"no answer: {self.end_of_log()}") from error
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Let it end by itself, and kill it if it does not."""
        self.resume()
        if self.running:
            assert self._process is not None
            self._process.send_signal(self.end_signal)
            try:
                self._process.wait(self.seconds_to_end)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._gone()

    def kill(self) -> None:
        """SIGKILL it, as a power button would."""
        if self._process is not None:
            self._process.kill()
        self._gone()

    def pause(self) -> None:
        """Let it stand still: connections stay open, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # until the last of its threads stands
        self._paused = True

    def resume(self) -> None:
        """Let it go on after `pause`; nothing if it does."""
        if self._paused and self.running:
            os.kill(self.pid, signal.SIGCONT)
        self._paused = False

    def make_ready(self) -> None:
        """Have it running and empty, whatever a test did to it."""
        self._close_clients()
        self.resume()
        if not self.running:
            self.start()
        self.clear()

    def client(self, **options: Any) -> MilvusClient:
        """A client of it with a connection of its own, closed by the next `make_ready`.

        Args:
            options: those of `MilvusClient`.
        """
        from pymilvus import MilvusClient  # only where it is wanted: it takes half a second

        usual = {"token": self.token, "timeout": PATIENCE, "dedicated": True, "grpc_options": QUIET}
        client = MilvusClient(self.uri, **{**usual, **options})
        self._clients.append(client)
        return client

    def clear(self) -> None:
        """Drop all aliases and collections."""
        client = self.client()
        for alias in client.list_aliases()["aliases"]:
            client.drop_alias(alias)
        for collection in client.list_collections():
            client.drop_collection(collection)

    def end_of_log(self, lines: int = 40) -> str:
        """The last lines that it printed."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    @abc.abstractmethod
    def _command(self) -> Iterable[str]:
        """What runs it; the program with its whole path."""

    def _environment(self) -> dict[str, str]:
        return {}

    def _close_clients(self) -> None:
        while self._clients:
            self._clients.pop().close()

    @abc.abstractmethod
    def _answers(self) -> bool:
        """Whether it is ready for clients."""

    def _gone(self) -> None:
        """Wait for its process, which has ended or is about to."""
        if self._process is not None:
            self._process.wait()
        self._process = None
        self._paused = False

    def _runs_and_answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"it ended with {self._process.returncode}: {self.end_of_log()}")
        return self._answers()
