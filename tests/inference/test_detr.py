"""The detector through transformers, on tiny random ones of the published classes: the real code path, offline."""

import builtins
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from opensapiens.cli import main
from opensapiens.inference.detection import DetectorError
from opensapiens.inference.detr import DetrDetector
from opensapiens.inference.pipeline import People
from opensapiens.inference.results import Result

from .conftest import painted_model

transformers = pytest.importorskip("transformers")
LABELS = {0: "bicycle", 1: "Person", 2: "car"}


def tiny_detector(kind: str, folder: Path, labels: dict[int, str]) -> Path:
    """A folder with a random detector for 64 x 64 inputs to which nearly everything is of class 1."""
    torch.manual_seed(0)
    sizes = {
        "d_model": 32, "encoder_hidden_dim": 32, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "decoder_layers": 2,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 20, "num_denoising": 0,
        "encoder_in_channels": [8, 16, 32], "decoder_in_channels": [32, 32, 32], "id2label": labels,
    }  # fmt: skip
    if kind == "rt_detr_v2":
        backbone = transformers.RTDetrResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 8, 16, 32],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_indices=[2, 3, 4],
        )
        config = transformers.RTDetrV2Config(backbone_config=backbone, **sizes)
        network = transformers.RTDetrV2ForObjectDetection(config)
    else:
        backbone = transformers.HGNetV2Config(
            stem_channels=[3, 4, 4], hidden_sizes=[8, 8, 16, 32], stage_in_channels=[4, 8, 8, 16],
            stage_mid_channels=[4, 4, 4, 4], stage_out_channels=[8, 8, 16, 32], stage_num_blocks=[1, 1, 1, 1],
            stage_numb_of_layers=[1, 1, 1, 1], depths=[1, 1, 1, 1], out_indices=[2, 3, 4],
        )  # fmt: skip
        config = transformers.DFineConfig(backbone_config=backbone, **sizes)
        network = transformers.DFineForObjectDetection(config)
    for name, parameter in network.named_parameters():
        if "class_embed" in name or "score_head" in name:
            torch.nn.init.normal_(parameter, std=0.2)
            if parameter.shape == (len(labels),):
                parameter.data[1] += 2
    network.save_pretrained(folder)
    transformers.RTDetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["rt_detr_v2", "d_fine"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_detector(request.param, tmp_path_factory.mktemp("detector") / request.param, LABELS)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> DetrDetector:
    return DetrDetector(folder)


@pytest.fixture
def detector(loaded: DetrDetector) -> DetrDetector:
    """With nobody left out."""
    loaded.threshold, loaded.nms = 0.0, 1.0
    return loaded


IMAGE = np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8)


def test_boxes_are_those_of_the_network_in_pixels_of_the_image(detector: DetrDetector) -> None:
    boxes, scores = detector(IMAGE)
    assert len(boxes) == len(scores) > 0 and (np.diff(scores) <= 0).all()
    pixels = torch.nn.functional.interpolate(
        torch.from_numpy(IMAGE).permute(2, 0, 1)[None].float(), (64, 64), mode="bilinear", antialias=True
    )
    with torch.no_grad():
        outputs = detector.network(pixel_values=pixels / 255)
    center, size = outputs.pred_boxes[0, :, :2], outputs.pred_boxes[0, :, 2:]
    expected = (torch.cat([center - size / 2, center + size / 2], dim=1) * torch.tensor([140, 90, 140, 90])).numpy()
    expected = expected.clip(0, [140, 90, 140, 90])
    sure = outputs.logits[0, :, 1].sigmoid().numpy()
    for box, score in zip(boxes, scores, strict=True):
        nearest = np.abs(expected - box).max(axis=1) + 100 * np.abs(sure - score)
        assert nearest.min() < 2, "the box, with the score of the class person"


def test_the_threshold_is_the_least_score(detector: DetrDetector) -> None:
    scores = detector(IMAGE)[1]
    detector.threshold = float(scores[len(scores) // 2]) - 1e-6
    assert (detector(IMAGE)[1] == scores[scores > detector.threshold]).all()
    detector.threshold = 1.1
    boxes, scores = detector(IMAGE)
    assert boxes.shape == (0, 4) and scores.shape == (0,)


def test_only_people_once_and_within_the_image(detector: DetrDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "boxes": torch.tensor(
            [[10.0, 10, 50, 80], [12, 10, 50, 80], [10, 10, 50, 80], [100, 20, 200, 90], [5, 5, 5, 9]]
        ),
        "scores": torch.tensor([0.6, 0.9, 0.99, 0.7, 0.8]),
        "labels": torch.tensor([1, 1, 2, 1, 1]),
    }
    monkeypatch.setattr(detector.processor, "post_process_object_detection", lambda *_: [found])
    detector.nms = 0.7
    boxes, scores = detector(IMAGE)
    assert boxes.tolist() == [[12, 10, 50, 80], [100, 20, 140, 90]] and scores.tolist() == pytest.approx([0.9, 0.7])


def test_it_serves_the_pipeline(detector: DetrDetector) -> None:
    result = People([painted_model(heads=["pose"])], detector)(IMAGE)
    assert isinstance(result, Result)
    assert [person.box.tolist() for person in result.persons] == detector(IMAGE)[0].tolist()


def test_the_command_takes_its_folder_and_its_threshold(
    folder: Path, detector: DetrDetector, tiny_model: Path, tmp_path: Path
) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "photo.png")
    command = ["predict", str(tmp_path / "photo.png"), "--output", str(tmp_path / "out"), "--model", str(tiny_model)]
    command += ["--detector", str(folder), "--box-threshold", "0.0", "--nms", "1.0", "--device", "cpu"]
    assert main([*command, "--runtime", "torch"]) == 0
    annotations = json.loads((tmp_path / "out" / "photo_keypoints.json").read_text())["annotations"]
    assert len(annotations) == len(detector(IMAGE)[0])


def test_what_is_no_detector(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DetectorError, match="no detector could be loaded"):
        DetrDetector(tiny_model)
    cats = tiny_detector("rt_detr_v2", tmp_path / "cats", {0: "cat", 1: "dog"})
    with pytest.raises(DetectorError, match="no class 'person'"):
        DetrDetector(cats)
    original = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "transformers":
            raise ModuleNotFoundError("No module named 'transformers'", name="transformers")
        return original(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"pip install opensapiens\[detect\]"):
        DetrDetector(cats)
