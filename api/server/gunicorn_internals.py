"""The parts of gunicorn that `api/server/` relies on although they are not its public interface.

gunicorn's version is pinned. When it is raised, `changed_internals` names each part that looks different, and a test
fails with these sentences. Read what the new version does there, adapt the modules named in `used_in`, then this list.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gunicorn

_WORKER, _CONNECTION, _CHUNKS, _LISTENING = "worker.py", "connection.py", "chunked_body.py", "listening.py"
_GTHREAD, _BASE, _UNREADER = "gunicorn.workers.gthread", "gunicorn.workers.base", "gunicorn.http.unreader"


@dataclass(frozen=True, slots=True)
class Method:
    """A method that we override or call.

    Attributes:
        module: of gunicorn.
        name: its class and name.
        parameters: the names that it takes, in order.
        used_in: our module that overrides or calls it.
    """

    module: str
    name: str
    parameters: str
    used_in: str

    def change(self) -> str | None:
        """Return a sentence that says what is different now; None if nothing is."""
        found: Any = importlib.import_module(self.module)
        for part in self.name.split("."):
            found = getattr(found, part, None)
        if found is None:
            return f"{self.module} has no {self.name} any more"
        parameters = " ".join(inspect.signature(found).parameters)
        return None if parameters == self.parameters else f"{self.name} takes ({parameters}), not ({self.parameters})"


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that we read or set, by a piece of gunicorn's source that shows its use.

    Attributes:
        module: of gunicorn.
        name: its class or owner, and its name.
        source: the piece of source.
        used_in: our module that reads or sets it.
    """

    module: str
    name: str
    source: str
    used_in: str

    def change(self) -> str | None:
        """Return a sentence that says what is different now; None if nothing is."""
        text = inspect.getsource(importlib.import_module(self.module))
        return None if self.source in text else f"{self.module} does not say `{self.source}` any more ({self.name})"


INTERNALS: tuple[Method | Attribute, ...] = (
    Method(_GTHREAD, "ThreadWorker.check_config", "cfg log", _WORKER),
    Method(_GTHREAD, "ThreadWorker.get_thread_pool", "self", _WORKER),
    Method(_GTHREAD, "ThreadWorker.accept", "self listener", _WORKER),
    Method(_GTHREAD, "ThreadWorker.set_accept_enabled", "self enabled", _WORKER),
    Method(_GTHREAD, "ThreadWorker.enqueue_req", "self conn", _WORKER),
    Method(_GTHREAD, "ThreadWorker.handle", "self conn", _WORKER),
    Method(_GTHREAD, "ThreadWorker.handle_request", "self req conn", _WORKER),
    Method(_GTHREAD, "ThreadWorker.finish_request", "self conn fs", _WORKER),
    Method(_GTHREAD, "ThreadWorker.murder_pending", "self", _WORKER),
    Method(_BASE, "Worker.notify", "self", _WORKER),
    Method(_BASE, "Worker.handle_error", "self req client addr exc", _WORKER),
    Attribute(_GTHREAD, "the loop calls murder_pending in each round", "self.murder_pending()", _WORKER),
    Attribute(_GTHREAD, "ThreadWorker.nr_conns", "self.nr_conns = 0", _WORKER),
    Attribute(_GTHREAD, "ThreadWorker.worker_connections", "self.worker_connections = ", _WORKER),
    Attribute(_GTHREAD, "ThreadWorker._accepting", "self._accepting = False", _WORKER),
    Attribute(_GTHREAD, "ThreadWorker.poller", "self.poller = selectors.DefaultSelector()", _WORKER),
    Attribute(_BASE, "Worker.alive", "self.alive = True", _WORKER),
    Attribute("gunicorn.http.message", "Request._expected_100_continue", "self._expected_100_continue", _WORKER),
    Method("gunicorn.http.message", "Request.force_close", "self", _WORKER),
    Attribute("gunicorn.http.body", "LengthReader.length", "self.length = length", _WORKER),
    Method(_GTHREAD, "TConn", "cfg sock client server", _CONNECTION),
    Attribute(_GTHREAD, "TConn.initialized", "self.initialized = False", _CONNECTION),
    Attribute(_GTHREAD, "TConn.data_ready", "self.data_ready = False", _CONNECTION),
    Attribute(_GTHREAD, "TConn.parser", "self.parser = None", _CONNECTION),
    Attribute(_UNREADER, "Unreader.buf", "self.buf = io.BytesIO()", _WORKER),
    Method(_UNREADER, "Unreader.take_buffered", "self", _CONNECTION),
    Method(_UNREADER, "Unreader.unread", "self data", _CONNECTION),
    Method(_UNREADER, "IterUnreader", "iterable", _CHUNKS),
    Method("gunicorn.http.body", "LengthReader", "unreader length", _CHUNKS),
    Method("gunicorn.sock", "TCPSocket", "address conf log fd", _LISTENING),
    Method("gunicorn.sock", "TCP6Socket.bind", "self sock", _LISTENING),
    Attribute("gunicorn.arbiter", "Arbiter.LISTENERS", "if not self.LISTENERS:", _LISTENING),
)


def changed_internals(internals: Sequence[Method | Attribute] = INTERNALS) -> list[str]:
    """Return a sentence for each part that this version of gunicorn has changed."""
    found = ((internal, internal.change()) for internal in internals)
    return [
        f"gunicorn {gunicorn.__version__}: {change}; read it anew, then adapt api/server/{internal.used_in}"
        for internal, change in found
        if change is not None
    ]
