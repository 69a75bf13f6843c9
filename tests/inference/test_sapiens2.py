"""Models of Sapiens2 in the pipeline: random weights in the published layout, a photo, several people, every task."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import opensapiens
from opensapiens.backbones.sapiens2 import Sapiens2Config
from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.checkpoints.model_folder import build_model, save_model
from opensapiens.checkpoints.published_table import PUBLISHED_MODELS
from opensapiens.checkpoints.sapiens2_files import to_published
from opensapiens.inference.loading import LoadError
from opensapiens.inference.pipeline import People, SourceImage
from opensapiens.inference.results import Result, ResultError
from opensapiens.models.pixel_shuffle_head import scale_branch

SIZE = (64, 48)
CONFIG = Sapiens2Config(SIZE, 16, 2, 2, (2, 1), 32)
UP, CONVS = (8, 8, 4, 4), (4, 4)
HEADS = {
    "pose": HeadDescription(308, (8, 8), CONVS, "sapiens_308"),
    "seg": HeadDescription(29, UP, CONVS, "sapiens_29"),
    "normal": HeadDescription(3, UP, CONVS, kind="pixel_shuffle"),
    "pointmap": HeadDescription(3, UP, CONVS, kind="pointmap", scale=scale_branch((8, 4), (6, 5), (4, 3))),
    "matting": HeadDescription(4, UP, CONVS, kind="pixel_shuffle"),
}
BOXES = np.array([[5, 10, 60, 90], [70, 5, 110, 95], [120, 20, 155, 99]], np.float32)
IMAGE = np.random.default_rng(0).integers(0, 256, (100, 160, 3), np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder of each task, fed as the published weights are."""
    root, made = tmp_path_factory.mktemp("models"), {}
    for ending, head in HEADS.items():
        published = PUBLISHED_MODELS[f"sapiens2-1b-{ending}"].description()
        (task,) = published.heads
        preprocessing = replace(published.preprocessing, input_size=SIZE)
        description = ModelDescription(f"toy-{ending}", CONFIG, {task: head}, preprocessing)
        torch.manual_seed(len(made))
        model = build_model(description)
        if ending == "pointmap":  # a random scale may be near 0
            torch.nn.init.constant_(model.heads[task].scale_layers[-1].bias, 3.0)
        save_model(root / ending, model, description)
        made[ending] = root / ending
    return made


@pytest.fixture(scope="module")
def people(folders: dict[str, Path]) -> People:
    return opensapiens.load(list(folders.values()), device="cpu")


@pytest.fixture(scope="module")
def result(people: People) -> Result:
    answer = people(IMAGE, boxes=BOXES)
    assert isinstance(answer, Result)
    return answer


def test_every_task_of_three_people_at_once(result: Result) -> None:
    assert len(result.persons) == 3 and result.persons[0].keypoints.shape == (308, 2)
    assert result.parts is not None and result.parts.part_set.name == "sapiens_29"
    assert result.tasks() == ["pose", "segmentation", "normals", "pointmap", "matting"]
    assert result.points is not None and result.matte is not None and result.albedo is None
    known = np.isfinite(result.points.values).all(axis=-1)
    np.testing.assert_array_equal(known, result.parts.labels > 0)  # of whole images, where somebody is
    assert known.any() and not known.all()
    # Alpha has no need of a part map.
    assert (result.matte.alpha[~known] > 0).all()


def test_depth_of_a_pointmap_is_metric(result: Result) -> None:
    assert result.depth is not None and result.depth.metric and result.points is not None
    np.testing.assert_array_equal(result.depth.values, result.points.values[..., 2])


def test_saved_files_are_what_other_programs_read(result: Result, tmp_path: Path) -> None:
    written = {path.name: path for path in result.save(tmp_path, "a", ("default", "ply"))}
    assert {"a_points.npz", "a_points.png", "a_points.ply", "a_cutout.png", "a_alpha.png", "a_pointmap.jpg"} <= set(
        written
    )
    assert all(path.is_file() for path in written.values())
    assert Image.open(written["a_cutout.png"]).mode == "RGBA"
    assert result.points is not None
    header, _, body = written["a_points.ply"].read_bytes().partition(b"end_header\n")
    count = int(np.isfinite(result.points.values).all(axis=-1).sum())
    assert f"element vertex {count}".encode() in header and len(body) == count * (6 * 4 + 3)  # normals are there too
    first = np.frombuffer(body[:12], "<f4")
    exact = result.points.values[np.isfinite(result.points.values).all(axis=-1)][0]
    np.testing.assert_allclose(first, exact * [1, -1, -1])  # the axes of the normals


def test_points_need_no_assumptions_and_take_none(result: Result, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="the points are known"):
        result.save_point_cloud(tmp_path / "x.ply", 100, 1, 2)


def test_one_detection_serves_all_models(people: People) -> None:
    calls = []

    def detector(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        calls.append(image.shape)
        return BOXES[:2], np.ones(2, np.float32)

    before = people._detector
    people.detector = detector
    try:
        answer = people(IMAGE)
    finally:
        people.detector = before
    assert len(calls) == 1 and isinstance(answer, Result) and answer.depth is not None


def test_both_families_work_together(folders: dict[str, Path]) -> None:
    answer = opensapiens.load([folders["pointmap"], "nano"], device="cpu")(IMAGE, boxes=BOXES)
    assert isinstance(answer, Result) and answer.points is not None and answer.parts is not None
    assert answer.parts.part_set.name == "sapiens_28" and answer.depth is not None and not answer.depth.metric


def test_a_pointmap_is_for_one_size(folders: dict[str, Path]) -> None:
    with pytest.raises(LoadError, match="the pointmap head of toy-pointmap is for inputs of 64 x 48 pixels alone"):
        opensapiens.load(folders["pointmap"], device="cpu", input_size=(128, 96))
    opensapiens.load(folders["normal"], device="cpu", input_size=(128, 96))(IMAGE, boxes=BOXES)


def test_a_published_file_is_loaded_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSAPIENS_CACHE", str(tmp_path / "cache"))
    description = PUBLISHED_MODELS["sapiens2-1b-normal"].description()
    description = ModelDescription("toy", CONFIG, {"normals": HEADS["normal"]}, description.preprocessing)
    file = tmp_path / "sapiens2_toy_normal.safetensors"
    save_file(to_published(build_model(description).state_dict(), "normals"), file, metadata={"format": "pt"})
    people = opensapiens.load(file, device="cpu")
    assert people.models[0].input_size == (1024, 768) and list(people.model_of_task) == ["normals"]
    assert people.models[0].tasks["normals"].unit_first  # type: ignore[attr-defined]


def test_positions_as_other_programs_have_them(folders: dict[str, Path]) -> None:
    answers = []
    for rope_dtype in ("bfloat16", "float32"):
        people = opensapiens.load([folders["normal"], "nano"], device="cpu", rope_dtype=rope_dtype)  # type: ignore[arg-type]
        (prediction,) = people._run(people.models[0], [SourceImage(IMAGE)], None)[0]
        answers.append(prediction.decoded["normals"])
    assert 1e-7 < np.abs(answers[0] - answers[1]).max() < 0.5
    with pytest.raises(LoadError, match="there is none among these"):
        opensapiens.load("nano", device="cpu", rope_dtype="float32")
