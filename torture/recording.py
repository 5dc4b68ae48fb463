"""Record what a program does to the files of a directory, call by call, while it really runs.

HDF5 writes from C, so the record is made below Python: `recorder.c` is preloaded into the process. A record is
complete, or there is none: the recorder ends a process that does what it cannot record, and the record, replayed on an
empty directory, must give the real one.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torture.disk_model import DIRECTORY, Disk, Operation, Rename, Sync, SyncDirectory, Tree, Truncate, Write

_SOURCE = Path(__file__).with_name("recorder.c")
_HEADER = struct.Struct("=4IQq")
KINDS = ("create", "mkdir", "write", "truncate", "sync", "sync directory", "link", "rename", "unlink")


@dataclass(frozen=True, slots=True)
class Call:
    """One call that succeeded.

    Attributes:
        kind: one of `KINDS`.
        path: the path of the call, from the root: "/" and so on. (The file's name may have changed since.)
        inode: the number of the file.
        offset: where it wrote; the size after a truncate.
        content: what it wrote; the new name of a link or a rename.
    """

    kind: str
    path: str
    inode: int
    offset: int
    content: bytes


def compile_recorder(directory: Path) -> Path:
    """Compile the recorder into a directory, and return the library.

    Raises:
        OSError: there is no C compiler, or it fails; the message has its output.
    """
    compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), "c++")
    library = directory / "recorder.so"
    flags = ["-x", "c", "-O1", "-fPIC", "-shared", "-pthread", "-U_FORTIFY_SOURCE"]
    done = subprocess.run([compiler, *flags, str(_SOURCE), "-o", str(library)], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"cannot compile {_SOURCE}: {done.stderr}")
    return library


def record(library: Path, root: Path, log: Path, command: Sequence[str | Path]) -> list[Call]:
    """Run a program, and return what it and its children did to the files below a directory, empty at first.

    Args:
        library: the compiled recorder.
        root: the directory.
        log: a new file for the record, outside the directory.
        command: the program and its arguments.

    Raises:
        RuntimeError: the program failed, or did what cannot be or was not recorded; the message has its output.
    """
    root = root.resolve()
    assert not any(root.iterdir()), "existing files are not in the record"
    log.touch()
    environment = {"LD_PRELOAD": str(library), "RECORDER_ROOT": str(root), "RECORDER_LOG": str(log)}
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr}")
    calls = read_log(log.read_bytes())
    disk = Disk()
    for operation in operations(calls):
        disk.do(operation)
    disk.settle()
    if disk.after([]) != _files_below(root):
        raise RuntimeError(f"{command} did what is not in the record")
    return calls


def read_log(log: bytes) -> list[Call]:
    """Return the calls in a log."""
    calls: list[Call] = []
    place = 0
    while place < len(log):
        kind, path_bytes, content_bytes, _, inode, offset = _HEADER.unpack_from(log, place)
        place += _HEADER.size
        path = log[place : place + path_bytes].decode()
        place += path_bytes
        calls.append(Call(KINDS[kind - 1], path, inode, offset, log[place : place + content_bytes]))
        place += content_bytes
    return calls


def operations(calls: Sequence[Call]) -> list[Operation]:
    """Return the operations on a disk for calls that began with an empty directory, one for each."""
    numbers: dict[int, int] = {}  # a file system reuses the number of a deleted file, but the model does not
    result: list[Operation] = []
    for call in calls:
        if call.kind == "create":
            numbers[call.inode] = len(result) + 1
        inode, new_path = numbers.get(call.inode, DIRECTORY), call.content.decode(errors="replace")
        operation: Operation
        match call.kind:
            case "create" | "mkdir":
                operation = Rename({call.path: inode})
            case "write":
                operation = Write(inode, call.offset, call.content)
            case "truncate":
                operation = Truncate(inode, call.offset)
            case "sync":
                operation = Sync(inode)
            case "sync directory":
                operation = SyncDirectory(call.path)
            case "link":
                operation = Rename({new_path: inode})
            case "rename":
                operation = Rename({call.path: None, new_path: inode})
            case _:
                operation = Rename({call.path: None})
        result.append(operation)
    return result


def _files_below(root: Path) -> Tree:
    return {f"/{path.relative_to(root)}": None if path.is_dir() else path.read_bytes() for path in root.rglob("*")}
