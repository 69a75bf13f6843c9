"""Whole models of Sapiens2 against the numbers of the published code, and of matting against those of transformers."""

import numpy as np
import pytest
import torch

from opensapiens.checkpoints.sapiens2_files import from_published, layout_of, to_published
from opensapiens.geometry.heatmaps import decode_heatmaps
from opensapiens.geometry.view import crop_view, resize_maps, whole_image_view
from opensapiens.tasks import TASKS
from opensapiens.tasks.matting import Matte
from opensapiens.tasks.normals import unit_vectors
from opensapiens.tasks.pointmap import metric_points

from .cases import Case, cases, name_of
from .sapiens2_models import TASK_OF_KIND, description_of, model_of
from .test_sapiens2_backbones import ROPE

every = pytest.mark.parametrize("case", cases(*TASK_OF_KIND), ids=name_of)
OUTPUT = {"pose": "heatmaps", "segmentation": "logits", "normals": "normal", "albedo": "albedo"}


@pytest.mark.parametrize("rope_dtype", ROPE)
@pytest.mark.parametrize("case", cases(*(k for k, task in TASK_OF_KIND.items() if task in OUTPUT)), ids=name_of)
@torch.no_grad()
def test_maps(case: Case, rope_dtype: str) -> None:
    task, model = TASK_OF_KIND[case.kind], model_of(case, rope_dtype)
    images = case.tensor("input.image")
    case.assert_close(f"{ROPE[rope_dtype]}{OUTPUT[task]}", model(images)[task])
    if rope_dtype == "bfloat16":
        case.assert_close("output.featmap", model.backbone(images))


@pytest.mark.parametrize("rope_dtype", ROPE)
@pytest.mark.parametrize("case", cases("PointmapEstimator"), ids=name_of)
@torch.no_grad()
def test_pointmap(case: Case, rope_dtype: str) -> None:
    model, prefix = model_of(case, rope_dtype), ROPE[rope_dtype]
    maps = model(case.tensor("input.image"))["pointmap"]
    case.assert_close(f"{prefix}pointmap", maps[:, :3])
    case.assert_close(f"{prefix}scale", maps[:, 3:, 0, 0])
    if rope_dtype == "bfloat16":
        case.assert_close("output.featmap", model.backbone(case.tensor("input.image")))
        case.assert_close("output.depth_metric", torch.stack([metric_points(of_image)[2:] for of_image in maps]))


@pytest.mark.parametrize("case", cases("PoseTopdownEstimator"), ids=name_of)
@torch.no_grad()
def test_flip_average_and_points(case: Case) -> None:
    model, images = model_of(case), case.tensor("input.image")
    rule = TASKS["pose"].of_head(description_of(case).heads["pose"].label_set, 308, "upsampling").flip_rule
    np.testing.assert_array_equal(rule.permutation, case.array("input.flip_indices"))
    plain = model(images)["pose"]
    averaged = (plain + rule.undo(model(images.flip(-1))["pose"])) / 2
    case.assert_close("output.heatmaps_fliptest", averaged)
    for maps, name in ((plain, "decode_plain"), (averaged, "decode_fliptest")):
        _, scores = decode_heatmaps(maps.numpy(), tuple(images.shape[2:]))
        case.assert_close(f"output.{name}.scores", scores)  # the maps are noise, in which no point is stable


@pytest.mark.parametrize("case", cases("SegEstimator"), ids=name_of)
@torch.no_grad()
def test_parts(case: Case) -> None:
    logits = model_of(case)(case.tensor("input.image"))["segmentation"]
    size = case.array("output.labels_resized").shape[1:]
    for name, expected_size in (("labels", logits.shape[2:]), ("labels_resized", size)):
        resized = resize_maps(logits, expected_size)
        best = resized.topk(2, dim=1).values
        sure = (best[:, 0] - best[:, 1] > 1e-3).numpy()
        assert sure.mean() > 0.98
        expected = case.array(f"output.{name}")
        np.testing.assert_array_equal(resized.argmax(dim=1).numpy()[sure], expected[sure])
        view = whole_image_view(tuple(expected_size), tuple(logits.shape[2:]))
        for number, of_image in enumerate(logits):
            np.testing.assert_array_equal(
                view.classes(of_image)[sure[number]], expected[number][sure[number]], err_msg=name
            )


@pytest.mark.parametrize("case", cases("NormalEstimator"), ids=name_of)
@torch.no_grad()
def test_unit_normals(case: Case) -> None:
    maps = model_of(case)(case.tensor("input.image"))["normals"]
    case.assert_close("output.normal_unit", torch.stack([unit_vectors(of_image) for of_image in maps]))
    task = TASKS["normals"].of_head(None, 3, "pixel_shuffle")
    expected = np.moveaxis(case.array("output.normal_unit"), 1, -1)
    decoded = np.stack([task.decode(of_image, crop_view(tuple(maps.shape[2:]))) for of_image in maps])
    np.testing.assert_allclose(decoded, expected, atol=1e-4)


@pytest.mark.parametrize("case", cases("matting"), ids=name_of)
@torch.no_grad()
def test_matting(case: Case) -> None:
    maps = model_of(case, "float32")(case.tensor("input.image"))["matting"]
    case.assert_close("output.logits", maps)
    case.assert_close("output.alphas", maps.sigmoid()[:, 3:])
    case.assert_close("output.foregrounds", maps.sigmoid()[:, :3])
    size = tuple(case.description["target_size_hw"])
    task = TASKS["matting"].of_head(None, 4, "pixel_shuffle")
    background = resize_maps(case.tensor("input.background_u8")[None], size)[0].movedim(0, -1).numpy()
    for number, of_image in enumerate(maps):
        decoded = task.decode(of_image, whole_image_view(size, tuple(maps.shape[2:])))
        np.testing.assert_allclose(decoded[..., 3], case.array("output.post.alpha")[number, 0], atol=1e-4)
        foreground = np.moveaxis(case.array("output.post.foreground")[number], 0, -1)
        np.testing.assert_allclose(decoded[..., :3], foreground, atol=1e-4)
        composite = np.moveaxis(case.array("output.post.composite_u8")[number], 0, -1)
        assert np.abs(Matte(decoded).over(background).astype(int) - composite).max() <= 1


@every
def test_names_go_there_and_back(case: Case) -> None:
    weights = case.under("weights.")
    layout = layout_of(weights, case.path, None)
    assert layout == TASK_OF_KIND[case.kind]
    back = to_published(from_published(weights, layout), layout)
    assert list(back) == list(weights)
    assert all(torch.equal(back[name], weights[name]) for name in weights)
