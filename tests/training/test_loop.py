"""The loop: it learns, survives being killed to the same numbers, and stops at the first number that is none."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from opensapiens.backbones.nano import PLACE
from opensapiens.checkpoints.model_folder import load_model
from opensapiens.data.sample import Sample
from opensapiens.data.shards import ShardDataset
from opensapiens.recipes.nano import nano_smoke, nano_tasks
from opensapiens.storage.folders import FolderError
from opensapiens.tasks.task import SeveralTasks
from opensapiens.training.loader import make_batch, plain_crop
from opensapiens.training.loop import TrainingDiverged, batch_losses, train
from opensapiens.training.run import Run, SampleSource, UnfitRun
from opensapiens.training.start import starting_model


@dataclass
class Breaking:
    """A source of samples that fails, as a machine that is switched off, once `left` samples have been read."""

    source: SampleSource
    left: int

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int, /) -> Sample:
        if self.left == 0:
            raise ConnectionAbortedError
        self.left -= 1
        return self.source[index]


def hopeless_tasks() -> SeveralTasks:
    """The nano tasks with a loss that is no number."""
    return SeveralTasks(nano_tasks().tasks, {"normals": float("nan")})


@pytest.fixture
def run(people_shards: Path, tmp_path: Path) -> Run:
    made = nano_smoke(people_shards, tmp_path / "run", steps=6)
    return replace(made, checkpoint_steps=3, log_steps=1, device="cpu", stages=((2, (48, 32)),))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def log(run: Run) -> list[dict]:
    return [json.loads(line) for line in (run.output / "log.jsonl").read_text().splitlines()]


MEASURED = ("images_per_second", "tokens_per_second", "mfu", "waiting_for_data", "memory_gb")


def without_times(line: dict) -> dict:
    return {key: value for key, value in line.items() if key not in MEASURED}


def checkpoint(run: Run, step: int) -> Path:
    """The one file of tensors of a checkpoint that one process wrote."""
    (path,) = (run.output / "checkpoints" / f"{step:08d}").glob("*.safetensors")
    return path


def test_a_killed_run_goes_on_to_the_same_numbers(run: Run, tmp_path: Path) -> None:
    straight = weights(train(run))
    killed = replace(run, output=tmp_path / "killed", data=Breaking(run.data, left=9))  # in the fifth step
    with pytest.raises(ConnectionAbortedError):
        train(killed)
    with (killed.output / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "torn')
    assert [line.name for line in (killed.output / "checkpoints").iterdir()] == ["00000003"]
    resumed = weights(train(replace(killed, data=run.data)))
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    lines = log(killed)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert list(map(without_times, lines)) == list(map(without_times, log(run)))


def test_loader_processes_change_nothing(run: Run, tmp_path: Path) -> None:
    alone = weights(train(replace(run, steps=2)))
    helped = weights(train(replace(run, steps=2, workers=2, output=tmp_path / "helped")))
    assert all(torch.equal(alone[name], helped[name]) for name in alone)


def test_another_seed_gives_another_model(run: Run, tmp_path: Path) -> None:
    first = weights(train(replace(run, steps=1)))
    second = weights(train(replace(run, steps=1, seed=1, output=tmp_path / "other")))
    assert not torch.equal(first["heads.pose.output.weight"], second["heads.pose.output.weight"])


def test_a_finished_run_is_not_trained_again(run: Run) -> None:
    before = weights(train(run))
    after = weights(train(replace(run, data=Breaking(run.data, left=0))))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_checkpoint_of_another_run_is_refused(run: Run) -> None:
    train(replace(run, steps=3))
    with pytest.raises(FolderError, match=r"seed was 0, is 1.*batch_size was 2, is 3"):
        train(replace(run, seed=1, batch_size=3))


def test_a_damaged_checkpoint_is_passed_over(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    straight = weights(train(run))
    newest = checkpoint(run, 6)
    newest.write_bytes(newest.read_bytes()[:1000])
    again = weights(train(run))
    assert "skipping" in capsys.readouterr().out
    assert all(torch.equal(straight[name], again[name]) for name in straight)


def test_it_learns(run: Run) -> None:
    """On one batch seen again and again without augmentation, every loss falls."""
    samples = [run.data[i] for i in (0, 1)]
    train(replace(run, data=samples, augmentation=None, steps=60, stages=(), log_steps=10, checkpoint_minutes=99))
    first, *_, last = log(run)
    losses = [name for name in first if "/" in name]
    assert len(losses) == 9
    for name in losses:
        assert last[name] < first[name], name


def test_a_loss_that_is_no_number_stops_the_run(run: Run) -> None:
    with pytest.raises(TrainingDiverged, match=r"step 0 is not finite .*normals/l1 nan") as error:
        train(replace(run, tasks=hopeless_tasks()))
    path = run.output / "diverged_at_step_0_rank_0.safetensors"
    assert str(path) in str(error.value)
    with safe_open(path, "pt") as file:
        assert file.get_tensor("0.images").shape == (2, 3, 48, 32)
        assert len(json.loads(file.metadata()["keys"])[0]) == 2
        assert "0.pose.points" in file.keys()  # noqa: SIM118 (not a dict)
    assert not (run.output / "checkpoints").exists()


def test_the_average_is_exported(run: Run) -> None:
    folder = train(replace(run, ema_decay=0.5))
    with safe_open(checkpoint(run, 6), "pt") as file:
        name = "heads.pose.output.bias"
        assert torch.equal(weights(folder)[name], file.get_tensor(f"average.{name}"))
        assert not torch.equal(weights(folder)[name], file.get_tensor(f"model.{name}"))
        assert weights(folder)[name].any()  # it started at zero


def test_without_averaging_the_last_weights_are_exported(run: Run) -> None:
    folder = train(replace(run, ema_decay=0.0))
    with safe_open(checkpoint(run, 6), "pt") as file:
        for name, weight in weights(folder).items():
            assert torch.equal(weight, file.get_tensor(f"model.{name}"))


def test_the_model_can_be_loaded_and_started_from(run: Run, tmp_path: Path) -> None:
    folder = train(replace(run, steps=1))
    model, description = load_model(folder)
    assert description == run.model and set(model.heads) == {"pose", "segmentation", "depth", "normals"}
    still = replace(run.optimizer, lr=0.0, weight_decay=0.0)
    again = train(replace(run, steps=1, start_from=folder, optimizer=still, output=tmp_path / "again"))
    assert all(torch.equal(weights(folder)[name], weights(again)[name]) for name in weights(folder))


def test_a_share_of_the_start_is_exported(run: Run, tmp_path: Path) -> None:
    start = train(replace(run, steps=1))
    plain = train(replace(run, start_from=start, output=tmp_path / "plain"))
    mixed = train(replace(run, start_from=start, start_share=0.25, output=tmp_path / "mixed"))
    for name, weight in weights(mixed).items():
        torch.testing.assert_close(weight, 0.25 * weights(start)[name] + 0.75 * weights(plain)[name])
    assert any(not torch.equal(weights(mixed)[name], weights(plain)[name]) for name in weights(plain))
    with pytest.raises(UnfitRun, match="start_share"):
        replace(run, start_share=0.25)


def test_depth_and_normals_are_learned_for_the_place_in_the_picture(run: Run) -> None:
    """What stands for it gets a gradient from crops beside the picture's middle, and none in it."""
    run = replace(run, stages=())
    batch = make_batch(run, [plain_crop(run, run.data[0], run.final_size)], [0])
    assert batch.inputs[PLACE].abs().max() > 0.1
    for places, learns in ((batch.inputs[PLACE], True), (torch.zeros(1, 2), False)):
        model = starting_model(run)
        terms = batch_losses(run, model, replace(batch, inputs={PLACE: places}), batch.counts)
        sum(terms.values(), torch.zeros(())).backward()
        for head in ("depth", "normals"):
            assert bool(model.heads[head].output.weight.grad[-1].any()) is learns


def test_a_run_at_another_size_starts_where_the_first_one_ended(run: Run, tmp_path: Path) -> None:
    folder = train(replace(run, steps=1))
    height, width = run.final_size
    larger = replace(run.model, backbone=replace(run.model.backbone, image_size=(2 * height, 2 * width)))
    started = starting_model(replace(run, model=larger, start_from=folder)).eval()
    images = torch.randn(1, 3, 2 * height, 2 * width)
    with torch.inference_mode():
        maps, expected = started(images), load_model(folder)[0].eval()(images)
    for head in expected:
        torch.testing.assert_close(maps[head], expected[head])


@pytest.mark.parametrize(("layers", "copies"), [(3, [2]), (4, [1, 3])])
def test_a_run_with_more_blocks_starts_where_the_first_one_ended(run: Run, layers: int, copies: list[int]) -> None:
    folder = train(replace(run, steps=1))
    deeper = replace(run.model, backbone=replace(run.model.backbone, layers=layers))
    started = starting_model(replace(run, model=deeper, start_from=folder)).eval()
    images = torch.randn(1, 3, *run.final_size)
    maps, expected = started(images), load_model(folder)[0].eval()(images)
    for head in expected:
        torch.testing.assert_close(maps[head], expected[head])
    sum(map.square().sum() for map in maps.values()).backward()
    for number, block in enumerate(started.backbone.blocks):
        outputs = (block.attention.projection.weight, block.mlp.fc2.weight)
        assert all(weight.grad.any() for weight in outputs)
        assert all(bool(weight.any()) == (number not in copies) for weight in outputs)


@pytest.mark.parametrize("layers", [1, 5])
def test_another_model_is_not_started_from(run: Run, tmp_path: Path, layers: int) -> None:
    folder = train(replace(run, steps=1))
    other = replace(run.model, backbone=replace(run.model.backbone, layers=layers))
    with pytest.raises(ValueError, match="another shape"):
        train(replace(run, model=other, start_from=folder, output=tmp_path / "other"))


def test_validation_figures_are_logged(run: Run, people_shards: Path) -> None:
    train(replace(run, steps=4, validation=ShardDataset(people_shards), validation_steps=3))
    found = {line["step"]: line["validation"] for line in log(run) if "validation" in line}
    assert list(found) == [3, 4]
    assert 0 <= found[4]["pose/oks"] <= 1 and 0 <= found[4]["normals/mean"] <= 180
    assert {name.partition("/")[0] for name in found[4]} == {"pose", "segmentation", "depth", "normals"}


def test_bfloat16_trains(run: Run) -> None:
    train(replace(run, steps=2, precision="bfloat16"))
    assert {tensor.dtype for tensor in weights(run.output / "model").values()} == {torch.float32}


def test_a_checkpoint_is_written_when_the_time_has_come(run: Run) -> None:
    with pytest.raises(ConnectionAbortedError):
        train(replace(run, data=Breaking(run.data, left=4), checkpoint_steps=1000, checkpoint_minutes=0.0))
    assert checkpoint(run, 2).exists()


def test_sizes_follow_the_stages(run: Run) -> None:
    train(run)
    assert [line["size"] for line in log(run)] == [[48, 32]] * 2 + [[64, 48]] * 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ((2, (40, 30)),)}, "no whole number of patches"),
        ({"stages": ((2, (32, 32)), (2, (48, 32)))}, "do not rise"),
        ({"data": []}, "no sample"),
    ],
)
def test_runs_that_cannot_be(run: Run, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(run, **changes)
