"""A record misses no call: it agrees with the directory's content, and with strace."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from torture.disk_model import Disk
from torture.power_loss import record_writer
from torture.power_promises import SCENARIOS
from torture.power_writer import ACKNOWLEDGEMENTS
from torture.recording import KINDS, Call, compile_recorder, operations, read_log, record

ALL_CALLS = """
import os, shutil, sys
os.chdir(sys.argv[1])
os.mkdir("d")
fd = os.open("a", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
os.write(fd, b"abc" * 1000)
os.writev(fd, [b"x", b"yz"])
os.pwrite(fd, b"here", 10)
os.pwritev(fd, [b"x", b"yz"], 600)
os.ftruncate(fd, 2000)
os.posix_fallocate(fd, 0, 5000)
os.fsync(fd)
os.rename("a", "d/b")
os.pwrite(fd, b"still", 20)
os.link("d/b", "c")
os.unlink("c")
os.pwrite(fd, b"and still", 40)
appended = os.open("e", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(appended, b"one")
os.write(appended, b"two")
os.truncate("e", 5)
os.fdatasync(appended)
shutil.copyfile("d/b", "f")
copy = os.open("f", os.O_RDWR)
os.copy_file_range(fd, copy, 100, 0, 50)
os.sendfile(copy, fd, 0, 10)
os.replace("f", "e")
open("g", "w").write("first")
open("g", "w").write("2nd")
os.mkdir("h")
os.rmdir("h")
directory = os.open("d", os.O_RDONLY | os.O_DIRECTORY)
os.mkdir("i", dir_fd=directory)
os.close(os.open("j", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
os.rename("j", "k", src_dir_fd=directory, dst_dir_fd=directory)
os.fsync(directory)
if os.fork() == 0:
    os.pwrite(fd, b"of a child", 0)
    os._exit(0)
os.wait()
os.pwrite(fd, b"of its parent", 3)
"""


FORKED = """
import fcntl, os, sys
fd = os.open(sys.argv[1] + "/a", os.O_RDWR | os.O_CREAT)
os.write(fd, b"x")
if os.fork() == 0:
    os.write(fd, b"y")
    names = [(number, os.path.join("/proc/self/fd", number)) for number in os.listdir("/proc/self/fd")]
    logs = [int(number) for number, name in names if os.path.exists(name) and os.path.samefile(name, sys.argv[2])]
    fcntl.flock(logs[0], fcntl.LOCK_EX)
    try:
        fcntl.flock(logs[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os._exit(0)
    os._exit(1)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root.resolve()


@pytest.fixture(autouse=True)
def source_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def program(source: str, root: Path) -> list[str]:
    return [sys.executable, "-c", source, str(root)]


def writer(name: str, root: Path) -> list[str]:
    return [sys.executable, "-m", "torture.power_writers", name, str(root), "1", "6"]


def test_a_record_of_every_kind_of_call_is_what_the_directory_holds(recorder: Path, root: Path, tmp_path: Path) -> None:
    calls = record(recorder, root, tmp_path / "log", program(ALL_CALLS, root))  # it compares the two
    assert {call.kind for call in calls} == {*KINDS}
    assert (root / "d/b").read_bytes().startswith(b"of of its parent")


def test_a_forked_child_and_its_parent_keep_each_other_from_the_log(recorder: Path, root: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    record(recorder, root, log, [*program(FORKED, root), str(log)])


def test_a_program_that_writes_behind_the_recorders_back_gives_no_record(
    recorder: Path, root: Path, tmp_path: Path
) -> None:
    source = (
        "import ctypes, sys; libc = ctypes.CDLL(None); libc.fopen.restype = ctypes.c_void_p;"
        "libc.fclose(ctypes.c_void_p(libc.fopen((sys.argv[1] + '/a').encode(), b'w')))"
    )
    with pytest.raises(RuntimeError, match="not in the record"):
        record(recorder, root, tmp_path / "log", program(source, root))


def test_a_file_with_the_number_of_a_deleted_one_is_another_file() -> None:
    calls = [
        *(Call("create", "/a", 9, 0, b""), Call("write", "/a", 9, 0, b"x"), Call("unlink", "/a", 0, 0, b"")),
        *(Call("create", "/b", 9, 0, b""), Call("sync", "/b", 9, 0, b"")),
    ]
    disk = Disk()
    for operation in operations(calls):
        disk.do(operation)
    assert disk.after(disk.pending) == {"/b": b""}
    assert [str(change) for change in disk.pending][1] == "write 1 bytes at 0 of file 1"


def test_acknowledgements_lie_where_they_were_written_and_are_no_content(recorder: Path) -> None:
    disk, said = Disk(), []
    for operation in record_writer(recorder, SCENARIOS[0], seed=1, batches=1):
        if isinstance(operation, bytes):
            said.append(operation)
            assert ("/data/logos.hdf5" in disk.names) == (operation != b'["begin"]')
        else:
            disk.do(operation)
    assert said[:2] == [b'["begin"]', b'["made"]']
    assert ACKNOWLEDGEMENTS not in disk.after(disk.pending)


@pytest.mark.parametrize(
    "source",
    [
        "import mmap, os, sys; mmap.mmap(os.open(sys.argv[1] + '/a', os.O_RDWR), 1)",
        "import os, sys; os.symlink('a', sys.argv[1] + '/b')",
        "import os, sys; os.rename(sys.argv[1] + '/a', sys.argv[1] + '/../elsewhere')",
        "import os, sys; os.mkdir(sys.argv[1] + '/d'); os.rename(sys.argv[1] + '/d', sys.argv[1] + '/e')",
    ],
)
def test_what_cannot_be_recorded_ends_the_program(recorder: Path, root: Path, tmp_path: Path, source: str) -> None:
    make = "import sys; open(sys.argv[1] + '/a', 'w').write('x');"
    with pytest.raises(RuntimeError, match="recorder: cannot record"):
        record(recorder, root, tmp_path / "log", program(make + source, root))


def test_a_private_mapping_and_one_for_reading_are_no_writes(recorder: Path, root: Path, tmp_path: Path) -> None:
    source = (
        "import mmap, os, sys; name = sys.argv[1] + '/a'; open(name, 'w').write('x');"
        "mmap.mmap(os.open(name, os.O_RDONLY), 1, prot=mmap.PROT_READ);"
        "mmap.mmap(os.open(name, os.O_RDWR), 1, flags=mmap.MAP_PRIVATE)"
    )
    calls = record(recorder, root, tmp_path / "log", program(source, root))
    assert [call.kind for call in calls] == ["create", "write"]


def test_a_program_that_fails_gives_no_record(recorder: Path, root: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        record(recorder, root, tmp_path / "log", program("1 / 0", root))


@pytest.mark.parametrize("name", ["back_up", "repair", "delete"])
def test_strace_sees_the_calls_that_are_recorded_and_no_others(
    recorder: Path, root: Path, tmp_path: Path, name: str
) -> None:
    trace, log = tmp_path / "trace", tmp_path / "log"
    preload = {"LD_PRELOAD": recorder, "RECORDER_ROOT": root, "RECORDER_LOG": log}
    strace = ["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(trace), "-e", f"trace=/^({'|'.join(TRACED)})$"]
    strace += [part for variable, value in preload.items() for part in ("-E", f"{variable}={value}")]
    if not shutil.which("strace") or subprocess.run([*strace, "true"], capture_output=True).returncode:
        pytest.skip("strace is not installed, or may not trace here")
    subprocess.run([*strace, *writer(name, root)], check=True, capture_output=True)
    recorded = [told(call) for call in read_log(log.read_bytes())]
    assert recorded == [*traced(trace.read_text(), root)]
    assert {"create", "write", "sync", "sync directory"} <= {kind for kind, _, _ in recorded}


TRACED = (
    *("open", "openat", "openat2", "creat", "write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile"),
    *("copy_file_range", "splice", "tee", "vmsplice", "truncate", "ftruncate", "fallocate", "fsync", "fdatasync"),
    *("sync", "syncfs", "sync_file_range", "msync", "link", "linkat", "rename", "renameat", "renameat2", "unlink"),
    *("unlinkat", "rmdir", "mkdir", "mkdirat", "mknod", "mknodat", "symlink", "symlinkat", "ioctl", "io_submit"),
    *("io_uring_setup", "mmap"),
)


def told(call: Call) -> tuple[str, str, int]:
    """The part of a call that strace reports too: the kind, the name, and the number of bytes."""
    size = {"write": len(call.content), "truncate": call.offset}.get(call.kind, 0)
    return call.kind, call.content.decode() if call.kind in ("link", "rename") else call.path, size


def traced(trace: str, root: Path) -> Iterator[tuple[str, str, int]]:
    """Return the calls of a trace that change files below the root, in the form of the record."""
    started: dict[str, str] = {}
    there: set[str] = set()
    for line in trace.splitlines():
        process, call = re.match(r"(\d+) +(.*)", line).groups()  # type: ignore[union-attr]
        if call.endswith("<unfinished ...>"):
            started[process] = call.removesuffix("<unfinished ...>").rstrip()
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
            call = started.pop(process) + resumed[1]
        made = re.match(r"(\w+)\((.*)\) = (\d+)", call)  # others failed, or are no calls
        if not made or str(root) not in made[2]:
            continue
        name, arguments, result = made[1], made[2], int(made[3])
        quoted = [path.removeprefix(str(root)) for path in re.findall(r'"([^"]*)"', arguments)]
        at = re.match(rf"\d+<{root}([^>]*)>", arguments)
        of_file = (at[1] or "/") if at else ""
        if name == "openat":
            path = quoted[0]
            if "O_CREAT" in arguments and path not in there:
                there.add(path)
                yield "create", path, 0
            elif "O_TRUNC" in arguments:
                yield "truncate", path, 0
        elif name in ("write", "writev", "pwrite64", "pwritev", "pwritev2") and at:
            yield "write", of_file, result
        elif name == "ftruncate":
            yield "truncate", of_file, int(arguments.rpartition(", ")[2])
        elif name in ("fsync", "fdatasync"):
            yield "sync directory" if (root / of_file[1:]).is_dir() else "sync", of_file, 0
        elif name in ("link", "linkat", "rename", "renameat", "renameat2"):
            there.add(quoted[1])
            there.difference_update(quoted[:1] if name.startswith("rename") else ())
            yield "link" if name.startswith("link") else "rename", quoted[1], 0
        elif name in ("unlink", "unlinkat", "rmdir"):
            there.discard(quoted[0])
            yield "unlink", quoted[0], 0
        elif name in ("mkdir", "mkdirat"):
            yield "mkdir", quoted[0], 0
        elif name == "mmap":
            assert "MAP_SHARED" not in arguments or "PROT_WRITE" not in arguments
        elif name != "ioctl" or "FICLONE" in arguments:
            yield name, arguments, result
