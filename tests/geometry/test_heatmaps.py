import numpy as np
import pytest

from opensapiens.geometry import heatmaps as heatmap_module
from opensapiens.geometry.heatmaps import decode_heatmaps, encode_heatmaps

INPUT, HEATMAP = (256, 192), (64, 48)
DECODED = np.array([192 / 191, 256 / 255])  # decoding multiplies by W where encoding divided by W - 1


def test_a_peak_is_one_at_its_pixel_and_gaussian_around_it() -> None:
    on_pixel = np.array([20, 30]) * np.array([191 / 47, 255 / 63])
    heatmaps, weights = encode_heatmaps(on_pixel[None], np.ones(1), INPUT, HEATMAP, sigma=2)
    assert heatmaps.shape == (1, *HEATMAP) and heatmaps.dtype == weights.dtype == np.float32
    assert heatmaps[0, 30, 20] == pytest.approx(1) and weights.tolist() == [1]
    assert heatmaps[0, 32, 23] == pytest.approx(np.exp(-(9 + 4) / 8), abs=1e-5)
    assert heatmaps[0, 30, 26] == pytest.approx(np.exp(-36 / 8), abs=1e-5)
    assert heatmaps[0, 30, 27] == 0 and heatmaps[0, 37, 20] == 0  # beyond 3 sigma
    assert np.count_nonzero(heatmaps) == 13 * 13


def test_hidden_and_outside_points() -> None:
    points = np.array([[90, 90], [90, 90], [-300, 90], [90, 900], [-300, 90], [np.nan, np.nan], [np.nan, np.nan]])
    visible = np.array([0.3, 0.5, 1, 2, 0.4, 0, 1])
    heatmaps, weights = encode_heatmaps(points, visible, INPUT, HEATMAP, sigma=2)
    np.testing.assert_allclose(weights, [0.3, 0.5, 0, 0, 0.4, 0, 0])
    assert heatmaps.reshape(7, -1).any(axis=1).tolist() == [False, True, False, False, False, False, False]
    assert np.isfinite(heatmaps).all()


def test_decode_undoes_encode() -> None:
    points = np.random.default_rng(0).uniform([40, 40], [150, 210], (308, 2))
    heatmaps, _ = encode_heatmaps(points, np.ones(308), INPUT, HEATMAP, sigma=2)
    decoded, scores = decode_heatmaps(np.stack([heatmaps, 0.5 * heatmaps[::-1]]), INPUT)
    assert decoded.shape == (2, 308, 2) and scores.shape == (2, 308) and decoded.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(decoded[0], points * DECODED, atol=0.02)
    np.testing.assert_allclose(decoded[1], (points * DECODED)[::-1], atol=0.02)
    np.testing.assert_allclose(scores[0], heatmaps.reshape(308, -1).max(axis=1))
    np.testing.assert_allclose(scores[1], scores[0, ::-1] / 2)


def test_the_score_is_the_maximum_before_the_blur() -> None:
    spike = np.zeros((1, 1, *HEATMAP), dtype=np.float32)
    spike[0, 0, 30, 20] = 0.7
    points, scores = decode_heatmaps(spike, INPUT)
    assert scores.tolist() == [[pytest.approx(0.7)]]
    np.testing.assert_allclose(points[0, 0], np.array([20, 30]) / [47, 63] * [192, 256], atol=1e-3)


def test_maps_without_a_peak() -> None:
    """Zeros, negative values and plateaus give finite points; scores tell that the first two mean nothing."""
    empty = np.zeros((1, *HEATMAP), dtype=np.float32)
    heatmaps = np.stack([empty, empty - 0.2, empty + 1], axis=1)
    points, scores = decode_heatmaps(heatmaps, INPUT)
    np.testing.assert_allclose(scores, [[0, -0.2, 1]])
    assert np.isfinite(points).all()
    assert (points[0, 0] < 0).all()


def test_a_batch_is_decoded_as_its_images_alone() -> None:
    """Even a first keypoint without a peak, whose neighbors are read from the last keypoint of its own image."""
    heatmaps = np.random.default_rng(0).random((3, 4, *HEATMAP), dtype=np.float32)
    heatmaps[:, 0] -= 2
    together, _ = decode_heatmaps(heatmaps, INPUT)
    alone = [decode_heatmaps(image[None], INPUT)[0][0] for image in heatmaps]
    np.testing.assert_array_equal(together, np.stack(alone))


def test_a_singular_step_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hessian's determinant can be exactly zero; one such keypoint must not end the batch."""
    monkeypatch.setattr("opensapiens.geometry.heatmaps.EPSILON", 0.0)
    flat = np.full((1, 1, *HEATMAP), 60, dtype=np.float32)  # clipped to 50 all over
    points, _ = decode_heatmaps(flat, INPUT, blur_kernel=1)
    assert points.tolist() == [[[0, 0]]]


def test_input_is_left_alone() -> None:
    heatmaps = np.random.default_rng(0).random((1, 3, *HEATMAP), dtype=np.float32)
    before = heatmaps.copy()
    decode_heatmaps(heatmaps, INPUT)
    np.testing.assert_array_equal(heatmaps, before)


@pytest.mark.parametrize("pixels", [1, 5000, 1 << 19])
def test_keypoints_do_not_spill_into_each_other(pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps are blurred several at a time; heat at the edge of one must not reach its neighbor."""
    monkeypatch.setattr(heatmap_module, "BLURRED_PIXELS", pixels)
    heatmaps = np.random.default_rng(0).random((2, 5, *HEATMAP), dtype=np.float32) ** 8
    heatmaps[:, ::2, -3:] += 5
    heatmaps[:, 1::2, :3] += 5
    together = decode_heatmaps(heatmaps, INPUT)
    for keypoint in range(5):
        alone = decode_heatmaps(heatmaps[:, keypoint : keypoint + 1], INPUT)
        for all_of_them, one in zip(together, alone, strict=True):
            np.testing.assert_array_equal(all_of_them[:, keypoint : keypoint + 1], one)
