"""Files of results are opened by other programs' readers, and hold what was predicted."""

import json
import struct
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from opensapiens.inference.formats import FORMATS, check_formats
from opensapiens.inference.formats.openpose import BODY_25
from opensapiens.inference.formats.wholebody import id_in_name, whole_body
from opensapiens.inference.options import FormatName, OptionsError, PredictOptions
from opensapiens.inference.output import ENDINGS
from opensapiens.inference.pipeline import People
from opensapiens.inference.results import Person, Result, ResultError
from opensapiens.labels.keypoint_maps import SHARED_114, convert_keypoints
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308, WHOLEBODY_133, KeypointSet

from .conftest import paint, painted_model

BOX = (70, 20, 130, 100)
CAMERA = (150.0, 2.0, 3.0)


@pytest.fixture(scope="module")
def result() -> Result:
    found = People([painted_model()])(paint([BOX]), boxes=[BOX])
    assert isinstance(found, Result)
    return found


def posed(keypoint_set: KeypointSet, people: int = 2) -> Result:
    """People whose points are all in different places, each with a score of its own."""
    generator = np.random.default_rng(0)
    persons = []
    for number in range(1, people + 1):
        points = generator.uniform(10, 390, (len(keypoint_set), 2)).astype(np.float32)
        scores = generator.uniform(0.1, 1, len(keypoint_set)).astype(np.float32)
        box, mask = np.array([5, 5, 395, 395], np.float32), np.ones((400, 400), bool)
        persons.append(Person(number, box, 0.9, mask, points, scores, keypoint_set.names))
    return Result(np.zeros((400, 400, 3), np.uint8), persons, keypoint_set=keypoint_set)


def saved(result: Result, folder: Path, *formats: FormatName) -> dict[str, Path]:
    """The files by their ending."""
    files = result.save(folder, "photo", formats, point_cloud=CAMERA)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in files)
    return {path.name.removeprefix("photo_"): path for path in files}


def test_every_format_has_a_name_among_the_options() -> None:
    assert {"default", *FORMATS} == set(get_args(FormatName))
    assert list(FORMATS)[-1] == "json", "written last: where it is, everything is"


def test_what_is_written_is_what_was_asked_for(result: Result, tmp_path: Path) -> None:
    assert list(saved(result, tmp_path / "a", "json")) == ["keypoints.json"]
    assert list(saved(result, tmp_path / "b", "csv", "wholebody")) == ["keypoints.csv", "wholebody.json"]
    assert len(saved(result, tmp_path / "c", "default", "csv")) == len(saved(result, tmp_path / "d")) + 1
    assert sorted(saved(result, tmp_path / "e", "png")) == ["depth.png", "normals.png", "parts.png"]
    assert sorted(saved(result, tmp_path / "f", "npz")) == ["depth.npz", "normals.npz"]
    with pytest.raises(OptionsError, match="xml is no format; there are png, npz"):
        result.save(tmp_path, formats=("xml",))  # type: ignore[arg-type]


def test_every_file_is_among_those_that_are_checked_before(result: Result, tmp_path: Path) -> None:
    own = {f"{task}.jpg" for task in result.tasks()} | {end for one in result.maps.values() for end in one.files()}
    names = [name for name, one in FORMATS.items() if one.photo is not None]
    assert set(saved(result, tmp_path, *names)) <= set(ENDINGS) | own


def test_a_format_that_the_model_has_nothing_for(result: Result, tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="exr needs depth or normals or pointmap; the model predicts pose"):
        check_formats(["default", "json", "exr"], ["pose"])
    with pytest.raises(OptionsError, match="the format openpose needs pose"):
        Result(result.image).save(tmp_path, formats=("openpose",))
    with pytest.raises(OptionsError, match="the format glb needs --point-cloud FOCAL NEAR FAR"):
        check_formats(["default", "glb"], ["pose", "depth"])
    check_formats(["glb"], ["pointmap"])
    with pytest.raises(OptionsError, match="the format trc is of videos alone"):
        result.save(tmp_path, formats=("json", "trc"))
    with pytest.raises(OptionsError, match="ply needs --point-cloud"):
        result.save(tmp_path, formats=("ply",))
    assert PredictOptions(point_cloud=CAMERA).formats_of_photos()[-1] == "ply"
    assert PredictOptions(point_cloud=CAMERA, format=("glb",)).formats_of_photos() == ("glb",)


@pytest.mark.parametrize(
    ("name", "module"), [("exr", "OpenEXR"), ("glb", "trimesh"), ("parquet", "pyarrow"), ("parquet", "pyarrow.parquet")]
)
def test_a_missing_library_is_one_sentence(name: FormatName, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=r"need .*: pip install opensapiens\[formats\]$"):
        check_formats([name], ["pose", "depth", "normals"], CAMERA)


def openpose_row(result: Result, folder: Path, name: str = "photo") -> dict[str, Any]:
    content = json.loads(saved(result, folder, "openpose")["openpose.json"].read_text())
    assert content["version"] == 1.3 and len(content["people"]) == len(result.persons)
    return content["people"][0]


def test_openpose_has_its_points_in_its_order(tmp_path: Path) -> None:
    result = posed(SAPIENS_308)
    row, person = openpose_row(result, tmp_path), result.persons[0]
    assert list(row) == [
        "person_id", "pose_keypoints_2d", "face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d",
        "pose_keypoints_3d", "face_keypoints_3d", "hand_left_keypoints_3d", "hand_right_keypoints_3d",
    ]  # fmt: skip
    assert row["person_id"] == [-1] and row["pose_keypoints_3d"] == []
    places = {"pose": 25, "face": 70, "hand_left": 21, "hand_right": 21}
    arrays = {key: np.array(row[f"{key}_keypoints_2d"]).reshape(count, 3) for key, count in places.items()}

    def of(name: str) -> np.ndarray:
        channel = SAPIENS_308.index(name)
        return np.array([*person.keypoints[channel], person.scores[channel]])

    for number, name in {
        0: "nose", 2: "right_shoulder", 4: "right_wrist", 7: "left_wrist", 9: "right_hip", 14: "left_ankle",
        15: "right_eye", 18: "left_ear", 19: "left_big_toe", 21: "left_heel", 22: "right_big_toe", 24: "right_heel",
    }.items():  # fmt: skip
        assert np.allclose(arrays["pose"][number], of(name), atol=1e-3), name
    shoulders = np.stack([of("left_shoulder"), of("right_shoulder")])
    assert np.allclose(arrays["pose"][1], [*shoulders[:, :2].mean(0), shoulders[:, 2].min()], atol=1e-3), "neck"
    assert np.allclose(arrays["pose"][8][:2], (of("left_hip") + of("right_hip"))[:2] / 2, atol=1e-3), "middle of hips"
    assert np.allclose(arrays["face"][68], of("r_center_of_pupil"), atol=1e-3), "the right pupil first"
    assert np.allclose(arrays["face"][30], of("tip_of_nose"), atol=1e-3) and not arrays["face"][:17].any()
    assert np.allclose(arrays["face"][36], of("r_outer_end_of_upper_lash_line"), atol=1e-3), "the right eye first"
    for side in ("left", "right"):
        hand = arrays[f"hand_{side}"]
        for number, name in {
            0: "wrist",
            1: "thumb_third_joint",
            4: "thumb4",
            5: "forefinger_third_joint",
            20: "pinky_finger4",
        }.items():
            assert np.allclose(hand[number], of(f"{side}_{name}"), atol=1e-3), name


def test_openpose_without_face_and_hands_has_empty_lists(tmp_path: Path) -> None:
    result = posed(COCO_17)
    result.persons[0].scores[5] = 0.01  # the left shoulder was not found
    row = openpose_row(result, tmp_path)
    assert row["face_keypoints_2d"] == row["hand_left_keypoints_2d"] == row["hand_right_keypoints_2d"] == []
    pose = np.array(row["pose_keypoints_2d"]).reshape(25, 3)
    missing = [number for number, names in enumerate(BODY_25) if "left_shoulder" in names] + list(range(19, 25))
    assert not pose[missing].any() and pose[[k for k in range(25) if k not in missing]].all()


def test_the_133_points_of_each_set() -> None:
    for source in (COCO_17, SAPIENS_308, WHOLEBODY_133):
        person = posed(source).persons[0]
        points, scores = whole_body(person.keypoints, person.scores, source)
        for name in COCO_17.names:
            assert np.array_equal(points[WHOLEBODY_133.index(name)], person.keypoints[source.index(name)])
        assert points.shape == (133, 2) and ((scores == 0) == ~points.any(axis=1)).all()
        if source is WHOLEBODY_133:
            assert np.array_equal(points, person.keypoints) and np.array_equal(scores, person.scores)
        if source is SAPIENS_308:
            shared, _ = convert_keypoints(person.keypoints, person.scores, source, SHARED_114)
            known = [WHOLEBODY_133.index(name) for name in SHARED_114.names]
            assert np.array_equal(points[known], shared) and (scores > 0).sum() == 114 + 2, "and two hand roots"


def test_wholebody_results_score_full_marks_against_themselves(tmp_path: Path) -> None:
    """faster_coco_eval reads the body of the results as COCO does."""
    evaluation = pytest.importorskip("faster_coco_eval")
    result = posed(WHOLEBODY_133)
    (path,) = result.save(tmp_path, "000000000139", ("wholebody",))
    rows = json.loads(path.read_text())
    assert rows[0]["image_id"] == 139 and id_in_name("cam2/img.jpg") == 1 and id_in_name("cam2_0007.png") == 7
    first = 0
    for field, count in {
        "keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21
    }.items():  # fmt: skip
        there, channels = np.array(rows[1][field]).reshape(count, 3), slice(first, first + count)
        assert np.abs(there[:, :2] - result.persons[1].keypoints[channels]).max() < 0.006
        assert np.abs(there[:, 2] - result.persons[1].scores[channels]).max() < 1e-4
        first += count
    truth = {"images": [{"id": 139, "width": 400, "height": 400}], "categories": [{"id": 1, "name": "person"}]}
    truth["annotations"] = [
        {**row, "id": i, "iscrowd": 0, "area": 9e4, "num_keypoints": 17} for i, row in enumerate(rows, start=1)
    ]
    coco = evaluation.COCO(truth)
    scores = evaluation.COCOeval_faster(coco, coco.loadRes(str(path)), "keypoints")
    scores.evaluate()
    scores.accumulate()
    scores.summarize()
    assert scores.stats[0] == pytest.approx(1.0)


def test_the_exr_is_read_by_openimageio(result: Result, tmp_path: Path) -> None:
    pytest.importorskip("OpenEXR")
    image_io = pytest.importorskip("OpenImageIO")
    assert result.depth is not None and result.normals is not None
    path = saved(result, tmp_path, "exr")["maps.exr"]
    file = image_io.ImageInput.open(str(path))
    layout = file.spec()
    assert str(layout.format) == "half" and (layout.width, layout.height) == (200, 120)
    assert set(layout.channelnames) == {"A", "Z", "N.X", "N.Y", "N.Z"}
    pixels = file.read_image("float")
    channels = {name: pixels[..., place] for place, name in enumerate(layout.channelnames)}
    there = np.isfinite(result.depth.values)
    assert (channels["A"] == there).all() and not channels["Z"][~there].any()
    assert np.abs(channels["Z"][there] / result.depth.values[there] - 1).max() < 2**-11
    normals = np.stack([channels[f"N.{axis}"] for axis in "XYZ"], axis=-1)
    assert np.abs(normals[there] - result.normals.values[there]).max() < 2**-11
    assert np.isfinite(pixels).all()


def test_the_ply_is_read_by_plyfile(result: Result, tmp_path: Path) -> None:
    plyfile = pytest.importorskip("plyfile")
    assert result.depth is not None and result.normals is not None
    vertices = plyfile.PlyData.read(saved(result, tmp_path, "ply")["points.ply"])["vertex"]
    there = np.isfinite(result.depth.values)
    assert len(vertices) == there.sum() == result.save_point_cloud(tmp_path / "again.ply", *CAMERA)
    points = np.stack([vertices[axis] for axis in "xyz"], axis=-1)
    assert np.array_equal(points, result.depth.points(*CAMERA)[there])
    normals = np.stack([vertices[f"n{axis}"] for axis in "xyz"], axis=-1)
    assert np.array_equal(normals, result.normals.values[there])
    colors = np.stack([vertices[color] for color in ("red", "green", "blue")], axis=-1)
    assert (colors == result.image[there]).all()
    with pytest.raises(ResultError, match="needs depth"):
        Result(result.image).save_point_cloud(tmp_path / "none.ply", *CAMERA)
    with pytest.raises(ResultError, match=r"\.ply or \.glb"):
        result.save_point_cloud(tmp_path / "none.obj", *CAMERA)


def read_glb(path: Path) -> dict[str, np.ndarray]:
    """The attributes of the only primitive of a GLB file, by the glTF 2.0 specification."""
    data = path.read_bytes()
    assert struct.unpack_from("<4sII", data) == (b"glTF", 2, len(data))
    length, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON"
    header = json.loads(data[20 : 20 + length])
    assert struct.unpack_from("<I4s", data, 20 + length)[1] == b"BIN\0"
    binary = data[28 + length :]
    (primitive,) = header["meshes"][0]["primitives"]
    assert primitive["mode"] == 0, "points"
    found = {}
    for name, place in primitive["attributes"].items():
        accessor = header["accessors"][place]
        view = header["bufferViews"][accessor["bufferView"]]
        columns = {"VEC3": 3, "VEC4": 4}[accessor["type"]]
        values = np.frombuffer(
            binary, {5121: np.uint8, 5126: np.float32}[accessor["componentType"]], accessor["count"] * columns,
            view.get("byteOffset", 0) + accessor.get("byteOffset", 0),
        )  # fmt: skip
        found[name] = values.reshape(-1, columns)
    return found


def test_the_glb_holds_points_and_colors(result: Result, tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    assert result.depth is not None
    found = read_glb(saved(result, tmp_path, "glb")["points.glb"])
    there = np.isfinite(result.depth.values)
    assert np.abs(found["POSITION"] - result.depth.points(*CAMERA)[there]).max() < 1e-6
    assert (found["COLOR_0"][:, :3] == result.image[there]).all()


def test_the_cutout_shows_the_people_alone(result: Result, tmp_path: Path) -> None:
    picture = Image.open(saved(result, tmp_path, "cutout")["cutout.png"])
    assert picture.mode == "RGBA"
    pixels = np.asarray(picture)
    assert (pixels[..., 3] == result.persons[0].mask * 255).all() and (pixels[..., :3] == result.image).all()
