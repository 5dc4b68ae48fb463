"""Processes are killed while they set attributes: what they were told is there, and no bulk is there in part."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from embeddings.attributes.attribute_store import AttributeStore
from embeddings.attributes.copies import faults_of

pytestmark = pytest.mark.slow
BULK = 30  # logos that are set at once
WRITERS = 3


def set_until_killed(path: Path, writer: int, told: Connection) -> None:
    """Set attributes of logos that are this writer's, bulk after bulk, and tell of each."""
    first = 1 + writer * BULK
    with AttributeStore(path) as store:
        version = 0
        while True:
            version += 1
            if version % 5 == 4:
                store.drop(range(first, first + BULK))
            else:
                store.merge({logo_id: attributes(writer, version) for logo_id in range(first, first + BULK)})
            told.send(version)


def attributes(writer: int, version: int) -> dict[str, str]:
    return {"version": str(version), "writer": str(writer), "barcode": f"{version:013}"}


@pytest.mark.parametrize("answers", [1, 2, 7, 20, 33])
def test_what_killed_writers_were_told_is_there(tmp_path: Path, answers: int) -> None:
    path = tmp_path / "attributes"
    context = multiprocessing.get_context("forkserver")
    pipes = [context.Pipe(duplex=False) for _ in range(WRITERS)]
    children = [
        context.Process(target=set_until_killed, args=(path, writer, pipe[1])) for writer, pipe in enumerate(pipes)
    ]
    for child, (_, of_child) in zip(children, pipes, strict=True):
        child.start()
        of_child.close()
    for _ in range(answers):
        last = [ours.recv() for ours, _ in pipes]
    for child in children:
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
    with AttributeStore(path) as store:
        assert faults_of(store.database) == []
        for writer, (ours, _) in enumerate(pipes):
            try:
                while True:
                    last[writer] = ours.recv()
            except EOFError:
                ours.close()
            ids = range(1 + writer * BULK, 1 + (writer + 1) * BULK)
            found = store.get(ids)
            due = [
                {} if version % 5 == 4 else dict.fromkeys(ids, attributes(writer, version))
                for version in (last[writer], last[writer] + 1)  # the second was not answered
            ]
            assert found in due
        store.merge({1: {"version": "after"}})
        assert store.ids_with("version", "after").tolist() == [1]
        assert faults_of(store.database) == []
