from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from embeddings.errors import ModelError
from embeddings.model.convert import _check_same_vectors as check_same_vectors
from embeddings.model.convert import export_in_child_process, export_model, main
from embeddings.model.description import ConvertedModel, locate_model
from embeddings.model.embedder import Embedder
from embeddings.model.preprocessing import B0_PREPROCESSING
from embeddings.model.pretrained import PRETRAINED
from manage import cli
from tests.embeddings.hostile_server import HostileServer, reply

pytestmark = pytest.mark.slow
NAME = "efficientnet-b0"
ROOT = Path(__file__).parents[3]
BUNDLED = locate_model("efficientnet-lite0", "bundled", Path("nowhere"))

# Runs once, because it needs TensorFlow: compute vectors with Keras, save the weights, also in the Keras 2 layout of
# released weights, and convert them under a label.
KERAS = """
import sys
from pathlib import Path
import h5py
import numpy as np
from embeddings.model.convert import main
from embeddings.model.keras_model import build_keras_model
from embeddings.errors import ModelError

work = Path(sys.argv[1])
pixels = np.load(work / "pixels.npy")
model = build_keras_model("efficientnet-b0", "seeded")

rng = np.random.default_rng(5)
for layer in model.layers:
    if layer.name.endswith("bn"):  # as training leaves them: every channel with its own statistics
        gamma, beta, mean, variance = layer.get_weights()
        scale = rng.uniform(0.5, 1.5, gamma.shape)
        shift = rng.normal(0, 1e-4, gamma.shape)
        layer.set_weights([gamma * scale, beta + shift, mean + shift, variance * scale])
gamma = model.get_layer("block1a_bn").gamma
gamma.assign(gamma * (np.arange(gamma.shape[0]) > 0))  # and one channel dead
model.save_weights(work / "mine.weights.h5")
(work / "broken.h5").write_bytes(b"no HDF5")
with h5py.File(work / "released.h5", "w") as file:
    file.attrs["layer_names"] = [layer.name for layer in model.layers]
    for layer in model.layers:
        names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
        group = file.create_group(layer.name)
        group.attrs["weight_names"] = names
        for name, weight in zip(names, layer.weights):
            group[name] = weight.numpy()

mine = build_keras_model("efficientnet-b0", str(work / "mine.weights.h5"))
np.save(work / "mine.npy", mine(pixels, training=False))
try:
    build_keras_model("efficientnet-b0", str(work / "broken.h5"))
except ModelError as error:
    (work / "refusal.txt").write_text(str(error))

arguments = ["efficientnet-b0", str(work / "mine.weights.h5"), str(work / "models")]
sys.exit(main([*arguments, "--label", "noisy-student", "--origin", "our photos", "CC-BY-4.0"]))
"""


def logo(number: int) -> Image.Image:
    """Draw a word on a badge on a noisy background."""
    rng = np.random.default_rng(number)
    width, height = rng.integers(40, 400, 2).tolist()
    background = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((width, height))
    draw = ImageDraw.Draw(background)
    box = (width * 0.1, height * 0.2, width * 0.9, height * 0.8)
    draw.ellipse(box, fill=tuple(rng.integers(0, 256, 3).tolist()))
    draw.text((width * 0.3, height * 0.45), f"BRAND {number}", fill="white")
    return background


LOGOS = [logo(number) for number in range(6)]


@pytest.fixture(scope="session")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the output of KERAS; see its comment."""
    work = tmp_path_factory.mktemp("keras")
    np.save(work / "pixels.npy", np.stack([B0_PREPROCESSING.pixels(crop) for crop in LOGOS]))
    child = subprocess.run(
        [sys.executable, "-c", KERAS, str(work)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    return work


def furthest(vectors: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest distance of a vector from the expected one, relative to the expected one's length."""
    return float((np.linalg.norm(vectors - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


@pytest.fixture(scope="session")
def converted(keras: Path) -> ConvertedModel:
    return export_in_child_process(NAME, str(keras / "mine.weights.h5"), keras / "models", timeout_seconds=300)


def test_a_file_of_keras_weights_is_converted_found_and_served(keras: Path, converted: ConvertedModel) -> None:
    assert converted == locate_model(NAME, str(keras / "mine.weights.h5"), keras / "models")
    assert converted.path.stat().st_size < 9_000_000
    assert converted.description.weights_digest != BUNDLED.description.weights_digest
    assert (converted.description.weights, converted.description.is_trained) == ("mine.weights.h5", True)
    assert converted.description.source == "the file mine.weights.h5"

    expected = np.load(keras / "mine.npy")
    assert furthest(expected[1:], expected[:-1]) > 0.1
    assert furthest(Embedder(converted).embed(LOGOS), expected) < 1e-4  # 1e-3 if Keras had the weights unrounded


def test_converting_the_same_weights_again_gives_the_same_file(keras: Path, converted: ConvertedModel) -> None:
    labelled = locate_model(NAME, "noisy-student", keras / "models")
    assert labelled.path.read_bytes() == converted.path.read_bytes()
    assert labelled.description == replace(
        converted.description, weights="noisy-student", source="our photos", licence="CC-BY-4.0"
    )


def test_a_conversion_leaves_two_files(keras: Path, converted: ConvertedModel) -> None:
    stem = converted.path.stem.rpartition("-")[0]
    left = {path.name for path in (keras / "models").iterdir() if stem in path.name}
    assert left == {converted.path.name, f"{stem}.json"}


def test_a_broken_weights_file_is_named(keras: Path) -> None:
    refusal = (keras / "refusal.txt").read_text()
    assert refusal.startswith(f"{keras}/broken.h5 does not hold the weights of efficientnet-b0 without its top (")
    assert "\n" not in refusal


def test_the_command_downloads_imagenet_weights_proves_them_and_converts_them_where_the_service_looks(
    keras: Path, converted: ConvertedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (keras / "released.h5").read_bytes()
    released = replace(PRETRAINED["imagenet"], digest=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(PRETRAINED, "imagenet", released)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("ANN_DATA_DIR", str(tmp_path))
    with HostileServer({f"/{released.file_name}": reply(content)}) as server:
        monkeypatch.setenv("ANN_WEIGHTS_URL", server.url(""))
        answer = CliRunner().invoke(cli, ["export-model", "--model", NAME, "--weights", "imagenet"])
    assert answer.exit_code == 0, answer.output

    model = locate_model(NAME, "imagenet", tmp_path / ".models")
    assert model.description == replace(
        converted.description, weights="imagenet", source=released.source, licence=released.licence
    )
    assert furthest(Embedder(model).embed(LOGOS), np.load(keras / "mine.npy")) < 1e-4
    assert (tmp_path / ".models" / "downloads" / released.file_name).read_bytes() == content


def test_other_weights_than_the_released_ones_are_not_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with (
        HostileServer({f"/{PRETRAINED['noisy-student'].file_name}": reply(b"others")}) as server,
        pytest.raises(ModelError, match=r"it is another file: its md5 is .*, not a5b48ae7547fc990c7e4f3951230290d"),
    ):
        export_in_child_process(NAME, "noisy-student", tmp_path, timeout_seconds=300, weights_url=server.url(""))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_without_tensorflow_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ModelError) as caught:
        export_in_child_process(NAME, "noisy-student", tmp_path, timeout_seconds=300)
    assert str(caught.value) == (
        "the weights noisy-student cannot be converted without TensorFlow: install it with"
        " `make install`, or `pip install -r requirements.txt`; or run"
        " `python manage.py export-model --model efficientnet-b0 --weights noisy-student --output converted`"
        f" where it is installed, and copy the two files that it writes to {tmp_path}"
    )


def test_a_directory_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="the converted model cannot be written to"):
        export_model(NAME, "seeded", tmp_path / "file" / "models")


def test_without_keras_nothing_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ModelError, match=r"converting weights needs all of requirements\.txt: .*keras"):
        export_model(NAME, "seeded", tmp_path)


def test_a_conversion_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the weights seeded took longer than 0\.01 seconds"):
        export_in_child_process(NAME, "seeded", tmp_path, timeout_seconds=0.01)
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_dies_silently_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ModelError, match="the weights seeded were not converted: exit status 1"):
        export_in_child_process(NAME, "seeded", tmp_path, timeout_seconds=300)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("efficientnet-lite0", "bundled", "the bundled weights are already converted"),
        (NAME, "bundled", "belong to efficientnet-lite0, not to efficientnet-b0"),
        (NAME, "gone.h5", "neither one of imagenet"),
        ("efficientnet-b9", "seeded", "unknown model 'efficientnet-b9'"),
    ],
)
def test_unconvertible_weights_are_refused_without_a_child(
    tmp_path: Path, name: str, weights: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        export_in_child_process(name, weights, tmp_path, timeout_seconds=300)


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (
            "bundled",
            "the weights bundled belong to efficientnet-lite0, not to efficientnet-b0: set"
            " ANN_MODEL=efficientnet-lite0, or ANN_WEIGHTS to imagenet, noisy-student, seeded or to the"
            " path of a Keras weights file",
        ),
        (
            "imagenet",
            "the imagenet weights must be downloaded first:"
            " `python manage.py export-model --model efficientnet-b0 --weights imagenet --output converted` does both",
        ),
    ],
)
def test_the_command_line_ends_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: str, reason: str
) -> None:
    assert main([NAME, weights, str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == reason


def test_a_converted_file_that_computes_something_else_is_not_kept(tmp_path: Path) -> None:
    def other(pixels: NDArray[np.float32], training: bool) -> NDArray[np.float32]:
        return np.full((len(pixels), 1280), np.nan, dtype=np.float32)

    copy = ConvertedModel(tmp_path / "copy.tflite", BUNDLED.description)
    copy.path.write_bytes(BUNDLED.path.read_bytes())
    with pytest.raises(ModelError, match="computes other vectors than Keras"):
        check_same_vectors(copy, other)
    assert not copy.path.exists()
