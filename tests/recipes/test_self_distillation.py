"""Self-distillation of Sapiens2: its views, its terms, its teacher, and runs at toy size."""

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from opensapiens.checkpoints.model_folder import build_masked_autoencoder, load_masked_autoencoder
from opensapiens.data.multi_crop import MultiCrop, local_size, multi_crop
from opensapiens.data.sample import Sample
from opensapiens.evaluation.frozen import evaluate_frozen
from opensapiens.inference.loading import load
from opensapiens.models.self_distillation import DISTILLATION, DistillationSettings, SelfDistillation
from opensapiens.recipes.dense import normals
from opensapiens.recipes.finetuning import FineTuning
from opensapiens.recipes.self_distillation import self_distillation
from opensapiens.tasks.self_distillation import class_cross_entropy, spread_loss
from opensapiens.training.loop import train
from opensapiens.training.run import Run, UnfitRun

HERE = Path(__file__).parent
SIZE = (64, 48)
MEASURED = ("images_per_second", "tokens_per_second", "mfu", "waiting_for_data", "memory_gb")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the processes that are started: with more threads, sums are taken in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of pictures, "train" and "test" of each: bright disks and stripes at random places."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    rows, columns = np.indices((96, 72))
    for number in range(32):
        middle = generator.uniform((30, 25), (66, 47))
        away = np.hypot(rows - middle[0], columns - middle[1])
        there = away < 24 if number % 2 else (rows + columns + number) % 24 < 12
        image = np.where(there[..., None], [200, 120, 60], 40) + generator.normal(0, 12, (96, 72, 3))
        folder = root / ("train" if number < 24 else "test") / ("disk" if number % 2 else "stripes")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02}.png")
    return root


def toy(photos: Path, output: Path, **changes: Any) -> Run:
    options = {"input_size": SIZE, "steps": 4, "batch_size": 8, "neighbors": 4, "workers": 0}
    settings = {name: changes.pop(name) for name in set(options) & set(changes)}
    run = self_distillation((photos / "train",), output, "sapiens2-toy", **{**options, **settings})
    run = replace(run, optimizer=replace(run.optimizer, lr=3e-3), device="cpu", checkpoint_steps=2)
    return replace(run, **changes)


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that is over."""
    run = toy(photos, tmp_path_factory.mktemp("trained"), steps=120, batch_size=8, checkpoint_steps=1000)
    train(run)
    return run


def lines(output: Path) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in MEASURED} for line in read]


def test_the_views_of_a_picture() -> None:
    gray = Sample(np.full((90, 120, 3), 77, np.uint8), key="a")
    sample = multi_crop(gray, (128, 96), np.random.default_rng(1), MultiCrop())
    sizes = [image.shape[:2] for image in (sample.image, *sample.views)]
    assert sizes == [(128, 96)] * 2 + [(48, 48)] * 4 and local_size((1024, 768), 16) == (432, 336)
    assert (sample.image == 77).all() and (sample.views[0] == 77).all(), "global views keep their colors"
    again = multi_crop(gray, (128, 96), np.random.default_rng(1), MultiCrop())
    assert all(np.array_equal(a, b) for a, b in zip(sample.views, again.views, strict=True))


def model() -> SelfDistillation:
    torch.manual_seed(0)
    run = self_distillation((HERE.parent.parent / "examples" / "photos",), Path("x"), "sapiens2-toy", input_size=SIZE)
    built = build_masked_autoencoder(run.model, run.distillation)
    assert isinstance(built, SelfDistillation)
    return built


def test_blockwise_masks_hide_whole_blocks() -> None:
    torch.manual_seed(0)
    config = replace(model().backbone.config, image_size=(256, 192))  # type: ignore[type-var]
    large = SelfDistillation(config, DistillationSettings(8, 8, 8), 16, 1, 2)
    masks = large._noise(torch.arange(400), 0).argsort(dim=1).argsort(dim=1) >= 48  # as in draw_masking
    assert (masks.sum(dim=1) == 144).all()
    blocks = masks.unflatten(1, (4, 4, 3, 4)).float().mean(dim=(2, 4)).flatten(1)
    whole = ((blocks == 0) | (blocks == 1)).all(dim=1).float().mean().item()
    assert whole == pytest.approx(0.4, abs=0.08)


def test_terms_are_what_they_say() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 5).log_softmax(-1), torch.randn(2, 2, 5).softmax(-1)
    pairs = [(g, v) for g in range(2) for v in range(6) if g != v]
    expected = [np.mean([-(teacher[i, g] * student[i, v]).sum().item() for g, v in pairs]) for i in range(2)]
    np.testing.assert_allclose(class_cross_entropy(student, teacher), expected, rtol=1e-5)
    classes = torch.randn(6, 2, 4)
    unit = classes / classes.norm(dim=-1, keepdim=True)
    for i, found in enumerate(spread_loss(classes, 3).tolist()):
        group = [j for j in range(6) if j // 3 == i // 3 and j != i]
        nearest = [min((unit[i, view] - unit[j, view]).norm().item() for j in group) for view in range(2)]
        assert found == pytest.approx(-np.mean(np.log(nearest)), rel=1e-4)
    with pytest.raises(ValueError, match="must be multiples of 4, not 6"):
        spread_loss(classes, 4)


def test_the_teacher_is_the_moving_average_of_the_student() -> None:
    network = model()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    inputs = {f"view{n}": torch.randn(2, 3, *(SIZE if n == 0 else (32, 16)), generator=generator) for n in range(5)}
    out = network(torch.randn(2, 3, *SIZE), seeds_B=torch.arange(2), inputs=inputs)[DISTILLATION]
    assert out.log_student_BVK.shape == (2, 6, 64) and out.teacher_BGK.shape == (2, 2, 64)
    assert out.reconstruction.prediction_BNP.shape[0] == 4 and not out.teacher_BGK.requires_grad
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not name.startswith(("teacher_", "center")):
                parameter.add_(1.0)
    outputs = network.take_outputs()
    assert outputs[-1] == 4
    network.follow(outputs)
    for name, tensor in network.named_parameters():
        if name.startswith("teacher_"):
            torch.testing.assert_close(tensor, before[name] + 0.008)
    torch.testing.assert_close(network.center.data, 0.1 * outputs[:-1] / 4)
    assert not any(p.requires_grad for name, p in network.named_parameters() if name.startswith(("teacher_", "center")))
    temperatures = [DistillationSettings().teacher_temperature(step) for step in (0, 500, 1000, 9000)]
    assert temperatures == pytest.approx([0.065, 0.0675, 0.07, 0.07])


def test_it_learns_without_collapse(photos: Path, trained: Run) -> None:
    run, folder = trained, trained.output / "model"
    terms = {
        name: [line[f"{DISTILLATION}/{name}"] for line in lines(run.output)] for name in ("reconstruction", "koleo")
    }
    for name, values in terms.items():
        assert np.mean(values[-10:]) < 0.95 * np.mean(values[:3]), (name, values)
    people = load(folder)
    figures = evaluate_frozen("knn", people.models[0], photos / "train", photos / "test")
    assert figures["accuracy"] > figures["largest_class_accuracy"] + 0.2, figures
    encoder, _ = load_masked_autoencoder(folder)
    pictures = [np.array(Image.open(path)) for path in sorted((photos / "test").rglob("*.png"))]
    with torch.no_grad():
        images = torch.from_numpy(np.stack([picture[16:80, 12:60] for picture in pictures])).movedim(-1, 1)
        classes = encoder.backbone.tokens(run.model.preprocessing.normalize(images))[:, 0]
    unit = torch.nn.functional.normalize(classes, dim=-1)
    assert (unit - unit.mean(dim=0)).norm(dim=-1).mean() > 0.1, "class tokens differ from picture to picture"


def test_the_classes_of_teacher_and_student_agree_more_and_more(photos: Path, trained: Run, tmp_path: Path) -> None:
    """From trained weights, by a little at this size (0.97 of where all outputs are alike). From fresh ones, whose
    class token sees nothing of the image by their layer scale of 1e-4, so short a run stays at 0.9998."""
    run = toy(
        photos, tmp_path, steps=150, batch_size=16, pretrained=str(trained.output / "model"), checkpoint_steps=1000
    )
    train(replace(run, optimizer=replace(run.optimizer, lr=2e-3)))
    assert run.distillation is not None
    blind = 0.4 * math.log(run.distillation.prototypes)  # where all outputs are alike
    found = [line[f"{DISTILLATION}/class"] for line in lines(tmp_path)]
    assert np.mean(found[-10:]) < 0.99 * blind, (blind, found)


def test_interrupted_and_with_workers_the_same(photos: Path, tmp_path: Path) -> None:
    straight = train(toy(photos, tmp_path / "straight"))
    short = toy(photos, tmp_path / "resumed", workers=2)
    train(short)
    for gone in ("checkpoints/00000004", "model"):  # as if killed after the checkpoint of step 2
        subprocess.run(["rm", "-r", str(tmp_path / "resumed" / gone)], check=True)
    resumed = train(short)
    assert lines(tmp_path / "resumed") == lines(tmp_path / "straight")
    same = [(folder / "model.safetensors").read_bytes() for folder in (straight, resumed)]
    assert same[0] == same[1]
    other = toy(photos, tmp_path / "resumed", distillation=DistillationSettings(32, 32, 16))
    with pytest.raises(Exception, match="another"):
        train(other)


def test_its_backbone_starts_a_task(photos: Path, tmp_path: Path) -> None:
    folder = train(toy(photos, tmp_path / "run", steps=1))
    (tmp_path / "people" / "images").mkdir(parents=True)
    (tmp_path / "people" / "normals").mkdir()
    Image.new("RGB", (48, 64)).save(tmp_path / "people" / "images" / "a.png")
    np.save(tmp_path / "people" / "normals" / "a.npy", np.full((64, 48, 3), [0, 0, 1], np.float32))
    few = FineTuning("sapiens2-toy", str(folder), input_size=SIZE, steps=1, batch_size=2, workers=0)
    train(normals(tmp_path / "people", tmp_path / "tuned", few))


def test_settings_that_do_not_go_together(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UnfitRun, match="several crops"):
        toy(photos, tmp_path, augmentation=None)
    with pytest.raises(ValueError, match="a batch of 6 is not made of groups of 4"):
        toy(photos, tmp_path, batch_size=6)
    with pytest.raises(UnfitRun, match="the only average"):
        toy(photos, tmp_path, ema_decay=0.9)


def test_two_ranks_equal_one(photos: Path, trained: Run, tmp_path: Path) -> None:
    """From trained weights: class tokens of fresh ones are so alike that the nearest is a matter of rounding."""
    model = str(trained.output / "model")
    train(gently(photos, tmp_path / "one", model))
    train(gently(photos, tmp_path / "pieces", model, micro_batch=4))
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, __file__, str(photos), str(tmp_path), model],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "sharded blocks: 5 of 5" in done.stdout, done.stdout[-1000:]
    for name in ("pieces", "ddp", "fsdp"):
        for ours, theirs in zip(lines(tmp_path / name), lines(tmp_path / "one"), strict=True):
            for key, value in theirs.items():
                assert ours[key] == pytest.approx(value, rel=1e-4, abs=1e-5), (name, theirs["step"], key)


def gently(photos: Path, output: Path, model: str, **changes: Any) -> Run:
    run = toy(photos, output, pretrained=model, **changes)
    return replace(run, optimizer=replace(run.optimizer, lr=1e-4))


def _train_on_two_ranks(photos: Path, folder: Path, model: str) -> None:
    """What `torchrun` runs of this file; says how many blocks of student, decoder and teacher FSDP has wrapped."""
    from torch.distributed.fsdp import FSDPModule

    from opensapiens.training import loop

    train(gently(photos, folder / "ddp", model))
    parallelize = loop.parallelize

    def counted(network: Any, run: Run, ranks: Any) -> Any:
        forward = parallelize(network, run, ranks)
        blocks = network.blocks()
        print(f"sharded blocks: {sum(isinstance(block, FSDPModule) for block in blocks)} of {len(blocks)}")
        return forward

    loop.parallelize = counted
    train(gently(photos, folder / "fsdp", model, parallel="fsdp", recompute=True))


if __name__ == "__main__":
    _train_on_two_ranks(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
