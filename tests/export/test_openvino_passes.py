"""The passes change how the network is computed, where they should and nowhere else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.model_folder import build_model
from opensapiens.export.formats import write_graph
from opensapiens.export.graph import network_graph
from opensapiens.export.openvino_passes import _with_zero_on_a_level, split_transposed_convolutions
from opensapiens.models.human_model import HumanModel
from opensapiens.recipes.nano import describe

openvino = pytest.importorskip("openvino")
SIZE, LAYERS = (64, 48), 2


@pytest.fixture(scope="module")
def network() -> HumanModel:
    torch.manual_seed(0)
    return build_model(describe(SapiensConfig(SIZE, 24, LAYERS, 2), (8, 8), (8, 8))).eval()


def written(network: HumanModel, folder: Path, any_size: bool = False, in_8_bits: bool = False) -> Any:
    path = folder / "network.xml"
    images = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)) if in_8_bits else None
    write_graph(network_graph(network, SIZE, any_size), list(network.heads), path, calibration_B3HW=images)
    return openvino.Core().read_model(path)


@pytest.mark.parametrize("any_size", [False, True])
def test_heads_are_normalized_over_rows_and_columns(network: HumanModel, tmp_path: Path, any_size: bool) -> None:
    kinds = Counter(node.get_type_name() for node in written(network, tmp_path, any_size).get_ops())
    layers = sum(len(head.deconvs) + len(head.convs) for head in network.heads.values())
    assert kinds["GroupNormalization"] == 0
    assert kinds["MVN"] == layers + 2 * LAYERS + 1  # the others are the layer norms of the backbone


def test_8_bits_are_for_all_but_the_last_two_layers_of_a_head(network: HumanModel, tmp_path: Path) -> None:
    nodes = written(network, tmp_path, in_8_bits=True).get_ops()
    rounded: Counter[str] = Counter()
    for node in nodes:
        if node.get_type_name() == "FakeQuantize":
            rounded.update(target.get_node().get_type_name() for target in node.output(0).get_target_inputs())
    inner = sum(4 * len(head.deconvs) + len(head.convs) - 1 for head in network.heads.values())
    # What is multiplied is rounded, and what it is multiplied with.
    assert rounded == {"MatMul": 2 * 4 * LAYERS, "Convolution": 2 * inner}


def test_transposed_convolutions_in_four_parts_answer_the_same(network: HumanModel) -> None:
    answers = []
    for split in (False, True):
        model = openvino.convert_model(network_graph(network, SIZE))
        if split:
            split_transposed_convolutions(model)
        kinds = Counter(node.get_type_name() for node in model.get_ops())
        assert kinds["ConvolutionBackpropData"] == (0 if split else 8)
        image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1)).numpy()
        answers.append(list(openvino.Core().compile_model(model, "CPU")([image]).values()))
    for whole, parts in zip(*answers, strict=True):
        assert np.abs(whole).max() > 0.01
        np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("low", "high"), [(-0.28, 7.3), (-3.0, 1.0), (0.5, 2.0), (-2.0, -1.0), (0.0, 0.0)])
def test_zero_is_a_level_of_every_range(low: float, high: float) -> None:
    bottom, top = _with_zero_on_a_level(low, high)
    step = (top - bottom) / 255
    assert step > 0 and bottom <= 0 <= top
    assert -bottom / step == pytest.approx(round(-bottom / step), abs=1e-6)
    assert bottom <= low + step and top >= high - step, "at most a step of the range is lost"
