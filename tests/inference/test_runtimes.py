"""Runtimes are interchangeable in the pipeline, and what cannot run says why."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import opensapiens
from opensapiens.checkpoints.model_folder import load_model
from opensapiens.export.export import portrait
from opensapiens.export.parity import check_images
from opensapiens.geometry.view import Preprocessing, whole_image_view
from opensapiens.inference import runtimes
from opensapiens.inference.forward import raw_maps
from opensapiens.inference.runtimes import RUNTIMES, RuntimeUnavailable, choose_runtime, runtime_of, start_runtime
from opensapiens.models.human_model import HumanModel
from opensapiens.storage.pictures import read_image


def fed(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[HumanModel, Preprocessing]:
    network, description = load_model(folder, dtype=dtype)
    return network, description.preprocessing


def test_the_plain_runtime_is_the_network(tiny_model: Path) -> None:
    network, description = load_model(tiny_model)
    assert start_runtime("torch", network, description.preprocessing) is network


def test_an_unknown_runtime_names_those_there_are(tiny_model: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="there are torch, compiled, openvino, openvino-int8, onnx"):
        start_runtime("tensorrt", *fed(tiny_model))


def test_a_runtime_for_float32_refuses_other_types(tiny_model: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="float32 networks on the CPU"):
        start_runtime("openvino", *fed(tiny_model, torch.bfloat16))


@pytest.mark.parametrize(
    ("device", "dtype", "installed", "chosen"),
    [
        ("cpu", torch.float32, {"openvino"}, "openvino"),
        ("cpu", torch.bfloat16, {"openvino"}, "torch"),
        ("cpu", torch.float32, set(), "torch"),
        ("cuda", torch.bfloat16, {"openvino", "triton"}, "compiled"),
        ("cuda", torch.float32, {"openvino"}, "torch"),
        ("mps", torch.float32, {"openvino", "triton"}, "torch"),
    ],
)
def test_the_choice(
    device: str, dtype: torch.dtype, installed: set[str], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "_is_installed", installed.__contains__)
    assert choose_runtime(torch.device(device), dtype) == chosen


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_a_pipeline_in_another_runtime_says_the_same(
    runtime: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in {"openvino": ("openvino",), "onnx": ("onnxruntime", "onnxscript")}[runtime]:
        pytest.importorskip(library)
    monkeypatch.setenv("OPENSAPIENS_CACHE", str(tmp_path))
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    boxes = [[5, 5, 60, 80], [10, 20, 40, 85]]
    plain = opensapiens.load(tiny_model, device="cpu")(image, boxes)
    other = opensapiens.load(tiny_model, device="cpu", runtime=runtime)(image, boxes)
    assert len(other.persons) == 2
    assert (other.parts.labels == plain.parts.labels).mean() > 0.999
    np.testing.assert_allclose(other.depth.values, plain.depth.values, atol=1e-4)
    np.testing.assert_allclose(other.normals.values, plain.normals.values, atol=1e-3)
    for found, wanted in zip(other.persons, plain.persons, strict=True):
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)


def test_8_bits_stay_near_and_are_not_exact(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("OPENSAPIENS_CACHE", str(tmp_path))
    network, preprocessing = fed(tiny_model)
    with torch.no_grad():
        for parameter in network.parameters():  # a fresh head answers with nothing but small numbers
            torch.nn.init.normal_(parameter, std=0.2)
    images = check_images(read_image(portrait()), preprocessing)
    exact = start_runtime("openvino", network, preprocessing)
    coarse = start_runtime("openvino-int8", network, preprocessing)
    assert runtime_of(exact) == "openvino" and runtime_of(coarse) == "openvino-int8"
    assert len(list(tmp_path.iterdir())) == 2, "each has a conversion of its own"
    for head, expected in exact(images).items():  # type: ignore[operator]
        error = (coarse(images)[head] - expected).norm() / expected.norm()  # type: ignore[operator]
        assert 1e-4 < error < 0.15, head


def test_blocks_and_heads_are_compiled_one_by_one(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compiled.append(type(self).__name__))
    network, description = load_model(tiny_model)
    runtime = start_runtime("compiled", network, description.preprocessing)
    assert compiled == ["Block"] * description.backbone.layers + ["UpsamplingHead"] * len(description.heads)
    images = torch.randn(3, 3, 64, 48)
    sizes: list[int] = []
    network.backbone.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    with torch.no_grad():
        found = runtime(images, ["depth"])  # type: ignore[operator]
        assert list(found) == ["depth"]
        torch.testing.assert_close(found["depth"], network(images)["depth"])
        runtime(images[:1])  # type: ignore[operator]
    assert sizes == [4, 3, 1], "filled up to a power of two, and cut again"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_threads_that_share_a_pipeline_get_their_own_answers(
    runtime: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if runtime in {"openvino", "openvino-int8", "onnx"}:
        pytest.importorskip("openvino" if runtime.startswith("openvino") else "onnxruntime")
    monkeypatch.setenv("OPENSAPIENS_CACHE", str(tmp_path))
    images = np.random.default_rng(0).integers(0, 256, (2, 90, 70, 3), dtype=np.uint8)
    people = opensapiens.load(tiny_model, device="cpu", runtime=runtime)

    def answer(number: int) -> tuple[np.ndarray, ...]:
        (person,) = people(images[number % 2], [[5, 5, 60, 80]]).persons
        (parts,) = raw_maps(
            people.models[0], [(images[number % 2], whole_image_view((90, 70), (64, 48)))], ["segmentation"]
        )
        return person.keypoints, person.scores, parts["segmentation"].numpy()

    alone = [answer(number) for number in range(2)]
    assert not np.array_equal(alone[0][0], alone[1][0]) and not np.array_equal(alone[0][2], alone[1][2])
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(answer, range(40))):
            for values, expected in zip(found, alone[number % 2], strict=True):
                np.testing.assert_array_equal(values, expected)
