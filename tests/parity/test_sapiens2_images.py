"""From a photo to the network's input and back, of Sapiens2, against the numbers of the published code."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from opensapiens.checkpoints.sapiens2_files import ROWS
from opensapiens.geometry.boxes import non_maximum_suppression
from opensapiens.geometry.heatmaps import decode_heatmaps, encode_heatmaps, heatmap_maxima
from opensapiens.geometry.view import Preprocessing, resize_maps, whole_image_view
from opensapiens.inference.forward import LoadedModel
from opensapiens.inference.pipeline import People, SourceImage
from opensapiens.labels.keypoints import SAPIENS_308
from opensapiens.labels.parts import SAPIENS_29
from opensapiens.tasks import TASKS
from opensapiens.tasks.forward import maps
from opensapiens.tasks.normals import unit_vectors
from opensapiens.tasks.pointmap import PointMap, metric_points, smoothed

from .cases import Case, all_cases, cases, name_of
from .sapiens2_models import description_of, model_of

TASK_OF_TAG = {"seg": "segmentation", "normal": "normals", "pointmap": "pointmap", "albedo": "albedo", "pose": "pose"}


def preprocessing(task: str, size: tuple[int, int]) -> Preprocessing:
    """What the published weights of a task ask for, at another size of input."""
    row = next(row for row in ROWS if row.task == task)
    return replace(row.description().preprocessing, input_size=size)


def rgb(case: Case) -> np.ndarray:
    return np.ascontiguousarray(case.array("input.image_bgr_u8")[..., ::-1])


def size_of(tag: str) -> tuple[int, int]:
    height, width = tag.rpartition(".")[2].split("x")
    return int(height), int(width)


@pytest.mark.parametrize("case", cases("image preprocessing"), ids=name_of)
def test_a_photo_becomes_the_published_input(case: Case) -> None:
    image, boxes = rgb(case), case.array("input.boxes_xyxy")
    for item in case.description["items"]:
        task, variant, _ = item["tag"].split(".")
        given = preprocessing(TASK_OF_TAG[task], size_of(item["tag"]))
        box = boxes[int(variant.removeprefix("box"))] if task == "pose" else None
        view = given.view(box, image.shape[:2])
        if variant == "val":  # as in training: sides are rounded, not cut off
            view = whole_image_view(image.shape[:2], given.input_size, True)
        pixels = view.pixels(image)
        expected = np.moveaxis(case.array(f"output.{item['tag']}.img_u8"), 0, -1)[..., ::-1]
        name = f"output.{item['tag']}.img_u8"
        if task == "pose":
            np.testing.assert_allclose(view.center, np.ravel(item["bbox_center"]), atol=1e-3)
            np.testing.assert_allclose(view.scale, np.ravel(item["bbox_scale"]), atol=1e-3)
            if not cv2.__version__.startswith("5."):  # warpAffine differs; both results are in the case
                name = name.replace("output.pose.", "output.pose_cv4.")
            expected = np.moveaxis(case.array(name), 0, -1)[..., ::-1]
        np.testing.assert_array_equal(pixels, expected, err_msg=item["tag"])
        inputs = f"output.{item['tag']}.inputs"
        if inputs in case.arrays:
            if task == "pose":  # those of OpenCV 5, see above
                pixels = np.moveaxis(case.array(f"output.{item['tag']}.img_u8"), 0, -1)[..., ::-1]
            case.assert_close(inputs, given.normalize(torch.from_numpy(pixels.copy()).movedim(-1, 0)[None]))
        padding = item.get("padding_size_lrtb")
        if padding is not None:
            assert view.placed is not None
            left, top, right, bottom = view.placed
            height, width = given.input_size
            assert [left, width - right, top, height - bottom] == padding


def source(case: Case, run: str) -> Case:
    """The case whose weights a run of another case takes."""
    name = case.description["runs"][run]["weights_from"]
    return next(other for other in all_cases() if other.name == name)


def decoded(case: Case, run: str) -> np.ndarray:
    """What the pipeline decodes of the case's photo, before it is masked."""
    weights = source(case, run)
    size = tuple(case.description["runs"][run]["model_size_hw"])
    description = description_of(weights)
    description = replace(description, preprocessing=replace(description.preprocessing, input_size=size))
    people = People([LoadedModel(model_of(weights), description)])
    ((prediction,),) = people._run(people.models[0], [SourceImage(rgb(case))], None)
    return prediction.decoded[TASK_OF_TAG[run]]


@pytest.mark.parametrize("case", cases("end-to-end via official vis_seg/vis_normal/vis_pointmap main()"), ids=name_of)
def test_dense_maps_of_a_photo(case: Case) -> None:
    labels = decoded(case, "seg")
    assert (labels == case.array("output.seg.labels")).mean() > 0.999  # where two classes are equal to rounding
    case.assert_close("output.normal", decoded(case, "normal"))
    picture = np.concatenate([rgb(case), picture_of(labels, rgb(case))], axis=1)[..., ::-1]
    same = np.abs(picture.astype(int) - case.array("output.seg.vis_bgr_u8")).max(axis=-1) <= 1
    assert same.mean() > 0.999
    points = decoded(case, "pointmap")
    expected = np.moveaxis(case.array("output.pointmap.resized")[0], 0, -1)
    # The scale divides numbers of up to thousands: relative to the largest.
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))
    depth = PointMap(points).depth()
    assert depth.metric
    np.testing.assert_allclose(
        depth.values, case.array("output.pointmap.depth_f16").astype(np.float32), rtol=2e-3, atol=2e-3
    )


def picture_of(labels: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The published overlay: the colors of the parts, half of the image."""
    return cv2.addWeighted(image, 0.5, np.ascontiguousarray(SAPIENS_29.colors.astype(np.uint8)[labels]), 0.5, 0)


@pytest.mark.parametrize("case", cases("end-to-end via official vis_seg/vis_normal/vis_pointmap main()"), ids=name_of)
@torch.no_grad()
def test_points_without_their_border(case: Case) -> None:
    run = case.description["runs"]["pointmap"]
    size, weights = tuple(run["model_size_hw"]), source(case, "pointmap")
    view = preprocessing("pointmap", size).view(None, rgb(case).shape[:2])
    given = preprocessing("pointmap", size).normalize(
        torch.from_numpy(view.pixels(rgb(case)).copy()).movedim(-1, 0)[None]
    )
    assert view.placed is not None
    left, top, right, bottom = view.placed
    cropped = metric_points(model_of(weights)(given)["pointmap"][0])[None, :, top:bottom, left:right]
    expected = case.array("output.pointmap.cropped")
    np.testing.assert_allclose(cropped, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("case", cases("end-to-end via official vis_seg/vis_normal/vis_pointmap main()"), ids=name_of)
def test_points_are_smoothed_before_they_are_enlarged(case: Case) -> None:
    given = case.tensor("input.resize_pointmap")
    larger = resize_maps(smoothed(given[0])[None], case.array("output.resize_pointmap_smooth_up").shape[2:])
    case.assert_close("output.resize_pointmap_smooth_up", larger)
    case.assert_close(
        "output.resize_pointmap_down", resize_maps(given, case.array("output.resize_pointmap_down").shape[2:])
    )
    view = whole_image_view(tuple(larger.shape[2:]), tuple(given.shape[2:]))
    with_scale = torch.cat([given[0], torch.ones_like(given[0, :1])])
    ours = TASKS["pointmap"].of_head(None, 3, "pointmap").decode(with_scale, view)
    case.assert_close("output.resize_pointmap_smooth_up", np.moveaxis(ours, -1, 0)[None])


@pytest.mark.parametrize(
    "case",
    cases("vis_pose.process_one_image"),
    ids=name_of,
)
def test_people_of_a_photo(case: Case) -> None:
    width, height = case.description["input_size_wh"]
    boxes = case.array("input.det_boxes_xyxy")
    kept = non_maximum_suppression(boxes, case.array("input.det_scores"), 0.3)
    case.assert_close("output.kept_boxes", boxes[kept])
    given = preprocessing("pose", (height, width))
    image = rgb(case)
    views = [given.view(box, image.shape[:2]) for box in boxes[kept]]
    pixels = torch.from_numpy(np.stack([view.pixels(image) for view in views])).movedim(-1, 1)
    std = torch.tensor(given.std).view(3, 1, 1)
    levels = ((given.normalize(pixels) - case.tensor("output.crops")) * std).abs()
    # The case is of OpenCV 5, whose warpAffine differs by a few levels from that of 4.
    assert levels.max() < (0.1 if cv2.__version__.startswith("5.") else 7.5) and levels.mean() < 1.5
    task = TASKS["pose"].of_head(SAPIENS_308, 308, "upsampling")
    np.testing.assert_array_equal(task.flip_rule.permutation, case.array("input.flip_indices"))
    answers = iter([case.tensor("input.heatmaps"), case.tensor("input.heatmaps_flipped_model_output")])
    averaged = maps(
        lambda images, heads, inputs: {"pose": next(answers)},
        torch.zeros(len(views), 3, height, width),
        flip=True,
        flip_rules={"pose": task.flip_rule},
    )["pose"]
    poses = [task.decode(of_view, view) for of_view, view in zip(averaged, views, strict=True)]
    case.assert_close("output.keypoints", np.stack([pose.points for pose in poses]))
    case.assert_close("output.scores", np.stack([pose.scores for pose in poses]))


@pytest.mark.parametrize("case", cases("pose codec UDPHeatmap"), ids=name_of)
def test_codec(case: Case) -> None:
    input_size, map_size = (tuple(case.description[f"{kind}_size_wh"][::-1]) for kind in ("input", "heatmap"))
    points, visible = case.array("input.keypoints")[0], case.array("input.keypoints_visible")[0]
    heatmaps, weights = encode_heatmaps(points, visible, input_size, map_size, case.description["sigma"])
    case.assert_close("output.encode.heatmaps", heatmaps)
    case.assert_close("output.encode.keypoint_weights", weights[None])
    peaks, maxima = heatmap_maxima(case.array("input.decode.heatmaps")[None])
    case.assert_close("output.heatmap_max.vals", maxima[0])
    found = maxima[0] > 0
    case.assert_close(
        "output.heatmap_max.locs", peaks[0].astype(np.float32), where=np.repeat(found[:, None], 2, axis=1)
    )
    known = found & (weights > 0)
    for name, given in (("decode", case.array("input.decode.heatmaps")), ("decode_clean", heatmaps)):
        ours, scores = decode_heatmaps(given[None], input_size, case.description["blur_kernel_size"])
        case.assert_close(f"output.{name}.keypoints", ours, where=np.repeat(known[None, :, None], 2, axis=2))
        case.assert_close(f"output.{name}.scores", scores, where=known[None])


@pytest.mark.parametrize("case", cases("HF Sapiens2ImageProcessor preprocess + post_process_*"), ids=name_of)
def test_the_other_program_of_the_same_weights(case: Case) -> None:
    """transformers prepares images differently, and reads outputs alike."""
    image, (height, width) = case.array("input.image_rgb_u8"), case.description["model_size_hw"]
    logits = case.tensor("input.seg_logits")
    view = whole_image_view(image.shape[:2], (height, width))
    expected = case.array("output.post_seg")
    best = resize_maps(logits, image.shape[:2]).topk(2, dim=1).values[0]
    ours = resize_maps(logits, image.shape[:2]).argmax(dim=1)[0].numpy()
    sure = (best[0] - best[1] > 1e-3).numpy()
    np.testing.assert_array_equal(ours[sure], expected[sure])
    padded = preprocessing("normals", (height, width)).view(None, image.shape[:2])
    normals = TASKS["normals"].of_head(None, 3, "pixel_shuffle").decode(case.tensor("input.normals")[0], padded)
    case.assert_close("output.post_normal", np.moveaxis(normals, -1, 0))
    metric = case.tensor("input.normals")[0] / case.tensor("input.scales")[0]  # the case's points are these numbers
    case.assert_close("output.post_pointmap", np.moveaxis(padded.to_window(metric), -1, 0))
    assert view.input_size == padded.input_size
    half = case.array("output.post_normal_nocrop_half")
    case.assert_close(
        "output.post_normal_nocrop_half",
        resize_maps(unit_vectors(case.tensor("input.normals")[0])[None], half.shape[1:])[0],
    )
    enlarged = preprocessing("normals", (256, 192)).view(None, image.shape[:2]).pixels(image)
    theirs = np.moveaxis(case.array("output.do_pad.256x192.levels_u8_approx")[0], 0, -1)
    assert np.abs(enlarged.astype(int) - theirs).max() <= 2  # where nothing shrinks, both are bilinear
    # The heatmaps of training agree, but for the points outside, which transformers keeps.
    map_size = case.array("output.official_train_heatmaps").shape[1:]
    visible = case.array("input.keypoints_xyv")[0, :, 2]
    heatmaps, weights = encode_heatmaps(
        case.array("output.official_transformed_keypoints")[0],
        visible,
        (height, width),
        map_size,
        6 * map_size[0] / 256,
    )
    if np.abs(heatmaps - case.array("output.official_train_heatmaps")).max() < 1e-4:
        case.assert_close("output.official_train_weights", weights[None])


@pytest.mark.parametrize("case", cases("agreement of two programs"), ids=name_of)
def test_float32_rotation_agrees_with_the_other_program(case: Case) -> None:
    """What the case says of the published code and transformers is why there are two types of rotation: one agrees to
    rounding, the other does not. The networks themselves are compared in the cases of their kinds."""
    found = []

    def walk(values: object) -> None:
        if isinstance(values, dict):
            if "vs_official_rope_fp32" in values:
                found.append(
                    (values["vs_official_rope_fp32"]["max_abs"], values["vs_official_default_bf16_rope"]["max_abs"])
                )
            for inner in values.values():
                walk(inner)

    walk(case.description["results"])
    assert found and max(exact for exact, _ in found) < 1e-4 < max(rounded for _, rounded in found)
