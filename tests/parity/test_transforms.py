"""Augmentations give what the published ones give once their draw is fixed, and have the published ranges."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from opensapiens.data import photometric
from opensapiens.data.augment import PUBLISHED_POSE, half_body_box, moved_region
from opensapiens.data.background import Backgrounds
from opensapiens.data.crop import crop_sample, cut_sample, flip_sample, resize_sample, rotate_sample
from opensapiens.data.label_kinds import DEPTH, MASK, NORMALS, PARTS
from opensapiens.data.sample import Sample
from opensapiens.data.scene_crop import (
    PUBLISHED_DEPTH,
    PUBLISHED_NORMALS,
    PUBLISHED_SEGMENTATION,
    SceneCrop,
    size_within,
)
from opensapiens.data.square_crop import SquareCrop
from opensapiens.geometry.boxes import center_and_scale
from opensapiens.labels.keypoints import COCO_17

from .cases import Case, cases, name_of

each_case = pytest.mark.parametrize("case", cases("transforms"), ids=name_of)
OUTSIDE = 1e10  # the published depth where a rotated picture has none; ours is NaN


def sample_of(case: Case) -> Sample:
    """The case's picture with all its labels. Its channels are BGR, which no geometry minds."""
    points, visible = case.array("input.keypoints")[0], case.array("input.keypoints_visible")[0]
    assert len(points) == len(COCO_17)
    return Sample(
        case.array("input.img"),
        box=case.array("input.bbox")[0],
        keypoints=np.column_stack([points, visible]).astype(np.float32),
        labels={
            PARTS: case.array("input.seg"),
            DEPTH: case.array("input.depth"),
            NORMALS: case.array("input.normal"),
            MASK: case.array("input.mask").astype(bool),
        },
        keypoint_set=COCO_17,
    )


def assert_labels(case: Case, sample: Sample, **names: str) -> None:
    """Each label (image, parts, depth, mask, normals) of `sample` equals the case's tensor "output.NAME"."""
    for field, name in names.items():
        got, expected = getattr(sample, field), case.array(f"output.{name}")
        if field == "normals":  # the published code divides by the length + 1e-6 after each step
            np.testing.assert_allclose(got, expected, atol=1e-5)
        else:
            np.testing.assert_array_equal(got.astype(expected.dtype), expected, err_msg=name)


@each_case
def test_flip(case: Case) -> None:
    sample = flip_sample(sample_of(case))
    assert_labels(case, sample, image="seg_flip.img", parts="seg_flip.seg", depth="depth_flip.depth")
    assert_labels(case, sample, image="pose_flip.img", normals="normal_flip.normal")
    assert sample.keypoints is not None and sample.box is not None
    case.assert_close("output.pose_flip.keypoints", sample.keypoints[None, :, :2])
    case.assert_close("output.pose_flip.keypoints_visible", sample.keypoints[None, :, 2])
    case.assert_close("output.pose_flip.bbox_center", center_and_scale(sample.box)[0][None])


@each_case
def test_resize(case: Case) -> None:
    width, height = case.config["scale"]
    sample = sample_of(case)
    kept = resize_sample(sample, size_within(sample.image.shape[:2], (height, width)))
    assert_labels(case, kept, image="resize.img", depth="resize.depth", mask="resize.mask", parts="seg_resize.seg")
    assert_labels(case, kept, normals="resize.normal")
    width, height = case.config["fixed"]
    squashed = resize_sample(sample, (height, width))
    assert_labels(case, squashed, image="fixed.img", depth="fixed.depth", normals="fixed.normal")


@each_case
def test_rotation(case: Case) -> None:
    sample = rotate_sample(sample_of(case), case.config["angle"])
    assert sample.depth is not None
    sample.labels[DEPTH] = np.where(np.isnan(sample.depth), np.float32(OUTSIDE), sample.depth)
    assert_labels(case, sample, image="rot.img", depth="rot.depth", mask="rot.mask", parts="seg_rot.seg")


@each_case
def test_cut(case: Case) -> None:
    top, bottom, left, right = case.config["crop"]
    assert_labels(case, cut_sample(sample_of(case), (left, top, right, bottom)), parts="crop.seg")


@each_case
def test_person_crop(case: Case) -> None:
    width, height = case.config["out"]
    sample = sample_of(case)
    assert sample.box is not None
    case.assert_close("output.pose.bbox_center", center_and_scale(sample.box)[0][None])
    case.assert_close("output.pose.bbox_scale", (sample.box[2:] - sample.box[:2])[None] * 1.25)
    shift, factor = np.array(case.config["offset"]), case.config["sf"]
    center, scale = moved_region(sample.box, width / height, 1.25, shift, factor)
    case.assert_close("output.pose_aff.bbox_center", center[None])
    case.assert_close("output.pose_aff.bbox_scale", scale[None])
    crop = crop_sample(sample, (height, width), center, scale, case.config["rot"])
    assert crop.keypoints is not None
    assert_labels(case, crop, image="pose_aff.img")
    case.assert_close("output.pose_aff.keypoints", crop.keypoints[None, :, :2])


@each_case
def test_half_body(case: Case) -> None:
    sample = replace(sample_of(case), keypoint_set=COCO_17)
    assert sample.box is not None
    generator = next(g for g in map(np.random.default_rng, range(99)) if np.random.default_rng(g).random() < 0.7)
    box = half_body_box(sample, generator, sample.box)
    center, scale = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * 1.25
    case.assert_close("output.half.center", center)
    case.assert_close("output.half.scale", scale)


# The transforms that say how to load and pack, or whose counterpart is tested elsewhere, have no parameters here.
WITHOUT_PARAMETERS = {
    "LoadImage", "LoadImageFromFile", "LoadAnnotations", "GenerateTarget", "GenerateDepthTarget",
    "GenerateNormalTarget", "RandomDepthResizeCompensate", "RandomNormalResizeCompensate", "PackDepthInputs",
    "PackNormalInputs", "PackSegInputs", "PackPoseInputs", "PackInputs",
}  # fmt: skip
CROP = (1024, 768)


def assert_scene(name: str, values: dict[str, Any], ours: SceneCrop, config: str) -> None:
    """One published transform of whole pictures has the parameters of `ours`."""
    if name == "RandomResize":
        assert values["keep_ratio"] and values["scale"] == [CROP[1], CROP[0]]
        general = "lip" in config or "cihp" in config or "seg_face" in config
        assert general or values["ratio_range"] == list(ours.scale)
    elif name in ("RandomCrop", "RandomDepthCrop", "RandomNormalCrop"):
        assert values["crop_size"] == list(CROP)
        assert values.get("cat_max_ratio", 1.0) == ours.largest_class_share
    elif name in ("Resize", "DepthResize", "NormalResize"):
        assert values["scale"] == [CROP[1], CROP[0]]
    elif name in ("RandomRotate", "DepthRandomRotate"):
        assert (values["prob"], values["degree"]) == (ours.rotation_chance, ours.rotation_degrees)
        assert values["pad_val"] == 0
    elif name in ("RandomFlip", "DepthRandomFlip", "NormalRandomFlip"):
        assert values["prob"] == ours.flip_chance and values["direction"] == "horizontal"
    elif name == "PhotoMetricDistortion":
        assert_colors(values)
    elif name == "RandomBackground":
        assert values["prob"] == (0.8 if "seg" in config.split("/")[2] else Backgrounds([]).chance)
    else:
        raise AssertionError(f"{config}: no test knows {name}")


def assert_colors(values: dict[str, Any]) -> None:
    ours = (photometric.BRIGHTNESS, photometric.CONTRAST, photometric.SATURATION, photometric.HUE)
    names = ("brightness_delta", "contrast_range", "saturation_range", "hue_delta")
    assert [tuple(v) if isinstance(v, list) else v for v in map(values.get, names)] == list(ours)


def assert_person(name: str, values: dict[str, Any]) -> None:
    """One published transform of pose has the parameters of PUBLISHED_POSE."""
    ours = PUBLISHED_POSE
    if name == "GetBBoxCenterScale":
        assert values["padding"] == 1.25
    elif name == "RandomFlip":
        assert values["prob"] == ours.flip_chance
    elif name == "RandomHalfBody":
        assert values["prob"] == ours.half_body_chance and values["padding"] == 1.5
        counts = ("min_total_keypoints", "min_upper_keypoints", "min_lower_keypoints", "upper_prioritized_prob")
        assert [values[count] for count in counts] == [9, 2, 3, 0.7]
    elif name == "RandomBBoxTransform":
        assert (values["shift_factor"], values["shift_prob"]) == (ours.shift, ours.shift_chance)
        assert (tuple(values["scale_factor"]), values["scale_prob"]) == (ours.scale, 1.0)
        assert (values["rotate_factor"], values["rotate_prob"]) == (ours.rotation_degrees, ours.rotation_chance)
    elif name == "TopdownAffine":
        assert values["use_udp"] and values["input_size"] == [CROP[1], CROP[0]]
    elif name == "PhotometricDistortion":
        assert_colors(values)
    elif name == "Albumentation":
        blur, median, holes = values["transforms"]
        assert 1 - (1 - blur["p"]) * (1 - median["p"]) == pytest.approx(ours.blur_chance)
        assert (holes["min_height"], holes["max_height"]) == ours.patch_side == (holes["min_width"], holes["max_width"])
        assert holes["max_holes"] == ours.patches and holes["p"] == ours.patches_chance
    else:
        raise AssertionError(f"no test knows {name}")


def assert_square(name: str, values: dict[str, Any]) -> None:
    """One published transform of pretraining has the parameters of SquareCrop."""
    ours = SquareCrop()
    if name == "RandomResizedCrop":
        assert tuple(values["crop_ratio_range"]) == ours.area
        assert tuple(values["aspect_ratio_range"]) == pytest.approx(ours.aspect)
        assert (values["interpolation"], values["backend"], values["max_attempts"]) == (
            "bicubic",
            "pillow",
            SquareCrop().tries,
        )
    else:
        assert name == "RandomFlip" and values["prob"] == ours.flip_chance


@pytest.mark.parametrize("case", cases("random_transform_parameters"), ids=name_of)
def test_random_parameters(case: Case) -> None:
    scenes = {
        "sapiens_depth": PUBLISHED_DEPTH,
        "sapiens_normal": PUBLISHED_NORMALS,
        "sapiens_seg": PUBLISHED_SEGMENTATION,
    }
    for config, steps in case.description["pipelines"].items():
        project, family = config.split("/")[0], config.split("/")[2]
        for step in steps:
            name, values = step["cls"].rpartition(".")[2], step["effective"]
            if name in WITHOUT_PARAMETERS:
                continue
            if project == "pose":
                assert_person(name, values)
            elif project == "pretrain":
                assert_square(name, values)
            else:
                assert_scene(name, values, scenes[family], config)
        if family in scenes:
            rotates = any("Rotate" in step["cls"] for step in steps)
            assert rotates == (scenes[family].rotation_chance > 0)
