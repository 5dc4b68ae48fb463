from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.whitening import half_whitening


def features(count: int = 400) -> npt.NDArray[np.float32]:
    """Return eight correlated features whose variances differ by orders of magnitude."""
    rng = np.random.default_rng(1)
    spread = np.array([30.0, 10.0, 3.0, 1.0, 1.0, 0.3, 0.2, 0.1])
    mixed = rng.normal(size=(count, 8)) * spread @ np.linalg.qr(rng.normal(size=(8, 8)))[0]
    return np.asarray(mixed + rng.uniform(0, 5, 8), dtype=np.float32)


def test_each_component_is_left_the_root_of_its_variance() -> None:
    kernel, bias = half_whitening(features())
    assert {kernel.dtype, bias.dtype} == {np.dtype(np.float32)}
    whitened = features() @ kernel + bias
    variances = np.linalg.eigvalsh(np.cov(features(), rowvar=False))[::-1]
    np.testing.assert_allclose(np.cov(whitened, rowvar=False), np.diag(np.sqrt(variances)), atol=2e-3)
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-3)


def test_constant_features_do_not_divide_by_zero() -> None:
    some = features()
    some[:, 3] = 7.0
    kernel, bias = half_whitening(some)
    assert np.isfinite(kernel).all()
    np.testing.assert_allclose((some @ kernel + bias)[:, -1], 0, atol=1e-3)


def test_fewer_logos_than_features_can_be_whitened() -> None:
    kernel, bias = half_whitening(features(5))
    assert np.isfinite(features(5) @ kernel + bias).all()
