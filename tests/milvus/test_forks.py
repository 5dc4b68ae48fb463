"""A process that talks to Milvus goes on doing what it did before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.milvus.servers.lite import LiteServer
from tests.original_files import random_vectors, write_store
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from pathlib import Path
from embeddings.store.store_path import inspect
from index.milvus.client import ConnectionOptions, Milvus

milvus = Milvus(ConnectionOptions(sys.argv[1]))
for _ in range(40):
    milvus.call("list_collections", seconds=300)
    assert inspect(Path(sys.argv[2])).capacity == 500
milvus.close()
"""


def test_files_are_read_in_child_processes_beside_a_connection(lite: LiteServer, tmp_path: Path) -> None:
    """Every fifth of them was ended by what gRPC does to them."""
    write_store(tmp_path / "original.hdf5", [5, 6, 7], random_vectors(3))
    command = [sys.executable, "-c", PROGRAM, lite.uri, str(tmp_path / "original.hdf5")]
    environment = {"PATH": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
