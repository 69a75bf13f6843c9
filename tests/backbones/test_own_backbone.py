"""A backbone of one's own is one file: it trains, is adapted, sharded and exported, and gives features."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import opensapiens
from opensapiens.backbones import BACKBONES
from opensapiens.checkpoints.model_folder import load_model
from opensapiens.checkpoints.strict_loading import CheckpointError
from opensapiens.export.export import export_network
from opensapiens.inference.compiled import CompiledRuntime
from opensapiens.models.human_model import HumanModel, NoBlocks
from opensapiens.models.masked_autoencoder import HEAD, MaskedAutoencoder
from opensapiens.training.devices import Ranks, parallelize
from opensapiens.training.loop import train
from opensapiens.training.low_rank import add_adapters
from opensapiens.training.optimizer import build_optimizer
from opensapiens.training.start import starting_model

from . import toy
from .toy import ToyConfig, toy_run

FAMILIES = {**BACKBONES, "toy": ToyConfig}
LINEAR = ("query", "key", "value", "mix.1")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Here as in the processes that are started: with more threads, sums are taken in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(people_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with this backbone."""
    return train(toy_run(people_shards, tmp_path_factory.mktemp("toy")))


def test_its_folder_is_read_where_the_family_is_named(trained: Path) -> None:
    _, description = load_model(trained, backbones=FAMILIES)
    assert description.backbone == ToyConfig((64, 48))
    with pytest.raises(CheckpointError, match="no family 'toy'; known are sapiens, sapiens2, nano"):
        load_model(trained)


def test_low_rank_adapters_go_on_from_it(trained: Path, people_shards: Path, tmp_path: Path) -> None:
    run = toy_run(people_shards, tmp_path, start_from=trained, trainable="lora", lora_rank=2)
    before, after = load_file(trained / "model.safetensors"), load_file(train(run) / "model.safetensors")
    changed = {name for name in after if name.startswith("backbone.") and not torch.equal(after[name], before[name])}
    assert changed == {f"backbone.blocks.{block}.{layer}.weight" for block in (0, 1) for layer in LINEAR}
    again = starting_model(replace(run, start_from=None, pretrained=trained))
    assert torch.equal(again.state_dict()["backbone.norm.weight"], before["backbone.norm.weight"])


def test_each_layer_learns_at_its_own_rate(people_shards: Path, tmp_path: Path) -> None:
    run = toy_run(people_shards, tmp_path)
    model = starting_model(run)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(model, replace(run.optimizer, lr=1.0))
    groups = {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}
    rates = {"convolutions.0.weight": 1 / 8, "blocks.0.key.weight": 1 / 4, "blocks.1.shift": 1 / 2, "norm.weight": 1}
    assert {name: groups[f"backbone.{name}"]["lr"] for name in rates} == rates
    assert groups["backbone.blocks.1.shift"]["weight_decay"] == 0 < groups["heads.pose.output.weight"]["weight_decay"]


def test_two_ranks_share_it_out_and_learn_what_one_does(people_shards: Path, trained: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
    done = subprocess.run(
        [*command, str(toy.__file__), str(people_shards), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found, expected = (load_file(folder / "model.safetensors") for folder in (tmp_path / "fsdp" / "model", trained))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-4, rtol=1e-3)


def test_export(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    network, description = load_model(trained, backbones=FAMILIES)
    assert export_network(network, description, "onnx", tmp_path, any_size=True).is_file()  # and answers alike


def test_features_and_predictions(trained: Path) -> None:
    people = opensapiens.load(trained, device="cpu", backbones=FAMILIES)
    photo = Path(__file__).parents[2] / "examples" / "photos" / "grace_hopper.jpg"
    boxes = [[10, 10, 400, 500]]
    features = people.encode(photo, boxes)
    assert features.tokens.shape == (1, 12, 16) and features.grid == (4, 3) and features.class_token is None
    assert people(photo, boxes).persons[0].keypoints.shape == (308, 2)


def test_masked_pretraining_wants_a_class_token_and_otherwise_nothing_of_it() -> None:
    class Prefixed(toy.ToyBackbone):
        def tokens(self, images_B3HW: torch.Tensor, kept_BK: torch.Tensor | None = None) -> torch.Tensor:
            return F.pad(super().tokens(images_B3HW, kept_BK), (0, 0, 1, 0))

    class PrefixedConfig(ToyConfig):
        prefix_tokens = 1

        def build(self) -> Prefixed:
            return Prefixed(self)

    with pytest.raises(ValueError, match="class_token"):
        MaskedAutoencoder(ToyConfig((64, 48)))
    model = MaskedAutoencoder(PrefixedConfig((64, 48)), 16, 1, 2)
    assert model(torch.randn(2, 3, 64, 48))[HEAD].prediction_BNP.shape == (2, 12, 768)


def test_without_blocks_nothing_is_done_block_by_block_in_silence(people_shards: Path, tmp_path: Path) -> None:
    run = toy_run(people_shards, tmp_path, layers=0)
    model, two = starting_model(run), Ranks(0, 2, torch.device("cpu"))
    assert isinstance(model, HumanModel) and parallelize(model, run, Ranks(0, 1, torch.device("cpu"))) is model
    for changed, ranks in (
        (replace(run, recompute=True), replace(two, world=1)),
        (replace(run, compile=True), replace(two, world=1)),
        (replace(run, parallel="fsdp"), two),
    ):
        with pytest.raises(NoBlocks, match=re.escape("the toy backbone names no blocks")):
            parallelize(model, changed, ranks)
    with pytest.raises(NoBlocks, match="names no blocks"):
        CompiledRuntime(model)
    with pytest.raises(NoBlocks, match="names no blocks"):
        starting_model(replace(run, trainable="lora"))
    model.backbone.blocks.append(torch.nn.LayerNorm(16))
    with pytest.raises(NoBlocks, match="the blocks of the toy backbone have no linear layers"):
        add_adapters(model.backbone, 2)
