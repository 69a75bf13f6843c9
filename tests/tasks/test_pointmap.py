"""Points in space: targets from labels alone, what moves with the picture, maps and files."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from opensapiens.data.crop import crop_sample, flip_sample
from opensapiens.data.label_kinds import MASK, POINTS
from opensapiens.data.label_maps import read_points
from opensapiens.data.sample import Sample
from opensapiens.geometry.cameras import PinholeCamera, fitted_camera
from opensapiens.geometry.view import crop_view
from opensapiens.storage.pictures import ImageError
from opensapiens.tasks.pointmap import FOCAL, PointMap, PointmapTask, to_millimeters

SIZE = (48, 36)
CAMERA = PinholeCamera(60.0, 64.0, 15.0, 26.0)
TASK = PointmapTask()


def bumpy(camera: PinholeCamera = CAMERA, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Points of a bumpy surface two meters away, as a camera sees them; none at the picture's left."""
    pixels = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), axis=-1)
    depth = 2 + 0.2 * np.sin(pixels[..., 0] / 5) + 0.1 * np.cos(pixels[..., 1] / 7)
    points = camera.unproject(pixels, depth).astype(np.float32)
    points[:, :4] = np.nan
    return points


def person() -> Sample:
    return Sample(np.zeros((*SIZE, 3), np.uint8), labels={POINTS: bumpy(), MASK: np.ones(SIZE, bool)})


def exact_maps(targets: dict[str, torch.Tensor]) -> torch.Tensor:
    """What a perfect network answers."""
    scale = targets["scale"].view(-1, 1, 1, 1).expand(-1, 1, *targets["points"].shape[2:])
    return torch.cat([targets["points"], scale], dim=1)


def test_a_camera_follows_from_its_points() -> None:
    found = fitted_camera(bumpy())
    assert found is not None
    np.testing.assert_allclose([found.fx, found.fy, found.cx, found.cy], [60, 64, 15, 26], rtol=1e-4)
    assert fitted_camera(np.full((4, 4, 3), np.nan, np.float32)) is None
    assert fitted_camera(np.ones((4, 4, 3), np.float32)) is None  # all in one place


def test_the_camera_of_a_turned_and_mirrored_crop_is_its_own() -> None:
    center, scale = np.array([20.0, 24]), np.array([18.0, 24])
    moved = flip_sample(crop_sample(person(), (96, 72), center, scale, 10.0))
    found = fitted_camera(moved.labels[POINTS])
    assert found is not None
    assert found.fx == pytest.approx(60 * 71 / 18, rel=0.1) and found.fy == pytest.approx(64 * 95 / 24, rel=0.1)
    # Straight, it is exact but for nearest pixels; and mirrored, the principal point lies on the other side.
    straight = crop_sample(person(), (96, 72), center, scale, 0.0)
    plain, mirrored = (fitted_camera(sample.labels[POINTS]) for sample in (straight, flip_sample(straight)))
    assert plain is not None and mirrored is not None
    assert plain.fx == pytest.approx(60 * 71 / 18, rel=0.02) and mirrored.fx == pytest.approx(plain.fx)
    assert mirrored.cx == pytest.approx(71 - plain.cx)


def test_targets_are_what_the_common_camera_sees() -> None:
    targets = TASK.prepare_targets([person(), Sample(np.zeros((*SIZE, 3), np.uint8))])
    assert targets["labeled"].tolist() == [True, False] and targets["scale"][1] == 0
    assert targets["scale"][0].item() == pytest.approx(FOCAL / 60, rel=1e-4)
    assert (
        not targets["valid"][0, :, :, :4].any()
        and targets["valid"][0, :, :, 4:].all()
        and not targets["valid"][1].any()
    )
    metric = targets["points"][0] / targets["scale"][0]
    np.testing.assert_allclose(metric[:, :, 4:].movedim(0, -1), bumpy()[:, 4:], rtol=1e-5)
    assert TASK.count(targets).tolist() == [1, 48 * 32]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_perfect_answer_has_no_loss_and_no_other_has(stride: int) -> None:
    targets = TASK.prepare_targets([person(), Sample(np.zeros((*SIZE, 3), np.uint8))], stride)
    terms = TASK.losses(exact_maps(targets), targets)
    assert all(value.item() == pytest.approx(0, abs=2e-3) for value in terms.values()), terms
    wrong = exact_maps(targets) * torch.tensor([1.3, 0.8, 1.2, 1.1]).view(4, 1, 1)
    wrong.requires_grad_()
    terms = TASK.losses(wrong, targets)
    assert all(value.item() > 0.01 for value in terms.values()), terms
    torch.stack(list(terms.values())).sum().backward()
    assert wrong.grad is not None and wrong.grad.isfinite().all() and (wrong.grad[1] == 0).all()


def test_a_batch_without_labels_has_a_loss_of_zero() -> None:
    targets = TASK.prepare_targets([Sample(np.zeros((*SIZE, 3), np.uint8))])
    maps = torch.randn(1, 4, *SIZE, requires_grad=True)
    total = torch.stack(list(TASK.losses(maps, targets).values())).sum()
    total.backward()
    assert total.item() == 0 and maps.grad is not None and maps.grad.isfinite().all()


def test_metric_points_are_divided_by_the_scale() -> None:
    targets = TASK.prepare_targets([person()])
    points = TASK.decode(exact_maps(targets)[0], crop_view(SIZE))
    metric = TASK.new_metric()
    figures = metric.update(points, person())
    assert figures["l2"] == pytest.approx(0, abs=1e-5) and figures["within_05_cm"] == 1
    far = metric.update(points + np.float32([0.03, 0, 0.04]), person())
    assert far["l2"] == pytest.approx(0.05, rel=1e-3) and far["x_mae"] == pytest.approx(0.03, rel=1e-3)
    assert metric.report()["plane_l2"] > 0.05
    with pytest.raises(ValueError, match="labels"):
        metric.update(points[:3], person())


def test_a_map_knows_its_depth_and_its_camera(tmp_path) -> None:
    whole = PointMap(bumpy())
    assert whole.depth().metric and np.nanmax(whole.depth().values) < 2.31
    for name, write in whole.files().items():
        write(tmp_path / name)
    stored = np.load(tmp_path / "points.npz")
    np.testing.assert_array_equal(stored["points"], bumpy())
    np.testing.assert_allclose(stored["camera"], [60, 64, 15, 26], rtol=1e-4)
    assert to_millimeters(np.array([[np.nan, 0.0001, 2.5, 99]])).tolist() == [[0, 1, 2500, 65535]]


def test_points_are_read_and_checked(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.float32([[[1, 2, 3], [1, 2, -1], [np.nan, 0, 1]]]))
    points = read_points(tmp_path / "a.npy")
    assert points[0, 0].tolist() == [1, 2, 3] and np.isnan(points[0, 1:]).all()
    np.save(tmp_path / "b.npy", np.zeros((2, 2), np.float32))
    with pytest.raises(ImageError, match="points need three channels"):
        read_points(tmp_path / "b.npy")


def test_a_sample_outside_its_mask_has_no_points() -> None:
    sample = replace(person(), labels={POINTS: bumpy(), MASK: np.zeros(SIZE, bool)})
    assert not TASK.prepare_targets([sample])["valid"].any()
