"""The pipeline from a photo to results in its pixels, against what the published demos computed for the same photo."""

import numpy as np
import pytest

from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.geometry.view import Preprocessing
from opensapiens.inference.forward import LoadedModel, network_inputs
from opensapiens.inference.pipeline import People, SourceImage
from opensapiens.inference.results import Result

from .cases import Case, cases, name_of
from .test_models import TASK_OF_KIND, task_model, vit_config

KEYPOINT_SETS = {17: "coco_17", 133: "wholebody_133", 308: "sapiens_308"}
CHANNELS = {"segmentation": 28, "depth": 1, "normals": 3}
LABELS = {"segmentation": "sapiens_28", "depth": None, "normals": None}


def pipeline(case: Case) -> People:
    """The case's network, fed as published weights of its task are."""
    task = TASK_OF_KIND[case.kind]
    height, width = case.config["img"]
    if task == "pose":
        channels, labels = case.config["K"], KEYPOINT_SETS[case.config["K"]]
        preprocessing = Preprocessing((height, width), flip_test=True)
    else:
        channels, labels = CHANNELS[task], LABELS[task]
        preprocessing = Preprocessing((height, width), resize="squash")
    head = HeadDescription(channels, (case.config["head_ch"],), (case.config["head_ch"],), labels)
    description = ModelDescription(case.name, vit_config(case), {task: head}, preprocessing)
    return People([LoadedModel(task_model(case), description)])


def photo(case: Case) -> np.ndarray:
    return np.ascontiguousarray(case.array("input.photo_bgr_uint8")[..., ::-1])


def whole_image(case: Case, people: People, flip: bool = False) -> np.ndarray:
    """What is decoded of a photo, before it is masked."""
    (predictions,) = people._run(people.models[0], [SourceImage(photo(case))], flip)
    return predictions[0].decoded[TASK_OF_KIND[case.kind]]


@pytest.mark.parametrize("case", cases("pose_topdown_photo"), ids=name_of)
def test_keypoints_of_a_photo(case: Case) -> None:
    result = pipeline(case)(photo(case), boxes=case.array("input.bboxes"))  # the flip test is on by default
    assert isinstance(result, Result)
    stable = case.array("output.keypoint_stable").astype(bool)
    clipped = checked(case)
    keypoints = np.stack([person.keypoints for person in result.persons])
    scores = np.stack([person.scores for person in result.persons])
    case.assert_close("output.keypoints_image", keypoints, stable & clipped[:, None])
    case.assert_close("output.keypoint_scores", scores, np.broadcast_to(clipped[:, None], scores.shape))


def checked(case: Case) -> np.ndarray:
    """Which boxes lie in the photo: the pipeline clips a caller's boxes to the image, the published call does not."""
    boxes, size = case.array("input.bboxes"), case.config["photo"]
    return (boxes >= 0).all(axis=1) & (boxes[:, 2] <= size[1]) & (boxes[:, 3] <= size[0])


@pytest.mark.parametrize("case", cases("pose_topdown_photo"), ids=name_of)
def test_keypoints_of_boxes_that_leave_the_photo(case: Case) -> None:
    predictions = pipeline(case).predict_boxes(photo(case), case.array("input.bboxes"))["pose"]
    poses = [prediction.decoded["pose"] for prediction in predictions]
    stable = case.array("output.keypoint_stable").astype(bool)
    case.assert_close("output.keypoints_image", np.stack([pose.points for pose in poses]), stable)
    case.assert_close("output.keypoint_scores", np.stack([pose.scores for pose in poses]))


@pytest.mark.parametrize("case", cases("seg_model", "depth_model", "normal_model"), ids=name_of)
def test_a_photo_becomes_the_published_input(case: Case) -> None:
    loaded = pipeline(case).models[0]
    (view,) = loaded.views(np.empty((0, 4)), tuple(case.config["photo"]))
    assert loaded.network is not None
    case.assert_close("output.image", network_inputs(loaded, loaded.network, [(photo(case), view)]))


@pytest.mark.parametrize("case", cases("seg_model"), ids=name_of)
def test_parts_of_a_photo(case: Case) -> None:
    people = pipeline(case)
    sure = case.array("output.margin_ok").astype(bool)
    expected = case.array("output.label_map")
    np.testing.assert_array_equal(whole_image(case, people)[sure], expected[sure])
    result = people(photo(case))
    assert isinstance(result, Result) and result.parts is not None
    np.testing.assert_array_equal(result.parts.labels[sure], expected[sure], "all of the map, whoever is found in it")


@pytest.mark.parametrize("case", cases("depth_model"), ids=name_of)
def test_depth_of_a_photo(case: Case) -> None:
    people = pipeline(case)
    result = people(photo(case))
    assert isinstance(result, Result) and result.depth is not None
    case.assert_close("output.depth_ori", result.depth.values)
    # The published demo mirrors the photo, we the network's input; resizing treats both sides alike.
    case.assert_close("output.depth_ori_flip_avg", whole_image(case, people, flip=True))


@pytest.mark.parametrize("case", cases("normal_model"), ids=name_of)
def test_normals_of_a_photo(case: Case) -> None:
    people = pipeline(case)
    result = people(photo(case))
    assert isinstance(result, Result) and result.normals is not None
    case.assert_close("output.normal_unit_ori", result.normals.values)
    colors = ((result.normals.values + 1) / 2 * 255).astype(np.uint8).astype(int)
    assert np.abs(colors - case.array("output.normal_vis_rgb_uint8")).max() <= 1
