import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.annotation.conftest import STANDING, make_ring
from tests.annotation.test_parts import BALLS, HIGH, LOW, shot, small

from opensapiens.annotation import map_files
from opensapiens.annotation.calibration import write_cameras
from opensapiens.annotation.picture_labels import PictureLabels
from opensapiens.annotation.tool_files import part_annotations, write_parts
from opensapiens.cli import main
from opensapiens.data.coco import read_coco_persons
from opensapiens.data.folders import FolderDataset
from opensapiens.data.label_kinds import MASK, PARTS
from opensapiens.data.workers import WorkerDied
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308, WHOLEBODY_133
from opensapiens.labels.parts import SAPIENS_28


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    for name in ("a.jpg", "sub/b.png", "sub/c.jpg"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(path)
    return tmp_path / "pictures"


def test_prelabels(pictures: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pictures / "sub" / "broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    arguments = ["annotate", str(pictures), "--output", str(out), "--model", str(tiny_model), "--whole-image"]
    assert main([*arguments, "--device", "cpu"]) == 1
    printed = capsys.readouterr()
    assert "3 pictures, 3 people" in printed.out
    sentence, last = printed.err.splitlines()[-2:]
    assert "sub/broken.jpg: not a picture" in sentence and last == "1 problem"
    persons = read_coco_persons(out / "keypoints.json", pictures, SAPIENS_308)
    assert sorted(str(person.image.path.relative_to(pictures)) for person in persons) == [
        "a.jpg",
        "sub/b.png",
        "sub/c.jpg",
    ]
    dataset = FolderDataset(pictures, {PARTS: out / "parts", MASK: out / "people"})
    (pictures / "sub" / "broken.jpg").unlink()
    samples = {
        sample.key: sample for sample in (dataset[i] for i in range(len(dataset)) if "broken" not in dataset.names[i])
    }
    assert set(samples) == {"a", "sub/b", "sub/c"}
    assert all(sample.parts is not None and sample.parts.shape == (90, 70) for sample in samples.values())
    assert len(json.loads((out / "parts.json").read_text())["categories"]) == 27
    assert (out / "cvat_labels.json").is_file()
    tasks = json.loads((out / "label_studio.json").read_text())
    assert [task["data"]["image"].partition("?d=")[2] for task in tasks] == ["a.jpg", "sub/b.png", "sub/c.jpg"]
    kinds = {region["type"] for task in tasks for region in task["predictions"][0]["result"]}
    assert kinds == {"rectanglelabels", "keypointlabels", "polygonlabels"}
    assert (out / "label_studio.xml").read_text().count("<Label ") == 1 + 308 + 27


def test_a_stopped_run_goes_on(
    pictures: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["annotate", str(pictures), "--output", str(out), "--model", str(tiny_model), "--whole-image"]
    arguments += ["--batch-size", "1"]  # a picture's last digits depend on what goes through the network with it
    assert main([*arguments, "--keypoints", "coco_17"]) == 0
    first = (out / "keypoints.json").read_bytes()
    kept = out / "predictions" / "a.json"
    marked = kept.read_text().replace('"score":1.0', '"score":0.5')
    kept.write_text(marked)
    (out / "predictions" / "sub" / "b.json").unlink()
    assert main([*arguments, "--keypoints", "coco_17", "--resume"]) == 0
    assert kept.read_text() == marked, "it is not done again"
    assert (out / "keypoints.json").read_bytes() == first.replace(b'"score":1.0', b'"score":0.5', 1)
    other = ["annotate", str(pictures), "--output", str(out), "--resume"]
    assert main(other) == 2
    assert "holds predictions of another heads, weights" in capsys.readouterr().err
    assert len(read_coco_persons(out / "keypoints.json", pictures, COCO_17)) == 3


@pytest.mark.parametrize("name", ["coco_17", "wholebody_133"])
def test_other_sets_of_points(pictures: Path, tiny_model: Path, tmp_path: Path, name: str) -> None:
    arguments = ["--model", str(tiny_model), "--whole-image", "--keypoints", name, "--masks", "rle"]
    assert main(["annotate", str(pictures), "--output", str(tmp_path / "out"), *arguments]) == 0
    points = {"coco_17": COCO_17, "wholebody_133": WHOLEBODY_133}[name]
    assert len(read_coco_persons(tmp_path / "out" / "keypoints.json", pictures, points)) == 3


@pytest.fixture
def studio(tmp_path: Path) -> Path:
    """Three frames of six cameras, and what somebody has exported from a tool: a wrist is wrong in one view, in another
    the person is missing, the nose is nowhere; camera 5 has no folder, frame 2 no picture of camera 1."""
    cameras = make_ring(6, size=(360, 640))
    for camera in cameras:
        camera.matrix[:2] *= 0.5
    write_cameras(tmp_path / "rig.json", [*cameras, *make_ring(8)[7:]])
    content: dict = {"images": [], "annotations": []}
    content["categories"] = [{"id": 1, "name": "person", "keypoints": list(COCO_17.names)}]
    for frame in range(3):
        body = STANDING + [0.1 * frame, 0, 0]
        for v, camera in enumerate(cameras):
            name = f"{camera.name}/{frame}.png"
            path = tmp_path / "studio" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if (frame, v) == (2, 1):
                continue
            Image.new("RGB", (640, 360), (90, 100, 110)).save(path)
            number = len(content["images"]) + 1
            content["images"].append({"id": number, "file_name": name, "width": 640, "height": 360})
            points = np.column_stack([camera.project(body), np.full(17, 2)])
            points[0] = 0
            if v == 2:
                points[9, :2] += 60
            if (frame, v) != (1, 3):
                content["annotations"].append(
                    {"id": number, "image_id": number, "category_id": 1, "keypoints": points.ravel().tolist()}
                )
    (tmp_path / "from_tool.json").write_text(json.dumps(content))
    return tmp_path


def run_studio(studio: Path, out: str, *more: str) -> int:
    arguments = ["--cameras", str(studio / "rig.json"), "--corrected", str(studio / "from_tool.json")]
    return main(
        ["annotate", str(studio / "studio"), "--output", str(studio / out), *arguments, "--keypoints", "coco_17", *more]
    )


def test_views_that_agree(studio: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_studio(studio, "out") == 1
    printed = capsys.readouterr()
    assert "camera cam_07: no folder" in printed.err and "frame 2: no picture of cam_01" in printed.err
    assert "3 of 51 points" in printed.out, "the nose of each frame"
    out = studio / "out"
    cameras = make_ring(6, size=(360, 640))
    persons = read_coco_persons(out / "keypoints.json", studio / "studio", COCO_17)
    assert len(persons) == 17
    for person in persons:
        frame, v = int(person.image.path.stem), int(person.image.path.parent.name[-2:])
        camera = cameras[v]
        camera.matrix[:2] = np.array([[500.0, 0, 320], [0, 502.5, 175]])
        truth = camera.project(STANDING + [0.1 * frame, 0, 0])
        assert person.keypoints is not None
        assert np.abs(person.keypoints[1:, :2] - truth[1:]).max() < 0.1
        expected = np.full(16, 1 if (frame, v) == (1, 3) else 2)
        expected[8] = 1 if v == 2 or (frame, v) == (1, 3) else 2
        assert person.keypoints[1:, 2].tolist() == expected.tolist() and person.keypoints[0, 2] == 0
    points = json.loads((out / "points_3d.json").read_text())
    assert [one["person_id"] for one in points["people"]] == [1, 1, 1]
    np.testing.assert_allclose(points["people"][2]["points"][1:], STANDING[1:] + [0.2, 0, 0], atol=1e-3)
    assert points["people"][0]["points"][0] is None and points["people"][0]["views"][9] == 5
    rows = list(csv.DictReader((out / "review.csv").open()))
    assert [(row["frame"], row["point"], row["reason"]) for row in rows] == [(f, "nose", "unseen") for f in "012"]
    assert not list(out.glob("*.c3d"))
    assert (out / "person_1.trc").read_text().count("\n") == 9 and (out / "review.html").is_file()


def test_tracks_of_a_rig_as_c3d(studio: Path) -> None:
    pytest.importorskip("ezc3d")
    c3d = pytest.importorskip("c3d")
    assert run_studio(studio, "tracks", "--c3d", "--up", "y") == 1
    truth = json.loads((studio / "tracks" / "points_3d.json").read_text())["people"]
    with (studio / "tracks" / "person_1.c3d").open("rb") as file:
        frames = [frame for _, frame, _ in c3d.Reader(file).read_frames()]
    assert len(frames) == len(truth) == 3
    for frame, row in zip(frames, truth, strict=True):
        assert frame[0, 3] < 0, "the nose is to be looked at"
        x, y, z = np.array(row["points"][1:], float).T
        np.testing.assert_allclose(frame[1:, :3], np.column_stack([z, x, y]), atol=1e-5)


def test_the_result_does_not_depend_on_the_run(studio: Path) -> None:
    assert run_studio(studio, "one") == run_studio(studio, "two", "--workers", "2") == 1
    for name in ("keypoints.json", "points_3d.json", "review.csv", "person_1.trc"):
        assert (studio / "one" / name).read_bytes() == (studio / "two" / name).read_bytes()


def test_a_page_shows_what_is_doubtful(studio: Path) -> None:
    content = json.loads((studio / "from_tool.json").read_text())
    rng = np.random.default_rng(0)
    for annotation in content["annotations"]:
        annotation["keypoints"][27:29] = rng.uniform(100, 300, 2).tolist()  # the left wrist, anywhere
    (studio / "from_tool.json").write_text(json.dumps(content))
    run_studio(studio, "out")
    page = (studio / "out" / "review.html").read_text()
    assert page.count("<img") == 3 and "left_wrist (few views)" in page
    sheets = sorted((studio / "out" / "review").iterdir())
    picture = np.asarray(Image.open(sheets[0])).astype(int)
    red = (picture[..., 0] > 180) & (picture[..., 1] < 120) & (picture[..., 2] < 120)
    assert len(sheets) == 3 and red.sum() > 20


def test_corrections_without_cameras(studio: Path) -> None:
    arguments = ["--corrected", str(studio / "from_tool.json"), "--keypoints", "coco_17"]
    assert main(["annotate", str(studio / "studio"), "--output", str(studio / "out"), *arguments]) == 0
    persons = read_coco_persons(studio / "out" / "keypoints.json", studio / "studio", COCO_17)
    before = json.loads((studio / "from_tool.json").read_text())["annotations"]
    assert len(persons) == len(before) == 16
    assert persons[0].keypoints is not None
    np.testing.assert_allclose(persons[0].keypoints.ravel(), before[0]["keypoints"], atol=0.006)
    assert (persons[0].box[2:] - persons[0].box[:2] > 20).all()


def test_pictures_of_another_size_are_named(studio: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (320, 180)).save(studio / "studio" / "cam_04" / "0.png")
    assert run_studio(studio, "out") == 1
    assert "cam_04/0.png: 320×180 pixels (after EXIF rotation), but 640×360 in its ann" in capsys.readouterr().err
    content = json.loads((studio / "from_tool.json").read_text())
    for image in content["images"]:
        if image["file_name"].endswith("cam_04/0.png"):
            image |= {"width": 320, "height": 180}
    (studio / "from_tool.json").write_text(json.dumps(content))
    assert run_studio(studio, "out") == 1
    assert "cam_04/0.png: 320×180 pixels, but cam_04 was calibrated at 640×360" in capsys.readouterr().err
    assert len(json.loads((studio / "out" / "points_3d.json").read_text())["people"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corrected", "x.json", "--model", "nano"], "takes the place of a model"),
        (["--whole-image", "--detector", "x"], "exclude each other"),
        (["--keypoints", "seventeen"], "no keypoint set 'seventeen'"),
        (["--workers", "0"], "at least 1"),
        (["--cameras", "missing.toml"], "missing.toml"),
    ],
)
def test_misuse(
    pictures: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["annotate", str(pictures), "--output", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_no_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "no picture" in capsys.readouterr().err


def test_folders_of_other_names(studio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (studio / "studio").iterdir():
        folder.rename(folder.with_name(folder.name.replace("cam", "kamera")))
    content = (studio / "from_tool.json").read_text().replace("cam_", "kamera_")
    (studio / "from_tool.json").write_text(content)
    assert run_studio(studio, "out") == 2
    assert "0 of 7 cameras have a folder of pictures" in capsys.readouterr().err


@pytest.mark.parametrize(
    "row", [{"id": [1], "image_id": {}, "category_id": 1, "keypoints": [1]}, {"category_id": 1, "keypoints": "x"}, {}]
)
def test_a_damaged_export(studio: Path, row: dict, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads((studio / "from_tool.json").read_text())
    content["annotations"].append(row)
    (studio / "from_tool.json").write_text(json.dumps(content))
    assert run_studio(studio, "out") == 2
    assert "from_tool.json" in capsys.readouterr().err


def test_parts_are_voted_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten views of somebody made of balls; in one a patch of the trunk is taken for the face."""
    cameras = small(make_ring(10))
    write_cameras(tmp_path / "rig.json", cameras)
    corners = np.stack(np.meshgrid(*np.stack([LOW, HIGH], 1), indexing="ij"), -1).reshape(-1, 3)
    body = np.concatenate([corners, [center for center, _, _ in BALLS], [[0, 0, 1], [0, 0, 1.1]]])
    points: dict = {"categories": [{"id": 1, "name": "person", "keypoints": list(COCO_17.names)}]}
    points |= {"images": [], "annotations": []}
    rows, truth = [], []
    for number, camera in enumerate(cameras, start=1):
        name = f"{camera.name}/0.png"
        (tmp_path / "studio" / camera.name).mkdir(parents=True)
        Image.new("RGB", (320, 180)).save(tmp_path / "studio" / name)
        points["images"].append({"id": number, "file_name": name, "width": 320, "height": 180})
        triples = np.column_stack([camera.project(body), np.full(17, 2)])
        points["annotations"].append(
            {"id": number, "image_id": number, "category_id": 1, "keypoints": triples.ravel().tolist()}
        )
        truth.append(shot(camera))
        parts = truth[-1].copy()
        if number == 3:
            y, x = (int(places.mean()) for places in np.nonzero(parts == 21))
            parts[y - 5 : y + 5, x - 5 : x + 5] = 2
        rows.append((PictureLabels(name, (180, 320), []), part_annotations(parts, (parts > 0).astype(np.uint8), "rle")))
    (tmp_path / "points.json").write_text(json.dumps(points))
    write_parts(tmp_path / "parts.json", rows, SAPIENS_28)
    files = ["--corrected", str(tmp_path / "points.json"), str(tmp_path / "parts.json"), "--keypoints", "coco_17"]
    for workers in ("1", "2"):
        arguments = [*files, "--cameras", str(tmp_path / "rig.json"), "--workers", workers]
        assert main(["annotate", str(tmp_path / "studio"), "--output", str(tmp_path / workers), *arguments]) == 0
    assert "body parts: of the pixels that three views or more see" in capsys.readouterr().out

    def died(*_: object) -> Iterator[WorkerDied]:
        yield WorkerDied("it died")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_files, "run_in_processes", died)
        arguments = [*files, "--cameras", str(tmp_path / "rig.json"), "--workers", "2"]
        assert main(["annotate", str(tmp_path / "studio"), "--output", str(tmp_path / "3"), *arguments]) == 1
    assert "cam_00/0.png, " in (printed := capsys.readouterr()).err and "no part maps, it died" in printed.err
    assert (tmp_path / "3" / "keypoints.json").is_file()
    made = [np.asarray(Image.open(tmp_path / "1" / "parts" / camera.name / "0.png")) for camera in cameras]
    assert (made[2] == 2).sum() == 0 and (made[2] != truth[2]).sum() < 40
    for folder in ("parts", "people", "parts_review"):
        for camera in cameras:
            name = f"{folder}/{camera.name}/0.png"
            assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
