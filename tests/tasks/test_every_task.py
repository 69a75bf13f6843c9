"""What the tasks of heads have in common."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from opensapiens.data.label_kinds import ALBEDO, ALPHA, DEPTH, MASK, NORMALS, PARTS, POINTS
from opensapiens.data.sample import Sample
from opensapiens.geometry.cameras import PinholeCamera
from opensapiens.geometry.view import crop_view, person_view
from opensapiens.labels.keypoints import COCO_17, KeypointSet
from opensapiens.labels.parts import SAPIENS_28, PartSet
from opensapiens.tasks import TASKS
from opensapiens.tasks.albedo import AlbedoTask
from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.matting import MattingTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pointmap import PointmapTask
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.tasks.task import DenseTask, HeadTask, paste

SIZE = (24, 18)
DENSE: list[DenseTask] = [
    SegmentationTask(SAPIENS_28),
    DepthTask(),
    NormalsTask(),
    PointmapTask(),
    MattingTask(),
    AlbedoTask(),
]
EVERY: list[HeadTask] = [PoseTask(COCO_17), *DENSE]
CAMERA = PinholeCamera(20, 22, 8, 11)


def name_of(task: HeadTask) -> str:
    return task.name


def person(seed: int) -> Sample:
    """Every label, from a seed."""
    generator = np.random.default_rng(seed)
    mask = generator.random(SIZE) < 0.7
    points = np.column_stack([generator.uniform(0, 18, (17, 2)), np.full(17, 2)]).astype(np.float32)
    pixels = np.stack(np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0])), axis=-1)
    in_space = CAMERA.unproject(pixels, generator.uniform(1, 2, SIZE))
    labels = {
        MASK: mask,
        PARTS: np.where(mask, generator.integers(1, 28, SIZE), 0).astype(np.uint8),
        DEPTH: np.where(mask, generator.uniform(1, 2, SIZE), np.nan).astype(np.float32),
        NORMALS: np.where(mask[..., None], generator.normal(size=(*SIZE, 3)), np.nan).astype(np.float32),
        POINTS: np.where(mask[..., None], in_space, np.nan).astype(np.float32),
        ALPHA: np.where(mask, generator.uniform(0, 1, SIZE), 0).astype(np.float32),
        ALBEDO: np.where(mask[..., None], generator.uniform(size=(*SIZE, 3)), np.nan).astype(np.float32),
    }
    return Sample(np.zeros((*SIZE, 3), np.uint8), keypoints=points, labels=labels, keypoint_set=COCO_17)


def maps(task: HeadTask, seed: int) -> torch.Tensor:
    """What a head gives: a pointmap's has the scale as one more channel."""
    channels = task.channels + (task.published.scale is not None)
    return torch.rand(channels, 12, 9, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("task", EVERY, ids=name_of)
def test_a_task_follows_from_its_head(task: HeadTask) -> None:
    assert type(task).of_head(task.labels, task.channels, task.published.kind) == task
    assert TASKS[task.name] is type(task) and task.flip_rule.undo(maps(task, 0)[None])[0].shape == maps(task, 0).shape


@pytest.mark.parametrize(
    ("name", "labels", "channels", "sentence"),
    [
        ("pose", SAPIENS_28, 28, "needs a keypoint set"),
        ("pose", None, 17, "needs a keypoint set"),
        ("segmentation", COCO_17, 17, "needs a part set"),
        ("depth", None, 2, "one output channel and no labels, not 2"),
        ("normals", None, 1, "three output channels and no labels, not 1"),
        ("pointmap", None, 1, "three output channels, a scale and no labels, not 1"),
        ("matting", None, 3, "four output channels and no labels, not 3"),
        ("albedo", SAPIENS_28, 28, "three output channels and no labels, not 28"),
    ],
)
def test_a_head_that_no_task_can_have(
    name: str, labels: KeypointSet | PartSet | None, channels: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        TASKS[name].of_head(labels, channels, TASKS[name].published.kind)


@pytest.mark.parametrize("task", EVERY, ids=name_of)
def test_totals_of_ranks_add_up_to_one_metric_of_all(task: HeadTask) -> None:
    alone, ranks, view = task.new_metric(), [task.new_metric(), task.new_metric()], crop_view(SIZE)
    for number in range(5):
        prediction = task.decode(maps(task, number), view)
        alone.update(prediction, person(number))
        ranks[number % 2].update(prediction, person(number))
    summed = task.new_metric()
    summed.totals = ranks[0].totals + ranks[1].totals
    assert alone.totals.dtype == torch.float64
    assert summed.report() == pytest.approx(alone.report(), rel=1e-9, nan_ok=True)
    assert all(np.isfinite(value) for value in alone.compute().values())
    assert alone.compute().items() <= alone.report().items()


@pytest.mark.parametrize("task", EVERY, ids=name_of)
def test_a_sample_without_the_label_is_left_out(task: HeadTask) -> None:
    metric = task.new_metric()
    nobody = replace(person(0), keypoints=None, labels={})
    figures = metric.update(task.decode(maps(task, 0), crop_view(SIZE)), nobody)
    assert figures.keys() == metric.compute().keys()
    assert all(np.isnan(value) for value in (*figures.values(), *metric.compute().values()))


@pytest.mark.parametrize("task", DENSE, ids=name_of)
def test_predictions_are_pasted_where_the_mask_is(task: DenseTask) -> None:
    size, box = (60, 50), np.array([20.0, 25, 45, 70])  # the crop reaches below the image
    view = person_view(box, size, SIZE, 1.25)
    prediction = task.decode(maps(task, 0), view)
    mask = np.zeros(size, bool)
    mask[:, :40] = True
    whole = task.blank(size)
    assert not task.kind.known(whole.values).any()
    paste(whole, prediction, view, mask)
    left, top, right, bottom = view.window
    expected = task.blank(size).values
    expected[top:bottom, left:40] = prediction[:, : 40 - left]
    np.testing.assert_array_equal(whole.values, expected)
    assert bottom == 60 and right > 40 and task.kind.known(whole.values).any()
    paste(whole, prediction[:0], replace(view, window=(left, 60, right, 60)), mask)  # a window without pixels
    np.testing.assert_array_equal(whole.values, expected)


@pytest.mark.parametrize("task", DENSE, ids=name_of)
def test_a_map_has_a_file_of_each_of_its_names(task: DenseTask, tmp_path) -> None:
    image, whole = np.full((*SIZE, 3), 90, np.uint8), task.blank(SIZE)
    paste(whole, task.decode(maps(task, 0), crop_view(SIZE)), crop_view(SIZE), np.ones(SIZE, bool))
    assert whole.draw(image).shape == image.shape and (whole.draw(image) != image).any()
    for write, path in ((write, tmp_path / name) for name, write in {**whole.files(), **whole.frame_files()}.items()):
        write(path)
        assert path.stat().st_size > 0
    (array,) = whole.arrays().values()
    np.testing.assert_allclose(array, whole.values, atol=1e-3)
