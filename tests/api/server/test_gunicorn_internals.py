from __future__ import annotations

import ast
from pathlib import Path

from api.server.gunicorn_internals import INTERNALS, Attribute, Method, changed_internals

SERVER = Path(__file__).parents[3] / "api" / "server"


def test_gunicorn_is_as_the_worker_needs_it() -> None:
    assert changed_internals() == []


def test_a_change_is_named_with_the_module_to_adapt() -> None:
    gone = Method("gunicorn.workers.gthread", "ThreadWorker.gone", "self", "worker.py")
    other = Method("gunicorn.workers.gthread", "ThreadWorker.accept", "self server listener", "worker.py")
    unset = Attribute("gunicorn.workers.gthread", "ThreadWorker.gone", "self.gone = 1", "connection.py")
    sentences = [sentence.partition(": ")[2] for sentence in changed_internals([gone, other, unset])]
    assert sentences == [
        "gunicorn.workers.gthread has no ThreadWorker.gone any more; read it anew, then adapt api/server/worker.py",
        "ThreadWorker.accept takes (self listener), not (self server listener); read it anew, then adapt"
        " api/server/worker.py",
        "gunicorn.workers.gthread does not say `self.gone = 1` any more (ThreadWorker.gone); read it anew, then adapt"
        " api/server/connection.py",
    ]


def test_every_method_that_the_worker_overrides_is_in_the_list() -> None:
    module = ast.parse((SERVER / "worker.py").read_text())
    (worker,) = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == "BufferingWorker")
    overridden = {node.name for node in worker.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"}
    assert overridden == {
        internal.name.partition(".")[2]
        for internal in INTERNALS
        if isinstance(internal, Method) and internal.name.startswith(("ThreadWorker.", "Worker."))
    }
