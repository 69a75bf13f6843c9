"""What the fields of a run do: pieces of a batch, recomputing, frozen, adapted and pretrained backbones, trackers."""

import json
import sys
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.model_folder import load_masked_autoencoder, load_model
from opensapiens.data.background import Backgrounds
from opensapiens.data.sample import Sample
from opensapiens.data.shards import ShardError
from opensapiens.recipes.nano import describe, nano_smoke
from opensapiens.recipes.pretrain import pretrain
from opensapiens.storage.pictures import ImageError
from opensapiens.training.devices import Ranks
from opensapiens.training.loader import default_workers
from opensapiens.training.log import make_tracker
from opensapiens.training.loop import TrainingDiverged, divergence, train
from opensapiens.training.low_rank import AdaptedLinear, add_adapters, merged
from opensapiens.training.run import Run
from opensapiens.training.start import starting_model

LOSSES = ("pose/heatmap_mse", "segmentation/cross_entropy", "depth/silog", "normals/cosine", "gradient")


@pytest.fixture
def run(people_shards: Path, tmp_path: Path) -> Run:
    made = nano_smoke(people_shards, tmp_path / "run", steps=3, batch_size=4)
    plain = describe(SapiensConfig((64, 48), 24, 2, 2), (8, 8), (8, 8))
    heads = {name: replace(head, dropout=0.25) for name, head in plain.heads.items()}
    return replace(made, model=replace(plain, heads=heads), device="cpu")


@pytest.fixture
def pretraining(people_shards: Path, tmp_path: Path) -> Run:
    made = pretrain((people_shards,), tmp_path / "mae", "toy", input_size=(64, 64), steps=3, batch_size=4, workers=0)
    return replace(made, device="cpu")


def logged(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.output / "log.jsonl").read_text().splitlines()]


def assert_same_losses(found: Run, expected: Run) -> None:
    for ours, theirs in zip(logged(found), logged(expected), strict=True):
        for name in LOSSES:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-7), (theirs["step"], name)


@pytest.mark.parametrize(
    ("cores", "processes", "workers"), [(1, 1, 0), (2, 1, 1), (16, 1, 8), (16, 4, 3), (2, 2, 0), (None, 1, 0)]
)
def test_loaders_leave_a_core_to_training(
    cores: int | None, processes: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert default_workers() == workers


def test_pieces_of_a_batch_and_recomputing_change_nothing(run: Run, tmp_path: Path) -> None:
    pieces = replace(run, output=tmp_path / "pieces", micro_batch=3, recompute=True)  # pieces of 3 and 1
    train(run)
    train(pieces)
    assert_same_losses(pieces, run)
    assert {"mfu", "memory_gb", "images_per_second", "tokens_per_second", "lr"} <= logged(run)[0].keys()


def test_pretraining_writes_a_model_and_a_picture(pretraining: Run) -> None:
    folder = train(replace(pretraining, picture_steps=2, validation=pretraining.data))
    model, description = load_masked_autoencoder(folder)
    assert description == pretraining.model and len(model.backbone.blocks) == 2
    assert [path.name for path in sorted((pretraining.output / "pictures").iterdir())] == [
        "step_00000002.png",
        "step_00000003.png",
    ]
    *_, last = logged(pretraining)
    assert 0 < last["validation"]["masked_pretraining/mse"] < 5


def test_pretraining_learns(pretraining: Run) -> None:
    """One image again and again: its hidden patches are predicted better than by their mean, an error of 1."""
    fast = replace(pretraining.optimizer, lr=3e-3)
    still = replace(pretraining, data=[pretraining.data[0]], augmentation=None, steps=120, optimizer=fast)
    train(replace(still, schedule=replace(still.schedule, warmup_steps=5)))
    losses = [line["masked_pretraining/reconstruction"] for line in logged(still)]
    assert sum(losses[:5]) / 5 > 1 and sum(losses[-5:]) / 5 < 0.9


def test_a_backbone_goes_from_pretraining_to_fine_tuning(pretraining: Run, run: Run) -> None:
    folder = train(pretraining)
    started = starting_model(replace(run, pretrained=folder))
    trained = load_file(folder / "model.safetensors")
    weights = started.state_dict()
    for name in ("backbone.blocks.1.mlp.fc2.weight", "backbone.patch_embedding.projection.weight"):
        assert torch.equal(weights[name], trained[name])
    rows, columns = run.model.backbone.grid()
    assert weights["backbone.position_embedding"].shape == (1, rows * columns, 24)
    assert weights["heads.pose.deconvs.0.weight"].std() < 0.002  # as the published pose head starts
    with pytest.raises(ValueError, match="cannot both be given"):
        replace(run, pretrained=folder, start_from=folder)


@pytest.mark.parametrize("trainable", ["heads", "lora"])
def test_a_frozen_backbone(run: Run, pretraining: Run, trainable: Any) -> None:
    folder = train(pretraining)
    tuned = replace(run, pretrained=folder, trainable=trainable, lora_rank=2, ema_decay=0.0)
    before = starting_model(replace(tuned, trainable="all")).state_dict()
    model, _ = load_model(train(tuned))
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    adapted = {name for name in changed if name.startswith("backbone.")}
    assert "heads.normals.output.weight" in changed
    if trainable == "heads":
        assert not adapted
    else:
        assert adapted == {
            f"backbone.blocks.{block}.{layer}.weight"
            for block in (0, 1)
            for layer in ("attention.qkv", "attention.projection", "mlp.fc1", "mlp.fc2")
        }


def test_merged_adapters_compute_the_same(run: Run) -> None:
    model = starting_model(run).eval()
    images = torch.randn(1, 3, 64, 48)
    before = model(images)["depth"]
    add_adapters(model.backbone, rank=3)
    torch.testing.assert_close(model(images)["depth"], before)  # adapters start at zero
    for module in model.modules():
        if isinstance(module, AdaptedLinear):
            torch.nn.init.normal_(module.adapter_up, std=0.1)
    plain = starting_model(run).eval()
    plain.load_state_dict(merged(model.state_dict()))
    torch.testing.assert_close(plain(images)["depth"], model(images)["depth"], rtol=1e-3, atol=1e-5)
    assert not torch.allclose(plain(images)["depth"], before, atol=1e-3)


def test_a_leap_of_the_loss_stops_the_run() -> None:
    earlier = deque([1.0, 2.0] * 50, maxlen=100)
    assert divergence({"a": 30.0, "gradient": 1e9}, earlier, 25.0) is None
    assert "26 times the median" in (divergence({"a": 20.0, "b": 19.0, "gradient": 1.0}, earlier, 25.0) or "")
    assert divergence({"a": 1e9, "gradient": 1.0}, deque([1.0] * 99), 25.0) is None  # too few to judge by
    assert "is not finite" in (divergence({"a": 1.0, "gradient": float("inf")}, earlier, 25.0) or "")


def test_the_batch_of_a_leap_is_saved(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opensapiens.training.loop.REMEMBERED", 1)
    with pytest.raises(TrainingDiverged, match="step 1 has a loss"):
        train(replace(run, spike_factor=0.01, micro_batch=2))
    saved = load_file(run.output / "diverged_at_step_1_rank_0.safetensors")
    assert saved["0.images"].shape[0] == saved["1.images"].shape[0] == 2 and "1.normals.normals" in saved


def test_trackers_get_the_figures(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, dict[str, float]]] = []
    stub = SimpleNamespace(init=lambda **_: SimpleNamespace(log=lambda figures, step: sent.append((step, figures))))
    monkeypatch.setitem(sys.modules, "wandb", stub)  # type: ignore[arg-type]
    train(replace(run, steps=2, trackers=("wandb",), validation=run.data, validation_steps=2))
    assert [step for step, _ in sent] == [1, 2, 2]
    assert sent[0][1]["depth/silog"] == logged(run)[0]["depth/silog"] and "validation/pose/oks" in sent[2][1]
    tensorboard = make_tracker("tensorboard", tmp_path, 0)
    tensorboard(1, {"loss": 2.0})
    assert any((tmp_path / "tensorboard").iterdir())
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match="pip install wandb"):
        make_tracker("wandb", tmp_path, 0)


@dataclass
class Spoilt:
    """A set in which some pictures cannot be read."""

    source: Any
    bad: range
    error: type[Exception] = ImageError

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int, /) -> Sample:
        if index in self.bad:
            raise self.error(f"picture {index}: truncated")
        return self.source[index]


@pytest.mark.parametrize("error", [ImageError, ShardError])
def test_unreadable_pictures_are_passed_over(
    error: type[Exception], run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    train(replace(run, data=Spoilt(run.data, range(2, 4), error)))  # twelve samples, of which each is drawn once
    assert set((run.output / "unreadable.txt").read_text().split()) >= {"2:", "3:", "truncated"}
    assert f"could not be read were replaced by others: see {run.output / 'unreadable.txt'}" in capsys.readouterr().out
    with pytest.raises(error, match="truncated"):
        train(replace(run, data=Spoilt(run.data, range(12), error), output=run.output / "none"))


def test_unreadable_backgrounds_are_passed_over(run: Run) -> None:
    backgrounds = Backgrounds([run.data[0], run.data[1]], chance=1.0)
    train(replace(run, backgrounds=replace(backgrounds, pictures=Spoilt(backgrounds.pictures, range(2)))))
    assert {"0:", "1:"} <= set((run.output / "unreadable.txt").read_text().split())
    assert (run.output / "model" / "model.safetensors").exists()


def test_unreadable_samples_of_validation_are_passed_over(run: Run, pretraining: Run) -> None:
    validation = Spoilt(run.data, range(6))  # all of the first batch of four, and half of the second
    train(replace(run, steps=2, validation=validation, validation_steps=2))
    assert {"0:", "5:"} <= set((run.output / "unreadable.txt").read_text().split())
    assert logged(run)[-1]["validation"]["pose/oks"] >= 0
    train(replace(pretraining, steps=2, data=Spoilt(pretraining.data, range(2)), picture_steps=2))
    assert len(list((pretraining.output / "pictures").iterdir())) == 1


def test_a_batch_that_cannot_be_shared() -> None:
    assert list(Ranks(1, 2, torch.device("cpu")).share(6)) == [3, 4, 5]
    with pytest.raises(ValueError, match="7 cannot be shared evenly by 2"):
        Ranks(0, 2, torch.device("cpu")).share(7)
