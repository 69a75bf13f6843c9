"""The person crop, the heatmap codec and the map between keypoint sets give the published code's numbers."""

import numpy as np
import pytest

from opensapiens.geometry.boxes import center_and_scale
from opensapiens.geometry.heatmaps import decode_heatmaps, encode_heatmaps, heatmap_maxima, refine_peaks
from opensapiens.geometry.person_crop import crop_points_to_image, transform_points, udp_warp_matrix, warp
from opensapiens.labels.keypoint_maps import FINGER_ROOTS, source_indices
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308, WHOLEBODY_133

from .cases import Case, cases, name_of


def sizes(case: Case) -> tuple[tuple[int, int], tuple[int, int]]:
    """The input's and the heatmaps' (height, width)."""
    height, width = case.config["img"]
    return (height, width), (height // 4, width // 4)


@pytest.mark.parametrize("case", cases("pose_codec"), ids=name_of)
def test_encode(case: Case) -> None:
    points, visible = case.array("input.keypoints"), case.array("input.keypoints_visible")
    encoded = [
        encode_heatmaps(p, v, *sizes(case), sigma=case.config["sigma"]) for p, v in zip(points, visible, strict=True)
    ]
    heatmaps, weights = zip(*encoded, strict=True)
    case.assert_close("output.heatmaps", np.stack(heatmaps))
    case.assert_close("output.keypoint_weights", np.stack(weights))


@pytest.mark.parametrize("case", cases("pose_codec"), ids=name_of)
def test_decode(case: Case) -> None:
    heatmaps = case.array("input.heatmaps_to_decode")
    stable = case.array("output.keypoint_stable") == 1
    peaks, maxima = heatmap_maxima(heatmaps)
    np.testing.assert_array_equal(peaks, case.array("output.max_location"))
    np.testing.assert_array_equal(maxima, case.array("output.decoded_scores"))
    case.assert_close("output.refined_heatmap_xy", refine_peaks(peaks, maxima, heatmaps, blur_kernel=11), where=stable)

    points, scores = decode_heatmaps(heatmaps, sizes(case)[0])
    np.testing.assert_array_equal(scores, maxima)
    case.assert_close("output.decoded_keypoints", points, where=stable)
    center, scale = case.array("input.bbox_center")[:, None], case.array("input.bbox_scale")[:, None]
    in_image = crop_points_to_image(points, center, scale, sizes(case)[0])
    case.assert_close("output.keypoints_image_space", in_image, where=stable)


@pytest.mark.parametrize("case", cases("pose_codec"), ids=name_of)
def test_decoding_a_batch_equals_decoding_one_by_one(case: Case) -> None:
    heatmaps = case.array("input.heatmaps_to_decode")
    together, _ = decode_heatmaps(heatmaps, sizes(case)[0])
    alone = [decode_heatmaps(one[None], sizes(case)[0])[0][0] for one in heatmaps]
    np.testing.assert_array_equal(together, np.stack(alone))


@pytest.mark.parametrize("case", cases("pose_topdown_photo"), ids=name_of)
def test_crop_of_a_photo(case: Case) -> None:
    size = sizes(case)[0]
    center, scale = center_and_scale(case.array("input.bboxes"), aspect=size[1] / size[0])
    case.assert_close("output.bbox_center", center)
    case.assert_close("output.bbox_scale", scale)
    matrices = np.stack([udp_warp_matrix(c, s, size) for c, s in zip(center, scale, strict=True)])
    case.assert_close("output.warp_matrix", matrices)
    crops = np.stack([warp(case.array("input.photo_bgr_uint8"), matrix, size) for matrix in matrices])
    np.testing.assert_array_equal(crops.transpose(0, 3, 1, 2), case.array("output.crop_bgr_uint8"))
    points = [transform_points(p, m) for p, m in zip(case.array("input.photo_keypoints"), matrices, strict=True)]
    case.assert_close("output.transformed_keypoints", np.stack(points))


@pytest.mark.parametrize("case", cases("pose_topdown_photo"), ids=name_of)
def test_keypoints_of_a_photo(case: Case) -> None:
    size, stable = sizes(case)[0], case.array("output.keypoint_stable") == 1
    points, scores = decode_heatmaps(case.array("output.heatmaps_flip_avg"), size)
    case.assert_close("output.keypoints_input_space", points, where=stable)
    case.assert_close("output.keypoint_scores", scores)
    center, scale = case.array("output.bbox_center")[:, None], case.array("output.bbox_scale")[:, None]
    case.assert_close("output.keypoints_image", crop_points_to_image(points, center, scale, size), where=stable)
    if case.config["K"] == len(COCO_17):
        np.testing.assert_array_equal(COCO_17.flip_indices, case.array("input.flip_indices"))


@pytest.mark.parametrize("case", cases("goliath_metric"), ids=name_of)
def test_sapiens_308_as_wholebody_133(case: Case) -> None:
    golden = case.description["golden"]
    ours = {i: s for i, s in enumerate(source_indices(SAPIENS_308, WHOLEBODY_133)) if s >= 0}
    roots = {WHOLEBODY_133.index(name) for name in FINGER_ROOTS}
    published = {int(i): s for i, s in golden["coco_wholebody_to_goliath_mapping"].items()}
    assert {i: s for i, s in ours.items() if i not in roots} == published  # the ten finger roots are ours alone
    np.testing.assert_allclose(SAPIENS_308.sigmas, case.description["sigmas"])
