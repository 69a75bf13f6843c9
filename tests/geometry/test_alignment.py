import numpy as np
import pytest

from opensapiens.geometry.alignment import scale_shift_fit


def test_recovers_scale_and_shift_inside_the_mask() -> None:
    rng = np.random.default_rng(0)
    prediction = rng.random((20, 30), dtype=np.float32)
    target = 2.5 * prediction - 4
    mask = prediction > 0.5
    target[~mask] = np.nan
    assert scale_shift_fit(prediction, target, mask) == (pytest.approx(2.5, abs=1e-5), pytest.approx(-4, abs=1e-5))


def test_least_squares() -> None:
    rng = np.random.default_rng(0)
    prediction, target = rng.random(50), rng.random(50)
    expected = np.polyfit(prediction, target, 1)
    np.testing.assert_allclose(scale_shift_fit(prediction, target, np.ones(50)), expected)


def test_constant_prediction_gives_the_mean() -> None:
    assert scale_shift_fit(np.ones(4), np.array([1, 2, 3, 6]), np.ones(4, dtype=bool)) == (0, 3)


def test_nothing_to_fit() -> None:
    with pytest.raises(ValueError, match="mask is empty"):
        scale_shift_fit(np.ones(4), np.ones(4), np.zeros(4))
    with pytest.raises(ValueError, match="not finite"):
        scale_shift_fit(np.array([1, np.nan]), np.ones(2), np.ones(2))
