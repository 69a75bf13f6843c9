"""Sapiens2's tasks are measured by their protocol, and 28 body parts are compared with 29."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import opensapiens
from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.checkpoints.model_folder import build_model, save_model
from opensapiens.data.label_kinds import MASK, PARTS, POINTS
from opensapiens.data.sample import Sample
from opensapiens.evaluation.evaluate import evaluate
from opensapiens.evaluation.options import EvaluateOptions
from opensapiens.evaluation.people import EvaluationError
from opensapiens.evaluation.shared_parts import shared_parts
from opensapiens.geometry.cameras import PinholeCamera
from opensapiens.geometry.view import Preprocessing
from opensapiens.labels.parts import SAPIENS_28, SAPIENS_29, PartSet
from opensapiens.recipes.sizes import SAPIENS2_TOY, head
from opensapiens.tasks.albedo import AlbedoTask
from opensapiens.tasks.matting import MattingTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pointmap import PointmapTask
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.tasks.task import HeadTask

SIZE = (64, 48)
TASKS: dict[str, tuple[HeadTask, str]] = {
    "segmentation": (SegmentationTask(SAPIENS_29), "parts"),
    "normals": (NormalsTask(), "normals"),
    "pointmap": (PointmapTask(), "points"),
    "matting": (MattingTask(), "alphas"),
    "albedo": (AlbedoTask(), "albedos"),
}


def surface() -> tuple[np.ndarray, np.ndarray]:
    """Points (H, W, 3) of a bulging sheet three meters away, and where somebody is (H, W)."""
    rows, columns = np.indices(SIZE)
    away = np.hypot(rows - 32, columns - 24) / 20
    camera = PinholeCamera(70, 70, 23.5, 31.5)
    points = camera.unproject(np.stack([columns, rows], axis=-1), 3 - 0.3 * np.sqrt(np.clip(1.5 - away**2, 0, 2)))
    return points.astype(np.float32), away < 1


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture with every label."""
    root = tmp_path_factory.mktemp("people")
    for folder in ("images", "masks", *(folder for _, folder in TASKS.values())):
        (root / folder).mkdir()
    points, there = surface()
    image = np.where(there[..., None], [200, 120, 60], 40).astype(np.uint8)
    for folder in ("images", "albedos"):
        Image.fromarray(image).save(root / folder / "a.png")
    for folder, value in (("masks", 255), ("alphas", 255), ("parts", 27)):
        Image.fromarray(np.where(there, value, 0).astype(np.uint8)).save(root / folder / "a.png")
    np.save(root / "points" / "a.npy", np.where(there[..., None], points, np.nan))
    np.save(root / "normals" / "a.npy", np.where(there[..., None], [0, 0, 1], np.nan).astype(np.float32))
    return root


def toy(folder: Path, task: HeadTask) -> Path:
    torch.manual_seed(0)
    heads = {task.name: head("sapiens2-toy", task, SIZE)}
    description = ModelDescription("toy", SAPIENS2_TOY, heads, Preprocessing(SIZE, resize="squash"))
    network = build_model(description)
    if isinstance(task, PointmapTask):  # at this size nothing of the image reaches the scale
        torch.nn.init.ones_(network.get_parameter(f"heads.{task.name}.scale_layers.2.bias"))
    save_model(folder, network, description)
    return folder


@pytest.mark.parametrize("name", TASKS)
def test_the_protocol(name: str, people: Path, tmp_path: Path) -> None:
    task, folder = TASKS[name]
    pipeline = opensapiens.load(toy(tmp_path / "model", task), device="cpu")
    options = EvaluateOptions("sapiens2", masks=people / "masks")
    figures = evaluate(name, pipeline, people / "images", people / folder, options)
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["boxes"] == "whole image" and figures["protocol"] == "sapiens2" and figures["people"] == 1
    assert "not public" in figures["protocol_note"]
    expected = {
        "segmentation": ("mIoU_all", "mAcc_all", "aAcc"),
        "normals": ("mean", "rmse", "median", "within_5"),
        "pointmap": ("l2", "normal_mean", "normal_within_30", "scaled_l2", "plane_normal_mean"),
        "matting": ("l1_alpha", "l1_foreground"),
        "albedo": ("mae", "rmse", "psnr", "ssim", "grad_l1"),
    }[name]
    assert not [figure for figure in expected if not isinstance(figures[figure], float)], figures


def test_the_protocol_is_not_of_depth(people: Path, tmp_path: Path, tiny_model: Path) -> None:
    pipeline = opensapiens.load(tiny_model, device="cpu")
    with pytest.raises(EvaluationError, match="no protocol 'sapiens2' for depth"):
        evaluate("depth", pipeline, people / "images", people / "masks", EvaluateOptions("sapiens2"))


@pytest.mark.parametrize(
    ("labels", "model", "of_labels", "of_predictions", "said"),
    [
        (SAPIENS_28, SAPIENS_29, [0, 1, 2, 27], [0, 1, 1, 2, 27], "predicted as Eyeglass count as Apparel"),
        (SAPIENS_29, SAPIENS_28, [0, 1, 255, 2, 27], [0, 1, 2, 27], "labeled Eyeglass are left out"),
    ],
)
def test_28_and_29_parts(
    labels: PartSet, model: PartSet, of_labels: list[int], of_predictions: list[int], said: str
) -> None:
    shared = shared_parts(labels, model)
    assert shared is not None and shared.part_set is SAPIENS_28 and said in shared.note
    numbers = {28: [0, 1, 2, 27], 29: [0, 1, 2, 3, 28]}
    assert shared.of_labels[numbers[len(labels)]].tolist() == of_labels
    assert shared.of_predictions[numbers[len(model)]].tolist() == of_predictions
    ids = np.array([numbers[len(labels)]], np.uint8)
    sample = shared.sample(Sample(np.zeros((*ids.shape, 3), np.uint8), labels={PARTS: ids}, part_set=labels))
    assert sample.part_set is SAPIENS_28 and sample.labels[PARTS].tolist() == [of_labels]
    assert shared_parts(labels, labels) is None


@pytest.mark.parametrize(("of_model", "of_labels"), [(SAPIENS_29, "sapiens_28"), (SAPIENS_28, "sapiens_29")])
def test_labels_of_the_other_set(of_model: PartSet, of_labels: str, people: Path, tmp_path: Path) -> None:
    pipeline = opensapiens.load(toy(tmp_path / "model", SegmentationTask(of_model)), device="cpu")
    options = EvaluateOptions(parts=of_labels)
    figures = evaluate("segmentation", pipeline, people / "images", people / "parts", options)
    assert "compared in the classes of sapiens_28" in figures["parts"]
    assert "IoU_Tongue" in figures and "IoU_Eyeglass" not in figures
    with pytest.raises(ValueError, match="no part set 'goliath'"):
        evaluate("segmentation", pipeline, people / "images", people / "parts", EvaluateOptions(parts="goliath"))


def test_points_and_their_normals() -> None:
    points, there = surface()
    sample = Sample(np.zeros((*SIZE, 3), np.uint8), labels={POINTS: points, MASK: there})
    metric = PointmapTask().new_metric()
    assert metric.update(points, sample) == pytest.approx(
        {name: float("within" in name) for name in metric.compute()}, abs=1e-6
    )
    metric = PointmapTask().new_metric()
    metric.update(points * 1.25, sample)
    report = metric.report()
    assert report["l2"] > 0.5 and report["scaled_l2"] < 1e-5
    assert report["normal_mean"] < 1e-3, "a larger surface has the same normals"
    assert report["plane_normal_mean"] > 5
    only = np.where(there[..., None], points, np.nan)
    edged = PointmapTask().new_metric()
    edged.update(only, Sample(sample.image, labels={POINTS: only, MASK: there}))
    assert edged.compute()["normal_mean"] < 1e-3, "without points around, those at the edge have no normals"
    nobody = PointmapTask().new_metric()
    assert np.isnan(nobody.update(points * np.nan, sample)["l2"]) and np.isnan(nobody.compute()["normal_mean"])
