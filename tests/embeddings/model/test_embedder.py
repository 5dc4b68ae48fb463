from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embeddings.errors import ModelError
from embeddings.model.description import ConvertedModel, locate_model
from embeddings.model.embedder import Embedder
from embeddings.model.preprocessing import B0_PREPROCESSING, LITE0_PREPROCESSING

ROOT = Path(__file__).parents[3]
BUNDLED = locate_model("efficientnet-lite0", "bundled", Path("nowhere"))


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(BUNDLED)


def stripes(width: int, height: int, period: int) -> Image.Image:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    red = np.where((x + y) // period % 2, 230, 20)
    pixels = np.stack([red, x * 255 // width, y * 255 // height], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def copy_of_bundled(directory: Path, content: bytes) -> ConvertedModel:
    path = directory / BUNDLED.path.name
    path.write_bytes(content)
    return ConvertedModel(path, BUNDLED.description)


def test_the_bundled_model_gives_these_values(embedder: Embedder) -> None:
    vector = embedder.embed([stripes(120, 90, 8)])[0]
    canonical = [-0.013873, 0.050868, 0.057679, -0.107792, -0.001161, 0.081683, -0.037268, -0.079203]
    np.testing.assert_allclose(vector[:8], canonical, atol=1e-4)


def test_a_vector_has_the_described_shape_and_type(embedder: Embedder) -> None:
    vectors = embedder.embed([stripes(30, 20, 4), stripes(300, 500, 60)])
    assert vectors.shape == (2, embedder.dim) == (2, 1280)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()


def test_an_empty_batch_returns_no_vectors_and_loads_nothing() -> None:
    embedder = Embedder(BUNDLED)
    assert embedder.embed([]).shape == (0, 1280)
    assert not embedder.loaded


def test_a_vector_does_not_depend_on_what_else_is_in_the_request(embedder: Embedder) -> None:
    crops = [stripes(60 + 7 * n, 50, 3 + n) for n in range(5)]
    together = embedder.embed(crops)
    alone = np.concatenate([embedder.embed([crop]) for crop in reversed(crops)])[::-1]
    np.testing.assert_array_equal(together, alone)


def test_different_crops_are_further_apart_than_similar_ones(embedder: Embedder) -> None:
    crop, lighter, other = embedder.embed([stripes(90, 90, 9), stripes(91, 90, 9), stripes(90, 90, 45)])
    assert 0 < np.linalg.norm(crop - lighter) < np.linalg.norm(crop - other) / 2


def test_concurrent_threads_get_the_same_vectors_as_one() -> None:
    crops = [stripes(50 + 10 * n, 80, 2 + n) for n in range(8)]
    one_by_one = Embedder(BUNDLED).embed(crops)
    shared = Embedder(BUNDLED)
    with ThreadPoolExecutor(8) as pool:
        rounds = list(pool.map(lambda n: np.roll(shared.embed(crops[n:] + crops[:n]), n, axis=0), range(8)))
    for vectors in rounds:
        np.testing.assert_array_equal(vectors, one_by_one)


def test_nothing_is_loaded_before_it_is_needed_and_then_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    embedder = Embedder(BUNDLED)
    assert not embedder.loaded
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: embedder.load(), range(4)))
    assert embedder.loaded
    embedder.embed([stripes(30, 30, 3)])
    assert [record.message.split(", in")[0] for record in caplog.records if record.levelno == logging.INFO] == [
        "loaded efficientnet-lite0, bundled weights"
    ]


def test_untrained_weights_are_logged_as_such(caplog: pytest.LogCaptureFixture) -> None:
    untrained = replace(BUNDLED.description, is_trained=False, source="seeded initialisation")
    Embedder(ConvertedModel(BUNDLED.path, untrained)).load()
    Embedder(ConvertedModel(BUNDLED.path, replace(untrained, is_trained=True))).load()
    assert [record.message for record in caplog.records] == ["the bundled weights are untrained: seeded initialisation"]


def test_the_description_is_at_hand(embedder: Embedder) -> None:
    assert embedder.description is BUNDLED.description


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (224, 224), (700, 30)])
def test_a_crop_of_any_size_becomes_the_networks_input(size: tuple[int, int]) -> None:
    pixels = B0_PREPROCESSING.pixels(Image.new("RGB", size, (255, 0, 51)))
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.float32
    expected = (np.array([1.0, 0.0, 0.2]) - B0_PREPROCESSING.mean) / B0_PREPROCESSING.std
    np.testing.assert_allclose(pixels.reshape(-1, 3), np.broadcast_to(expected, (224 * 224, 3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "seen"), [((400, 100), (192, 48)), ((10, 40), (48, 192)), ((900, 2), (192, 1))])
def test_a_letterboxed_crop_keeps_its_aspect_amid_grey(size: tuple[int, int], seen: tuple[int, int]) -> None:
    pixels = LITE0_PREPROCESSING.pixels(Image.new("RGB", size, (255, 255, 255)))
    assert pixels.shape == (192, 192, 3)
    rows, columns = np.nonzero(np.abs(pixels[..., 0] - 1.0) < 1e-6)
    assert (int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1) == seen
    assert abs(int(columns.min()) - (191 - int(columns.max()))) <= 1
    assert abs(int(rows.min()) - (191 - int(rows.max()))) <= 1
    np.testing.assert_allclose(pixels[np.abs(pixels[..., 0] - 1.0) >= 1e-6], 0.0, atol=1e-6)


def test_every_vector_of_the_bundled_model_has_the_length_one(embedder: Embedder) -> None:
    vectors = embedder.embed([stripes(30, 20, 4), stripes(300, 50, 60), Image.new("RGB", (5, 5))])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)


def test_a_crop_is_stretched_to_the_square() -> None:
    left_black = Image.new("L", (40, 10))
    left_black.paste(255, (20, 0, 40, 10))
    red = B0_PREPROCESSING.pixels(left_black)[:, :, 0]
    np.testing.assert_allclose(red[:, 0], -0.485 / 0.229, rtol=1e-5)
    np.testing.assert_allclose(red[:, 223], 0.515 / 0.229, rtol=1e-5)


def test_shrinking_is_antialiased() -> None:
    checks = (np.indices((896, 896)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = B0_PREPROCESSING.pixels(Image.fromarray(checks))
    assert float(np.ptp(pixels[8:-8, 8:-8, 0])) < 0.05


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut to a byte": lambda content: content[:1],
    "cut in the middle": lambda content: content[: len(content) // 2],
    "the last byte cut": lambda content: content[:-1],
    "a byte flipped at the start": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "a byte flipped in the weights": lambda content: content[:4_000_000] + b"\x55" + content[4_000_001:],
    "a byte flipped at the end": lambda content: content[:-1] + bytes([content[-1] ^ 0x80]),
    "bytes appended": lambda content: content + b"\0",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_an_error(tmp_path: Path, damage: str) -> None:
    whole = BUNDLED.path.read_bytes()
    damaged = DAMAGES[damage](whole)
    assert damaged != whole
    embedder = Embedder(copy_of_bundled(tmp_path, damaged))
    with pytest.raises(ModelError, match="are damaged"):
        embedder.embed([stripes(30, 30, 3)])
    assert not embedder.loaded


def test_repaired_weights_are_loaded_by_the_next_request(tmp_path: Path) -> None:
    embedder = Embedder(copy_of_bundled(tmp_path, b"damaged"))
    with pytest.raises(ModelError):
        embedder.load()
    copy_of_bundled(tmp_path, BUNDLED.path.read_bytes())
    embedder.load()
    assert embedder.loaded


def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        Embedder(ConvertedModel(tmp_path / "gone.tflite", BUNDLED.description)).load()


@pytest.mark.parametrize("content", [b"no model at all", bytes(64)])
def test_a_file_that_is_not_a_model_is_an_error_even_with_the_right_digest(tmp_path: Path, content: bytes) -> None:
    converted = copy_of_bundled(tmp_path, content)
    described = replace(converted.description, file_sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(ModelError, match="not a LiteRT model"):
        Embedder(ConvertedModel(converted.path, described)).load()


@pytest.mark.parametrize("changes", [{"dim": 512}, {"preprocessing": B0_PREPROCESSING}])
def test_a_network_of_other_shapes_than_described_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="its description says"):
        Embedder(ConvertedModel(BUNDLED.path, replace(BUNDLED.description, **changes))).load()


def test_embedding_never_imports_tensorflow() -> None:
    script = (
        "import sys; from pathlib import Path; from PIL import Image\n"
        "import embeddings.model.convert, embeddings.model.embedder as room, embeddings.model.description as model\n"
        "assert not any('litert' in name for name in sys.modules), 'the runtime is imported too early'\n"
        "room.Embedder(model.locate_model('efficientnet-lite0', 'bundled', Path())).embed([Image.new('RGB', (9, 9))])\n"
        "heavy = {'tensorflow', 'keras', 'efficientnet'} & {name.split('.')[0] for name in sys.modules}\n"
        "assert not heavy, heavy\n"
    )
    child = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
