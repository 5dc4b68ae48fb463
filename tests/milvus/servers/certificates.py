"""Certificates for servers and clients on loopback, from an authority made for the tests."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Certificate:
    """The PEM files of a certificate, its private key, and the authority that vouches for it."""

    path: Path
    key_path: Path
    authority_path: Path


class Authority:
    """Makes certificates that are valid for two days with the command `openssl`; skips the test if that is missing.

    Args:
        folder: an empty one, for the files.
    """

    def __init__(self, folder: Path, name: str = "authority of a test") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("making certificates takes the command openssl")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.path, self._key = folder / "authority.pem", folder / "authority.key"
        _openssl("req", "-x509", *_new_key(self._key), "-subj", f"/CN={name}", "-days", "2", "-out", self.path)

    def certificate(self, name: str, *others: str) -> Certificate:
        """Return a new certificate for a name, and for more names in `others`: `DNS:...` or `IP:...`."""
        path, key, request = (self._folder / f"{name}.{suffix}" for suffix in ("pem", "key", "csr"))
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={','.join((f'DNS:{name}', *others))}\n")
        _openssl("req", *_new_key(key), "-subj", f"/CN={name}", "-out", request)
        by = ("-CA", self.path, "-CAkey", self._key, "-CAcreateserial")
        _openssl("x509", "-req", "-in", request, *by, "-days", "2", "-extfile", extensions, "-out", path)
        return Certificate(path, key, self.path)


def _new_key(path: Path) -> tuple[str | Path, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-keyout", path)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
