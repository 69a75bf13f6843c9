"""Several heads at once: what a missing label does, and that parts of a batch add up to the whole."""

import numpy as np
import pytest
import torch

from opensapiens.data.label_kinds import DEPTH, MASK, NORMALS, PARTS
from opensapiens.data.sample import Sample
from opensapiens.labels.keypoints import COCO_17
from opensapiens.labels.parts import SAPIENS_28
from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.tasks.task import SeveralTasks

SIZE = (16, 12)
CHANNELS = {"pose": 17, "segmentation": 28, "depth": 1, "normals": 3}
KINDS = {"segmentation": PARTS, "depth": DEPTH, "normals": NORMALS}


def tasks(weights: dict[str, float] | None = None) -> SeveralTasks:
    heads = {
        "pose": PoseTask(COCO_17),
        "segmentation": SegmentationTask(SAPIENS_28),
        "depth": DepthTask(l1_weight=0.5),
        "normals": NormalsTask(),
    }
    return SeveralTasks(heads, weights)


def person(seed: int, without: str | None = None) -> Sample:
    """Every label, from a seed; persons are of different sizes."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(SIZE, bool)
    mask[: 6 + 3 * seed] = True
    normals = rng.normal(size=(*SIZE, 3)).astype(np.float32)
    points = np.concatenate([rng.uniform(0, 12, (17, 2)), np.full((17, 1), 2)], axis=1).astype(np.float32)
    labels = {
        MASK: mask,
        PARTS: rng.integers(0, 28, SIZE).astype(np.uint8),
        DEPTH: np.where(mask, rng.uniform(1, 2, SIZE), np.nan).astype(np.float32),
        NORMALS: np.where(mask[..., None], normals, np.nan),
    }
    if without in KINDS:
        labels.pop(KINDS[without])
    keypoints = None if without == "pose" else points
    return Sample(np.zeros((*SIZE, 3), np.uint8), keypoints=keypoints, labels=labels, keypoint_set=COCO_17)


def random_maps(batch: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        head: torch.rand(batch, channels, SIZE[0] // 2, SIZE[1] // 2, generator=generator).requires_grad_()
        for head, channels in CHANNELS.items()
    }


@pytest.mark.parametrize("head", CHANNELS)
def test_a_sample_without_a_label_adds_nothing_to_that_head(head: str) -> None:
    several = tasks()
    maps = random_maps(2)
    losses = several.losses(maps, several.prepare_targets([person(0), person(1, without=head)]))
    alone = several.losses({name: m[:1] for name, m in maps.items()}, several.prepare_targets([person(0)]))
    for name, loss in losses.items():
        if name.startswith(f"{head}/"):
            torch.testing.assert_close(loss, alone[name])  # nor to the denominator
        else:
            assert not torch.isclose(loss, alone[name])
    sum(losses.values()).backward()
    for name, m in maps.items():
        assert (m.grad[1] == 0).all() == (name == head)


@pytest.mark.parametrize("head", CHANNELS)
def test_a_batch_without_any_label_gives_zero_with_a_graph(head: str) -> None:
    several = tasks()
    maps = random_maps(2)
    losses = several.losses(maps, several.prepare_targets([person(0, without=head), person(1, without=head)]))
    assert all((loss == 0) == name.startswith(f"{head}/") for name, loss in losses.items())
    sum(losses.values()).backward()  # every head takes part in the backward pass, as data-parallel training expects
    assert (maps[head].grad == 0).all()


def test_micro_batches_with_the_summed_count_equal_the_batch() -> None:
    several = tasks()
    samples = [person(0), person(1, without="depth"), person(2, without="normals")]
    maps = random_maps(3)
    whole = several.losses(maps, several.prepare_targets(samples))
    pieces = [several.prepare_targets(samples[:1]), several.prepare_targets(samples[1:])]
    counts = [several.count(targets) for targets in pieces]
    count = {head: counts[0][head] + counts[1][head] for head in CHANNELS}
    first = several.losses({head: m[:1] for head, m in maps.items()}, pieces[0], count)
    second = several.losses({head: m[1:] for head, m in maps.items()}, pieces[1], count)
    for name, loss in whole.items():
        torch.testing.assert_close(first[name] + second[name], loss)


def test_weights_scale_the_terms_of_their_head() -> None:
    maps = random_maps(1)
    plain, heavy = tasks(), tasks({"pose": 100.0, "depth": 0.0})
    targets = plain.prepare_targets([person(0)])
    before, after = plain.losses(maps, targets), heavy.losses(maps, targets)
    assert set(before) == {
        "pose/heatmap_mse", "segmentation/cross_entropy", "depth/silog", "depth/l1", "normals/cosine", "normals/l1"
    }  # fmt: skip
    for name, loss in after.items():
        factor = {"pose": 100.0, "depth": 0.0}.get(name.split("/")[0], 1.0)
        torch.testing.assert_close(loss, factor * before[name])
    with pytest.raises(ValueError, match="albedo"):
        tasks({"albedo": 1.0})


def test_half_precision_maps_give_float32_losses() -> None:
    several = tasks()
    targets = several.prepare_targets([person(0)])
    maps = random_maps(1)
    losses = several.losses({head: m.bfloat16() for head, m in maps.items()}, targets)
    for name, loss in several.losses(maps, targets).items():
        assert losses[name].dtype == torch.float32
        torch.testing.assert_close(losses[name], loss, rtol=0.02, atol=0.02)
