"""Downloaded packages, from a real registry on loopback that serves them well or badly."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embeddings.hostile_server import Behaviour, HostileServer, raw, reply
from tests.training.materials import published, tgz, write_table
from training.packages import ACCEPTED_LICENCES, Package, PackageError, download, members, read_table

LOGOS, CONTENT = published("@iconify-json/logos", {"icons.json": "{}", "z.svg": "<z/>", "icons/a.svg": "<a/>"})
FLAGS, FLAGS_CONTENT = published("flag-icons", {"flags/4x3/xx.svg": "<svg/>"})
PATH, FLAGS_PATH = "/@iconify-json/logos/-/logos-1.0.0.tgz", "/flag-icons/-/flag-icons-1.0.0.tgz"


@pytest.fixture
def registry(without_proxy: None) -> Iterator[HostileServer]:
    with HostileServer({PATH: reply(CONTENT), FLAGS_PATH: reply(FLAGS_CONTENT)}) as server:
        yield server


def refusal(registry: HostileServer, folder: Path) -> str:
    """Return why the download fails, after checking that it left nothing behind."""
    with pytest.raises(PackageError) as caught:
        download((LOGOS,), folder, registry.url(""))
    assert list(folder.iterdir()) == []
    return str(caught.value)


def test_packages_have_the_addresses_of_npm() -> None:
    assert LOGOS.url("https://registry.npmjs.org/") == f"https://registry.npmjs.org{PATH}"
    assert FLAGS.url("https://mirror.example/npm") == f"https://mirror.example/npm{FLAGS_PATH}"


def test_scoped_packages_are_files_of_the_one_folder() -> None:
    assert LOGOS.file_name == "iconify-json--logos-1.0.0.tgz"
    assert FLAGS.file_name == "flag-icons-1.0.0.tgz"


def test_packages_are_downloaded_once(registry: HostileServer, tmp_path: Path) -> None:
    for _ in range(2):
        download((LOGOS, FLAGS), tmp_path / "new" / "packages", registry.url("/"))
    found = {path.name: path.read_bytes() for path in (tmp_path / "new" / "packages").iterdir()}
    assert found == {LOGOS.file_name: CONTENT, FLAGS.file_name: FLAGS_CONTENT}
    assert sorted(head.split()[1] for head in registry.requests) == [PATH, FLAGS_PATH]


def test_a_package_put_there_by_hand_needs_no_registry(tmp_path: Path) -> None:
    (tmp_path / LOGOS.file_name).write_bytes(CONTENT)
    download((LOGOS,), tmp_path, "http://127.0.0.1:9")
    assert (tmp_path / LOGOS.file_name).read_bytes() == CONTENT


@pytest.mark.parametrize("damaged", [b"", CONTENT[:-1], CONTENT[:50] + b"?" + CONTENT[51:]])
def test_a_damaged_package_is_fetched_anew(registry: HostileServer, tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / LOGOS.file_name).write_bytes(damaged)
    download((LOGOS,), tmp_path, registry.url(""))
    assert (tmp_path / LOGOS.file_name).read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [tmp_path / LOGOS.file_name]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (reply(CONTENT[:-1], f"Content-Length: {len(CONTENT)}"), "was not downloaded"),
        (raw(b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT[:-1]), "is not the pinned file"),
        (reply(FLAGS_CONTENT), "is not the pinned file"),
        (reply(b""), "is not the pinned file"),
        (reply(b"nothing here", status="404 Not Found"), "404 Client Error"),
        (reply(CONTENT, status="503 Busy"), "503 Server Error"),
        (raw(b""), "was not downloaded"),
    ],
    ids=["cut below its length", "cut", "another file", "empty", "not found", "busy", "no answer"],
)
def test_registry_errors_are_reported_and_nothing_is_kept(
    registry: HostileServer, tmp_path: Path, behaviour: Behaviour, reason: str
) -> None:
    registry.behaviours = {PATH: behaviour}
    assert reason in refusal(registry, tmp_path)


def test_a_failed_download_says_what_to_do(registry: HostileServer, tmp_path: Path) -> None:
    registry.behaviours = {}
    assert refusal(registry, tmp_path).endswith(
        f"; put it at {tmp_path / LOGOS.file_name} by hand, or name a mirror (--registry)"
    )


def test_a_registry_that_is_not_there_is_an_error(registry: HostileServer, tmp_path: Path) -> None:
    with HostileServer() as gone:
        pass
    message = refusal(gone, tmp_path)
    assert message.startswith(f"{gone.url(PATH)} was not downloaded")
    assert "Connection refused" in message


def test_what_came_before_a_failure_is_kept(registry: HostileServer, tmp_path: Path) -> None:
    registry.behaviours = {FLAGS_PATH: reply(FLAGS_CONTENT)}
    with pytest.raises(PackageError, match="logos"):
        download((FLAGS, LOGOS), tmp_path, registry.url(""))
    assert list(tmp_path.iterdir()) == [tmp_path / FLAGS.file_name]


def test_the_files_of_a_package_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / LOGOS.file_name).write_bytes(CONTENT)
    assert list(members(LOGOS, tmp_path, ".svg")) == [("icons/a.svg", b"<a/>"), ("z.svg", b"<z/>")]
    assert list(members(LOGOS, tmp_path, "icons.json")) == [("icons.json", b"{}")]


def test_a_damaged_package_is_not_read(tmp_path: Path) -> None:
    (tmp_path / LOGOS.file_name).write_bytes(CONTENT[:-1])
    with pytest.raises(PackageError, match=r"@iconify-json/logos 1\.0\.0 is not the pinned file"):
        next(members(LOGOS, tmp_path, ".svg"))


def test_a_package_that_states_another_licence_is_not_read(tmp_path: Path) -> None:
    package, content = published("relicensed", {"a.svg": "<a/>"}, licence="MIT", stated="BUSL-1.1")
    (tmp_path / package.file_name).write_bytes(content)
    with pytest.raises(PackageError, match=r"relicensed 1\.0\.0 is licensed BUSL-1\.1, not MIT"):
        next(members(package, tmp_path, ".svg"))


def test_a_table_is_read_as_it_is_written(tmp_path: Path) -> None:
    assert read_table(write_table(tmp_path / "table.json", [FLAGS, LOGOS])) == (FLAGS, LOGOS)


@pytest.mark.parametrize("licence", ["CC-BY-SA-4.0", "CC-BY-NC-4.0", "GPL-3.0", ""])
def test_other_licences_are_refused(tmp_path: Path, licence: str) -> None:
    package = Package("shared-alike", "1.0.0", "icons", licence, LOGOS.integrity)
    with pytest.raises(PackageError, match=r"shared-alike: the licence .* remove it from table\.json"):
        read_table(write_table(tmp_path / "table.json", [LOGOS, package]))


def test_the_packages_of_the_bundled_weights_are_pinned_and_openly_licensed() -> None:
    packages = read_table()
    assert {package.licence for package in packages} <= ACCEPTED_LICENCES
    assert {package.kind for package in packages} == {"icons", "font"}
    assert len({package.file_name for package in packages}) == len(packages)
    keys = [(package.kind != "icons", package.name) for package in packages]
    assert keys == sorted(set(keys))
    for package in packages:
        algorithm, _, digest = package.integrity.partition("-")
        assert (algorithm, len(base64.b64decode(digest, validate=True))) == ("sha512", 64), package.name


def test_a_package_without_a_licence_is_not_read(tmp_path: Path) -> None:
    content = tgz({"a.svg": "<a/>"})
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    package = Package("silent", "1.0.0", "icons", "MIT", integrity)
    (tmp_path / package.file_name).write_bytes(content)
    with pytest.raises(PackageError, match=r"silent 1\.0\.0 has no package\.json"):
        list(members(package, tmp_path, ".svg"))


@pytest.mark.parametrize("text", ["no JSON", '{"name": 1}', '[{"name": "a"}]'])
def test_a_file_that_is_not_a_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(PackageError, match=r"table\.json is not a list of packages"):
        read_table(tmp_path / "table.json")


def test_an_endless_package_is_not_kept(
    registry: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.packages.LARGEST_PACKAGE", len(CONTENT) - 1)
    assert f"is larger than {len(CONTENT) - 1:,} bytes" in refusal(registry, tmp_path)
