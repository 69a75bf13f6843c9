"""Models of Sapiens2 as files of other programs: every kind of head, rounded positions, free sizes, the tokenizer."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from opensapiens.backbones.rotary import RopeDtype
from opensapiens.backbones.sapiens2 import Sapiens2Config
from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.checkpoints.model_folder import build_model
from opensapiens.checkpoints.published_table import PUBLISHED_MODELS
from opensapiens.export.export import export_network, report_of
from opensapiens.export.formats import Format, open_session
from opensapiens.models.human_model import HumanModel
from opensapiens.models.pixel_shuffle_head import scale_branch

pytest.importorskip("onnxscript")
pytest.importorskip("openvino")

SIZE = (64, 48)
CONFIG = Sapiens2Config(SIZE, 16, 2, 2, (2, 1), 32)
UP, CONVS = (8, 4), (4, 4)
WRITTEN = [("seg", "onnx"), ("pointmap", "onnx"), ("albedo", "onnx"), ("pointmap", "openvino")]
HEADS = {
    "seg": HeadDescription(29, UP, CONVS, "sapiens_29"),
    "normal": HeadDescription(3, UP, CONVS, kind="pixel_shuffle"),
    "pointmap": HeadDescription(3, UP, CONVS, kind="pointmap", scale=scale_branch((8,), (6, 5), (4, 3))),
    "albedo": HeadDescription(3, UP, CONVS, kind="pixel_shuffle_rms"),
}


def model(ending: str, config: Sapiens2Config = CONFIG) -> tuple[HumanModel, ModelDescription]:
    """A network with random weights, also where they start at constants, fed as the published one."""
    published = PUBLISHED_MODELS[f"sapiens2-1b-{ending}"].description()
    (task,) = published.heads
    preprocessing = replace(published.preprocessing, input_size=config.image_size)
    description = ModelDescription(f"toy-{ending}", config, {task: HEADS[ending]}, preprocessing)
    torch.manual_seed(0)
    network = build_model(description).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return network, description


@pytest.mark.parametrize(("ending", "file_format"), WRITTEN)
def test_a_file_answers_as_the_network(ending: str, file_format: Format, tmp_path: Path) -> None:
    file = export_network(*model(ending), file_format, tmp_path)
    report = json.loads(report_of(file).read_text())
    (task,) = report["outputs"]
    # OpenVINO sums in another order, after which a rounded query may be rounded to the next number.
    least = {"onnx": 1e-5, "openvino": 1e-3}[file_format]
    assert report["check"]["difference_from_pytorch"][task]["relative"] < least
    assert report["outputs"][task]["how"][0] != "As decode of its task reads it." and "how" in report["view"]


def test_rounded_positions_are_rounded_there_too(tmp_path: Path) -> None:
    images = torch.randn(1, 3, *SIZE)
    answers = {}
    kinds: tuple[RopeDtype, ...] = ("bfloat16", "float32")
    for rope_dtype in kinds:
        network, description = model("normal", replace(CONFIG, rope_dtype=rope_dtype))
        file = export_network(network, replace(description, name=rope_dtype), "onnx", tmp_path)
        with torch.no_grad():
            answers[rope_dtype] = network(images)["normals"], open_session(file, ["normals"])(images)["normals"]
    rounding = (answers["bfloat16"][0] - answers["float32"][0]).abs().mean()
    for ours, theirs in answers.values():
        assert (ours - theirs).abs().mean() < 0.1 * rounding


def test_other_sizes_and_batches_with_a_tokenizer(tmp_path: Path) -> None:
    config = replace(CONFIG, image_size=(128, 192), patch_size=64, window=4, tokenizer_layers=1)
    network, description = model("normal", config)
    file = export_network(network, description, "onnx", tmp_path, any_size=True)
    images = torch.randn(3, 3, 192, 256)
    with torch.no_grad():
        expected = network(images)["normals"]
    torch.testing.assert_close(open_session(file, ["normals"])(images)["normals"], expected, atol=1e-3, rtol=1e-3)
