"""Fixtures for the tests of this room: folders to draw crops from, and one run of the command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.embeddings.hostile_server import HostileServer, reply
from tests.training.materials import made_up_packages, prepared, write_table
from training.__main__ import main
from training.artwork import Gallery
from training.batches import Folders, Studio
from training.labels import Fonts, open_fonts
from training.packages import read_table


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return prepared(tmp_path_factory.mktemp("materials"))


@pytest.fixture(scope="session")
def studio(folders: Folders) -> Studio:
    return Studio(folders)


@pytest.fixture(scope="session")
def gallery(folders: Folders) -> Gallery:
    return Gallery(folders.artwork)


@pytest.fixture(scope="session")
def fonts(folders: Folders) -> Fonts:
    packages = tuple(package for package in read_table(folders.table) if package.kind == "font")
    return open_fonts(packages, folders.downloads)


@pytest.fixture
def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@contextmanager
def without_tracing() -> Iterator[None]:
    """Run a network without tracing it, which would take longer than three steps."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def eagerly() -> Iterator[None]:
    with without_tracing():
        yield


@dataclass(frozen=True, slots=True)
class QuickRun:
    """A run of `python -m training --quick`: its output, the paths it requested from the registry, and its results.

    `weights` are the Keras weights, and the folder `converted` holds the files that the service loads.
    """

    arguments: tuple[str, ...]
    output: str
    requested: list[str]
    folder: Path
    weights: Path
    converted: Path

    @property
    def first_run(self) -> Path:
        """The folder of the run with the first seed."""
        return self.folder / "seed-1"


@pytest.fixture(scope="session")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> QuickRun:
    root = tmp_path_factory.mktemp("training-data")
    packages = made_up_packages()
    table = write_table(root / "table.json", [package for package, _ in packages])
    arguments = ("--folder", str(root), "--table", str(table), "--workers", "2")
    with (
        without_tracing(),
        pytest.MonkeyPatch.context() as environment,
        HostileServer({package.url(""): reply(content) for package, content in packages}) as registry,
    ):
        environment.setenv("no_proxy", "127.0.0.1")
        ran = CliRunner().invoke(main, [*arguments, "--quick", "--run", "quick", "--registry", registry.url("")])
    assert ran.exit_code == 0, ran.output
    folder = root / "runs" / "quick"
    requested = sorted(head.split()[1] for head in registry.requests)
    weights = folder / "efficientnet-lite0.weights.h5"
    return QuickRun(arguments, ran.stdout, requested, folder, weights, folder / "weights")
