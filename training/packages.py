"""The npm packages that logos are drawn from: exact versions, checked against the registry's SHA-512.

`packages.json` names each with its licence. A package whose own `package.json` states another licence is refused, so a
new version cannot bring a new licence unnoticed.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import requests

from durable import atomic_write

TABLE = Path(__file__).with_name("packages.json")
REGISTRY = "https://registry.npmjs.org"
DOWNLOADS_AT_ONCE = 8
CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
LARGEST_PACKAGE = 64 * 2**20  # bytes; the largest has 20 million

# Open licences that require attribution at most. Share-alike and non-commercial ones are excluded.
ACCEPTED_LICENCES = frozenset({"Apache-2.0", "CC-BY-3.0", "CC-BY-4.0", "CC0-1.0", "ISC", "MIT", "OFL-1.1", "UFL-1.0"})

logger = logging.getLogger(__name__)


class PackageError(Exception):
    """A package cannot be downloaded, or is not what `packages.json` says."""


@dataclass(frozen=True, slots=True)
class Package:
    """One pinned npm package. `kind` is "icons" or "font", `integrity` npm's own `sha512-BASE64`."""

    name: str
    version: str
    kind: str
    licence: str
    integrity: str

    @property
    def file_name(self) -> str:
        """The name of the downloaded file."""
        return f"{self.name.replace('/', '--').removeprefix('@')}-{self.version}.tgz"

    def url(self, registry: str) -> str:
        """Return the address of the package in a registry."""
        return f"{registry.rstrip('/')}/{self.name}/-/{self.name.rpartition('/')[2]}-{self.version}.tgz"


def read_table(path: Path = TABLE) -> tuple[Package, ...]:
    """Return the packages of `packages.json`, in order.

    Raises:
        PackageError: it is not such a list, or a licence is not one of `ACCEPTED_LICENCES`.
    """
    try:
        packages = tuple(Package(**row) for row in json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise PackageError(f"{path} is not a list of packages like {TABLE.name}: {error}") from error
    for package in packages:
        if package.licence not in ACCEPTED_LICENCES:
            raise PackageError(
                f"{package.name}: the licence {package.licence} is not accepted; remove it from {path.name}"
            )
    return packages


def download(packages: tuple[Package, ...], folder: Path, registry: str = REGISTRY) -> None:
    """Download the packages that `folder` lacks. Existing files are checked, and replaced if they are damaged.

    Raises:
        PackageError: a download failed, or is not the pinned file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        fetched = sum(pool.map(lambda package: _ensure(package, folder, registry), packages))
    logger.info("%d packages of icons and fonts, %d of them downloaded now", len(packages), fetched)


def members(package: Package, folder: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a downloaded package whose names end in `suffix`, as (path inside the package, content).

    Raises:
        PackageError: the file is damaged, or its `package.json` states another licence than `packages.json`.
    """
    content = (folder / package.file_name).read_bytes()
    _refuse_other_content(package, content)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = {member.name.partition("/")[2]: member for member in archive.getmembers() if member.isfile()}
        if "package.json" not in files:
            raise PackageError(f"{package.name} {package.version} has no package.json, so no licence: remove it")
        stated = json.loads(_read(archive, files["package.json"])).get("license")
        if stated != package.licence:
            raise PackageError(f"{package.name} {package.version} is licensed {stated}, not {package.licence}")
        for name in sorted(files):
            if name.endswith(suffix):
                yield name, _read(archive, files[name])


def _ensure(package: Package, folder: Path, registry: str) -> bool:
    path = folder / package.file_name
    if path.exists() and _digest(path.read_bytes()) == package.integrity:
        return False
    url = package.url(registry)
    content = bytearray()
    try:
        with requests.get(url, timeout=(CONNECT_SECONDS, READ_SECONDS), stream=True) as answer:
            answer.raise_for_status()
            for block in answer.iter_content(2**20):
                content += block
                if len(content) > LARGEST_PACKAGE:
                    raise PackageError(
                        f"{url} is larger than {LARGEST_PACKAGE:,} bytes: name another mirror (--registry)"
                    )
    except requests.RequestException as error:
        raise PackageError(
            f"{url} was not downloaded ({error}); put it at {path} by hand, or name a mirror (--registry)"
        ) from error
    try:
        _refuse_other_content(package, content)
    except PackageError as error:
        raise PackageError(f"{error}: {url} sent it; try again, or name another mirror (--registry)") from error
    with atomic_write(path, alone=True) as file:
        file.write(content)
    return True


def _refuse_other_content(package: Package, content: bytes | bytearray) -> None:
    found = _digest(content)
    if found != package.integrity:
        raise PackageError(
            f"{package.name} {package.version} is not the pinned file: {found} instead of {package.integrity}"
        )


def _digest(content: bytes | bytearray) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode("ascii")


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None  # the caller passes only regular files
    return file.read()
