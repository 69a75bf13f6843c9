"""Runtimes are interchangeable in the pipeline, and what cannot run says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import opensapiens
from opensapiens.checkpoints.model_folder import load_model
from opensapiens.inference import runtimes
from opensapiens.inference.runtimes import RuntimeUnavailable, choose_runtime, start_runtime


def test_the_plain_runtime_is_the_network(tiny_model: Path) -> None:
    network, _ = load_model(tiny_model)
    assert start_runtime("torch", network, (64, 48)) is network


def test_an_unknown_runtime_names_those_there_are(tiny_model: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="there are torch, compiled, openvino, onnx"):
        start_runtime("tensorrt", load_model(tiny_model)[0], (64, 48))


def test_a_runtime_for_float32_refuses_other_types(tiny_model: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="float32 networks on the CPU"):
        start_runtime("openvino", load_model(tiny_model, dtype=torch.bfloat16)[0], (64, 48))


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


def test_blocks_and_heads_are_compiled_one_by_one(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compiled.append(type(self).__name__))
    network, description = load_model(tiny_model)
    runtime = start_runtime("compiled", network, (64, 48))
    assert compiled == ["Block"] * description.vit.layers + ["UpsamplingHead"] * len(description.heads)
    images = torch.zeros(1, 3, 64, 48)
    with torch.no_grad():
        assert list(runtime(images, ["depth"])) == ["depth"]  # type: ignore[operator]
