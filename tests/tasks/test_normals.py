"""The surface-normal task."""

import numpy as np
import pytest
import torch

from opensapiens.data.label_kinds import MASK, NORMALS
from opensapiens.data.sample import Sample
from opensapiens.geometry.view import crop_view
from opensapiens.tasks.normals import NormalsTask, cosine_loss, l1_loss

IMAGE = np.zeros((6, 4, 3), np.uint8)


def person(vector: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> Sample:
    """One normal over the upper four rows; below is background."""
    normals = np.full((6, 4, 3), np.nan, np.float32)
    normals[:4] = vector
    return Sample(IMAGE, labels={NORMALS: normals})


def tilted(degrees: float) -> torch.Tensor:
    """(1, 3, 6, 4) vectors of length 5, turned from +z towards +x."""
    angle = np.deg2rad(degrees)
    vector = torch.tensor([5 * np.sin(angle), 0, 5 * np.cos(angle)], dtype=torch.float32)
    return vector[None, :, None, None].expand(1, 3, 6, 4)


def answer(degrees: float) -> np.ndarray:
    """The same as (6, 4, 3)."""
    return np.ascontiguousarray(tilted(degrees)[0].permute(1, 2, 0).numpy())


def test_targets_are_unit_vectors_inside_the_person() -> None:
    sample = person((0.0, 3.0, 4.0))
    sample.labels[MASK] = np.arange(6)[:, None].repeat(4, axis=1) > 0
    targets = NormalsTask().prepare_targets([sample, Sample(IMAGE)])
    normals = targets["normals"].float()
    np.testing.assert_allclose(
        normals[0, :, 1:4].numpy(), np.array([0, 0.6, 0.8])[:, None, None] * np.ones((3, 3, 4)), atol=1e-3
    )
    assert (normals[0, :, [0, 4, 5]] == -1000).all() and (normals[1] == -1000).all()
    assert targets["labeled"].tolist() == [True, False]
    assert NormalsTask().count(targets).tolist() == [12, 9, 8]


def test_a_label_stride_keeps_every_nth_pixel() -> None:
    full = NormalsTask().prepare_targets([person(), Sample(IMAGE)])["normals"]
    assert torch.equal(
        NormalsTask().prepare_targets([person(), Sample(IMAGE)], label_stride=2)["normals"], full[..., 1::2, 1::2]
    )


def test_losses_are_means_over_the_persons_pixels() -> None:
    task = NormalsTask()
    targets = task.prepare_targets([person()])
    losses = task.losses(tilted(60), targets)
    assert losses["cosine"].item() == pytest.approx(0.5, abs=1e-5)
    assert losses["l1"].item() == pytest.approx(5 * np.sin(np.pi / 3) + 1.5, abs=1e-5)  # of the raw vector of length 5
    double = task.prepare_targets([person(), person()])
    torch.testing.assert_close(task.losses(tilted(60).repeat(2, 1, 1, 1), double), losses)


def test_the_background_is_never_supervised() -> None:
    task = NormalsTask()
    maps = torch.rand(1, 3, 6, 4, requires_grad=True)
    sum(task.losses(maps, task.prepare_targets([person()])).values()).backward()
    assert (maps.grad[0, :, 4:] == 0).all()
    assert (maps.grad[0, :, :4] != 0).all()


def test_loss_functions_accept_a_batch_without_a_person() -> None:
    empty, prediction = torch.full((2, 3, 6, 4), -1000.0), torch.rand(2, 3, 6, 4)
    assert cosine_loss(prediction, empty).tolist() == [0, 0]
    assert l1_loss(prediction, empty).tolist() == [0, 0]


def test_decode_raises_the_raw_maps_and_then_normalizes() -> None:
    maps = torch.randn(1, 3, 3, 2)
    normals = NormalsTask().decode(maps[0], crop_view((6, 4)))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-3)
    raised = torch.nn.functional.interpolate(maps, size=(6, 4), mode="bilinear", align_corners=False)
    expected = torch.nn.functional.normalize(raised, dim=1)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(normals, expected, atol=1e-3)
    assert (NormalsTask().decode(torch.zeros(3, 2, 2), crop_view((2, 2))) == 0).all()


def test_the_metric_measures_angles() -> None:
    metric = NormalsTask().new_metric()
    for degrees in (10, 20, 22.02, 28, 90):
        assert metric.update(answer(degrees), person())["mean"] == pytest.approx(degrees, abs=1e-4)
    figures = metric.compute()
    assert figures["mean"] == pytest.approx(170.02 / 5, abs=1e-4)
    assert figures["median"] == pytest.approx(22.02, abs=0.05)
    assert [figures[f"within_{limit}"] for limit in ("11.25", "22.5", "30")] == pytest.approx([0.2, 0.6, 0.8])


def test_no_direction_is_not_the_right_direction() -> None:
    metric = NormalsTask().new_metric()
    metric.update(np.zeros((6, 4, 3), np.float32), person())
    assert metric.compute()["mean"] == 90 and metric.compute()["within_30"] == 0
    with pytest.raises(ValueError, match="labels"):
        metric.update(np.zeros((3, 2, 3), np.float32), person())
    assert np.isnan(NormalsTask().new_metric().compute()["median"])


def test_what_the_view_does_not_show_is_not_measured() -> None:
    metric, unseen = NormalsTask().new_metric(), np.full((6, 4, 3), np.nan, np.float32)
    assert all(map(np.isnan, metric.update(unseen, person()).values()))
    unseen[0] = answer(10)[0]
    assert metric.update(unseen, person())["mean"] == pytest.approx(10, abs=1e-4)
    assert metric.compute()["mean"] == pytest.approx(10, abs=1e-4)


def test_the_trivial_answer_faces_the_camera() -> None:
    metric = NormalsTask().new_metric()
    metric.update(answer(0), person((0.6, 0.0, 0.8)))
    report, truth = metric.report(), np.degrees(np.arcsin(0.6))
    assert report["frontal_mean"] == report["mean"] == pytest.approx(truth, abs=1e-4)
    metric.update(answer(np.degrees(np.arcsin(0.6))), person((0.6, 0.0, 0.8)))
    report = metric.report()
    assert report["mean"] == pytest.approx(truth / 2, abs=1e-4) and report["frontal_mean"] == pytest.approx(truth)
    assert report["frontal_within_30"] == 0 and report["within_30"] == 0.5
    assert report.keys() == metric.compute().keys() | {f"frontal_{name}" for name in metric.compute()}
