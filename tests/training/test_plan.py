"""The planner counts what PyTorch counts and keeps what PyTorch keeps, and its figures hang together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from opensapiens.backbones import grouped_attention, transformer
from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.backbones.sapiens2 import Sapiens2Config
from opensapiens.backbones.transformer import Block
from opensapiens.cli.main import main
from opensapiens.models.cost import masked_autoencoder_flops
from opensapiens.models.masked_autoencoder import MaskedAutoencoder
from opensapiens.models.upsampling_head import UpsamplingHead
from opensapiens.training.gpus import GPUS
from opensapiens.training.plan import CONTEXT, DoesNotFit, plan
from opensapiens.training.plan_setup import Setup

PAPER = Setup(job="pretrain", size="2b", gpus=1024, gpu="a100")
IMAGES = 1.2e12 / 4096


def kept_bytes(module: nn.Module, given: Tensor, half: bool, forward: Callable[[Tensor], Tensor] | None = None) -> int:
    """Bytes that a forward pass, by default the module's own, keeps for the backward pass, the module's parameters
    apart; each storage once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    seen: dict[int, tuple[int, Tensor]] = {}  # with the tensors: an address must not be used again meanwhile

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.shape[-2:] not in weights:
            seen[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    # Autocast makes copies of the weights, which are counted with the weights.
    weights = {
        shape for parameter in module.parameters() for shape in (parameter.shape[-2:], parameter.shape[-2:][::-1])
    }
    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=half):
        (forward or module)(given.requires_grad_())
    return sum(size for size, _ in seen.values())


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_a_block_keeps_what_is_counted(half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # The attention of a GPU; what a CPU takes in bfloat16 keeps the matrix of all pairs.
    monkeypatch.setattr(transformer, "attend", torch.nn.functional.scaled_dot_product_attention)
    config = SapiensConfig((32, 32), 64, 1, 4)
    found = kept_bytes(Block(64, 4, 4), torch.randn(3, 50, 64), half)
    assert found == pytest.approx(config.block_activation_bytes(3 * 50, half), rel=0.03)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("shared", [4, 2])
def test_a_block_of_sapiens2_keeps_about_what_is_counted(
    shared: int, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouped_attention, "attend", torch.nn.functional.scaled_dot_product_attention)
    config = Sapiens2Config((80, 80), 64, 1, 4, (shared,), 256)
    backbone = config.build()
    block = partial(backbone.blocks[0], rotation_2ND=backbone.rotation((5, 5)))
    found = kept_bytes(backbone, torch.randn(3, 34, 64), half, block)
    assert found == pytest.approx(config.block_activation_bytes(3 * 34, half), rel=0.05)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_a_head_keeps_what_is_counted(half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a GPU autocast runs this norm in float32, on a CPU it does not.
    norm = torch.nn.functional.group_norm
    monkeypatch.setattr(
        torch.nn.functional, "group_norm", lambda maps, *args, **rest: norm(maps.float(), *args, **rest)
    )
    head = UpsamplingHead(24, 5, (16, 12), (20,))
    found = kept_bytes(head, torch.randn(2, 24, 6, 8), half)
    assert found == pytest.approx(2 * head.activation_bytes((6, 8), half), rel=0.03)


def test_masked_pretraining_flops_are_what_torch_counts() -> None:
    config = SapiensConfig((64, 64), 32, 3, 4, class_token=True)
    model = MaskedAutoencoder(config, decoder_dim=24, decoder_layers=2, decoder_heads=2).eval()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 64, 64))
    # The encoder embeds all patches and then drops most of them, which the count has too.
    assert masked_autoencoder_flops(config, 24, 2, 0.75) == counter.get_total_flops()


def test_the_papers_run_by_count() -> None:
    made = plan(PAPER)
    assert made.flops == pytest.approx(1.57e13, rel=0.01)
    assert made.parameters == 2_126_046_720 + 26_598_144
    by_hand = IMAGES * made.flops / (1024 * 312e12 * 0.40) / 86400
    assert made.days(IMAGES) == pytest.approx(by_hand) == pytest.approx(0.417, rel=0.01)
    assert made.efficiency_for(IMAGES, made.days(IMAGES)) == pytest.approx(0.40)
    assert made.efficiency_for(IMAGES, 18) == pytest.approx(0.0093, rel=0.02)
    assert made.tokens_per_second == pytest.approx(1.2e12 / (made.days(IMAGES) * 86400))
    assert made.cost(IMAGES, price=2.0) == pytest.approx(made.days(IMAGES) * 24 * 1024 * 2)


def test_weights_gradients_and_moments_are_sixteen_bytes_a_parameter() -> None:
    alone = plan(replace(PAPER, size="0.3b", gpus=1, precision="float32"))
    kept = alone.weights_bytes + alone.optimizer_bytes + alone.gradient_bytes
    assert kept == 16 * alone.parameters
    assert alone.memory == kept + CONTEXT + alone.batch * alone.image_bytes
    shared = plan(replace(PAPER, size="0.3b", gpus=8, precision="float32"))
    assert shared.optimizer_bytes == alone.optimizer_bytes / 8
    copied = plan(replace(PAPER, size="0.3b", gpus=8, precision="float32", parallel="ddp"))
    assert copied.standing_bytes == alone.standing_bytes


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    made = plan(replace(PAPER, size="1b", gpus=8))
    assert plan(replace(PAPER, size="1b", gpus=8, batch=made.batch)) == replace(
        made, setup=replace(made.setup, batch=made.batch)
    )
    with pytest.raises(DoesNotFit, match=f"a batch of {made.batch}"):
        plan(replace(PAPER, size="1b", gpus=8, batch=made.batch + 1))


def test_what_does_not_fit_says_what_would_help() -> None:
    with pytest.raises(DoesNotFit, match=r"40 before the first image\), and rtx4090 has 22 to use.*recompute, fsdp"):
        plan(Setup("pretrain", "2b", 8, "rtx4090", parallel="ddp"))


def test_computing_blocks_again_trades_time_for_memory() -> None:
    plain = plan(Setup("pose", "1b", 8, "a100", batch=1))
    again = plan(Setup("pose", "1b", 8, "a100", batch=1, recompute=True))
    assert again.image_bytes < 0.6 * plain.image_bytes
    assert again.computing_seconds == pytest.approx(plain.computing_seconds * 4 / 3)


def test_a_slow_network_bounds_a_small_batch() -> None:
    near = plan(Setup("pose", "0.3b", 8, "l40s", batch=1, parallel="ddp"))
    far = plan(Setup("pose", "0.3b", 16, "l40s", batch=1, parallel="ddp"))
    assert far.communication_seconds > near.communication_seconds
    assert far.seconds == max(far.computing_seconds, far.communication_seconds)


@pytest.mark.parametrize("job", ["pose", "segmentation", "depth", "normals"])
def test_every_task_can_be_planned_on_one_gpu(job: str) -> None:
    made = plan(Setup(job, "0.3b", 1, "a100"))
    assert made.batch >= 1 and made.communication_seconds == 0
    assert made.memory <= 0.92 * GPUS["a100"].memory


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gpu": "a1000"}, "there are a100"),
        ({"efficiency": 40.0}, "share"),
        ({"mask_ratio": 1.0}, "between 0 and 1"),
        ({"gpus": 0}, "at least one"),
        ({"gpu": "t4"}, "no units for bfloat16: plan with --precision float32"),
        ({"image_size": (1000, 768)}, "patches of 16"),
    ],
)
def test_nonsense_is_refused(changed: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PAPER, **changed)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.json"
    assert main(["plan", "--size", "2b", "--gpus", "1024", "--gpu", "a100", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "18 days" in printed and "0.9%" in printed
    figures = json.loads(path.read_text())
    assert figures["days"] == pytest.approx(plan(PAPER).days(IMAGES))
    assert figures["images per GPU"] == plan(PAPER).batch
    assert main(["plan", "--gpu", "abacus"]) == 2


def test_help_names_every_gpu() -> None:
    assert f"gpu: which: {', '.join(GPUS)}." in (Setup.__doc__ or "")
