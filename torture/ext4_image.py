"""A real ext4 in a file, mounted through a loop device, that can be cut off at any moment. This needs root.

`cut` is the ioctl that the file system's own crash tests use (`EXT4_IOC_SHUTDOWN`, as in `src/godown.c` of xfstests):
from then on nothing reaches the device, not even the journal. The next mount finds what a power cut would leave on a
disk that obeys syncs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path
from typing import Self

_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
_NO_LOG_FLUSH = struct.pack("I", 2)  # EXT4_GOING_FLAGS_NOLOGFLUSH
_BYTES = 512 * 2**20  # from this size on, mkfs.ext4 uses the blocks and journal of an ordinary disk; the file is sparse
_PATIENCE_SECONDS = 60.0


class MountError(Exception):
    """This machine or user cannot create, mount or check the file system; the message says why."""


class Ext4Image:
    """A mounted file system; leaving its `with` block removes the mount and the loop device.

    Args:
        file: the image.
        place: an empty directory to mount it on; created if missing.
        options: for `mount -o`; empty for the kernel's defaults.
    """

    def __init__(self, file: Path, place: Path, options: str = "") -> None:
        self.file = file
        self.place = place
        self._options = ["-o", options] if options else []
        self._device = ""
        self._mounted = False

    @classmethod
    def new(cls, file: Path, place: Path, options: str = "") -> Ext4Image:
        """Create the file system with the defaults of `mkfs.ext4`.

        Raises:
            MountError: it cannot be created.
        """
        file.unlink(missing_ok=True)
        with file.open("xb") as image:
            image.truncate(_BYTES)
        _run("mkfs.ext4", "-q", "-F", str(file))
        return cls(file, place, options)

    def __enter__(self) -> Self:
        self.place.mkdir(exist_ok=True)
        self._device = _run("losetup", "--find", "--show", str(self.file)).strip()
        try:
            self.mount()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._mounted:
                _run("umount", "--lazy", str(self.place))  # open files must not prevent the rest
        finally:
            _run("losetup", "--detach", self._device)

    def mount(self) -> None:
        """Mount it; after a cut, the kernel replays the journal.

        Raises:
            MountError: the kernel refuses.
        """
        _run("mount", "-t", "ext4", *self._options, self._device, str(self.place))
        self._mounted = True

    def unmount(self) -> None:
        """Unmount it; what was not written before a cut is dropped.

        Raises:
            MountError: it is in use.
        """
        _run("umount", str(self.place))
        self._mounted = False
        # A process with a copy of our mounts keeps the file system alive. A mount would then return the one that was
        # cut off, not what is on the device.
        end = time.monotonic() + _PATIENCE_SECONDS
        while not self._is_free():
            if time.monotonic() > end:
                raise MountError(f"{self._device} is still mounted elsewhere")
            time.sleep(0.01)

    def cut(self) -> None:
        """Cut the file system off: what is not on the device now is lost, and every later write and sync fails."""
        fd = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(fd)

    def _is_free(self) -> bool:
        try:
            os.close(os.open(self._device, os.O_RDONLY | os.O_EXCL))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MountError(f"{command[0]} is not installed here") from None
    if done.returncode:
        why, _, _ = done.stderr.partition("\n")
        raise MountError(f"{' '.join(command)}: {why or done.returncode}")
    return done.stdout
