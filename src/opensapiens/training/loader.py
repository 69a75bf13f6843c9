"""Batches in the order of the steps. A batch depends only on the run and its step, so a loader has no state to save."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from opensapiens.data.augment import augmented_crop
from opensapiens.data.background import with_random_background
from opensapiens.data.batch import stack_images
from opensapiens.data.crop import view_sample
from opensapiens.data.mixture import sample_at
from opensapiens.data.multi_crop import MultiCrop, multi_crop
from opensapiens.data.order import sample_generator, sample_seed
from opensapiens.data.sample import Sample
from opensapiens.data.sapiens2_augment import PictureSteps, changed_picture
from opensapiens.data.scene_crop import SceneCrop, scene_crop
from opensapiens.data.shards import ShardError
from opensapiens.data.square_crop import SquareCrop, square_crop
from opensapiens.storage.pictures import ImageError
from opensapiens.training.devices import Ranks
from opensapiens.training.run import Run

UNREADABLE = "unreadable.txt"
ATTEMPTS, ELSEWHERE = 10, 7919
UNREADABLE_SAMPLE = (ImageError, ShardError)


@dataclass
class Batch:
    """Crops of one size and their targets: what one rank computes at once, a piece of a step."""

    images: Tensor  # (B, 3, H, W) uint8 RGB
    targets: Any  # of SeveralTasks.prepare_targets
    inputs: dict[str, Tensor]  # of BackboneConfig.view_inputs, each (B, ...); further views "view0", ... as uint8
    seeds: Tensor  # (B,) int64 seeds of the network's random choices
    counts: dict[str, Tensor]  # of SeveralTasks.count, on the CPU
    keys: list[str]  # the samples' names, for messages

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors, apart from the counts, on `device`."""
        return self._changed(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, for asynchronous copies to a GPU; the DataLoader calls this."""
        return self._changed(Tensor.pin_memory)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        images, inputs, seeds = change(self.images), _mapped(self.inputs, change), change(self.seeds)
        return Batch(images, _mapped(self.targets, change), inputs, seeds, self.counts, self.keys)


def _mapped(targets: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Nested dictionaries with their tensors changed."""
    if isinstance(targets, dict):
        return {key: _mapped(value, change) for key, value in targets.items()}
    return change(targets) if isinstance(targets, Tensor) else targets


class TrainingBatches(Dataset[list[Batch]]):
    """Item i is this rank's part of step i, in pieces of at most `run.micro_batch` samples."""

    def __init__(self, run: Run, ranks: Ranks) -> None:
        self.run, self.share = run, ranks.share(run.batch_size)

    def __len__(self) -> int:
        return self.run.steps

    def __getitem__(self, step: int) -> list[Batch]:
        run = self.run
        size = run.input_size(step)
        positions = [step * run.batch_size + place for place in self.share]
        at_once = run.micro_batch or len(positions)
        pieces = [positions[first : first + at_once] for first in range(0, len(positions), at_once)]
        return [make_batch(run, [training_crop(run, p, size) for p in piece], piece) for piece in pieces]


class ValidationBatches(Dataset[tuple[Batch, list[Sample]] | None]):
    """The validation samples in order, as batches of plain crops of the final size, and these crops as samples."""

    def __init__(self, run: Run) -> None:
        assert run.validation is not None
        self.run, self.samples = run, run.validation
        self.at_once = run.micro_batch or run.batch_size

    def __len__(self) -> int:
        return -(-len(self.samples) // self.at_once)

    def __getitem__(self, number: int) -> tuple[Batch, list[Sample]] | None:
        """The readable samples, or None if there are none. The others are listed in unreadable.txt."""
        run = self.run
        crops: list[Sample] = []
        indices: list[int] = []
        for index in range(number * self.at_once, min((number + 1) * self.at_once, len(self.samples))):
            try:
                crops.append(plain_crop(run, self.samples[index], run.final_size))
                indices.append(index)
            except UNREADABLE_SAMPLE as error:
                note_unreadable(run, error)
        return (make_batch(run, crops, indices), crops) if crops else None


def training_crop(run: Run, position: int, size: tuple[int, int]) -> Sample:
    """The sample at a position of the run, with a random background, if that can be read, and augmented."""
    sample = readable_sample(run, position)
    generator, augmentation = sample_generator(position, run.seed), run.augmentation
    if run.backgrounds is not None:
        try:
            sample = with_random_background(sample, generator, run.backgrounds)
        except UNREADABLE_SAMPLE as error:  # the picture keeps its own
            note_unreadable(run, error)
    if isinstance(augmentation, SquareCrop):
        return square_crop(sample, size, generator, augmentation)
    if isinstance(augmentation, MultiCrop):
        return multi_crop(sample, size, generator, augmentation)
    if isinstance(augmentation, SceneCrop):
        return scene_crop(sample, size, generator, augmentation)
    if isinstance(augmentation, PictureSteps):
        return changed_picture(sample, size, generator, augmentation)
    if augmentation is None:
        return plain_crop(run, sample, size)
    return augmented_crop(sample, size, generator, augmentation, run.model.preprocessing.box_padding)


def readable_sample(run: Run, position: int) -> Sample:
    """The sample at a position, or another one if it cannot be read, which is then listed in unreadable.txt.

    Raises ImageError or ShardError if ten in a row are unreadable, since then the pictures are not the cause.
    """
    for attempt in range(ATTEMPTS):
        try:
            return sample_at(run.data, position + attempt * ELSEWHERE, run.seed)
        except UNREADABLE_SAMPLE as error:
            if attempt == ATTEMPTS - 1:
                raise
            note_unreadable(run, error)
    raise AssertionError


def note_unreadable(run: Run, error: Exception) -> None:
    """Adds a skipped picture to `run.output`/unreadable.txt."""
    run.output.mkdir(parents=True, exist_ok=True)
    with (run.output / UNREADABLE).open("a", encoding="utf-8", errors="backslashreplace") as notes:
        notes.write(f"{error}\n")


def noted_unreadable(output: Path) -> list[str]:
    """A sentence for each picture in the unreadable.txt of a run's folder, in the order of their first reading."""
    notes = output / UNREADABLE
    return list(dict.fromkeys(notes.read_text(encoding="utf-8").splitlines())) if notes.exists() else []


def plain_crop(run: Run, sample: Sample, size: tuple[int, int]) -> Sample:
    """The crop of a sample without augmentation, as for the finished model."""
    preprocessing = replace(run.model.preprocessing, input_size=size)
    return view_sample(sample, preprocessing.view(sample.box, sample.image.shape[:2]))


def make_batch(run: Run, crops: list[Sample], positions: range | list[int]) -> Batch:
    """Crops of one size as a batch; `positions` are theirs in the run."""
    targets = run.tasks.prepare_targets(crops, run.label_stride)
    seeds = torch.tensor([sample_seed(position, run.seed) for position in positions])
    images = stack_images([crop.image for crop in crops])
    view_inputs = [run.model.backbone.view_inputs(crop.surroundings, crop.image.shape[:2]) for crop in crops]
    inputs = {name: torch.from_numpy(np.stack([inputs[name] for inputs in view_inputs])) for name in view_inputs[0]}
    for number in range(len(crops[0].views)):
        inputs[f"view{number}"] = stack_images([crop.views[number] for crop in crops])
    return Batch(images, targets, inputs, seeds, run.tasks.count(targets), [crop.key for crop in crops])


def training_batches(run: Run, first_step: int, ranks: Ranks) -> DataLoader[list[Batch]]:
    """This rank's batches of steps first_step ... run.steps - 1."""
    return _loader(TrainingBatches(run, ranks), range(first_step, run.steps), run, ranks)


def validation_batches(run: Run, ranks: Ranks) -> DataLoader[tuple[Batch, list[Sample]] | None]:
    """This rank's share of the validation batches, with their samples; None for a batch without readable samples."""
    batches = ValidationBatches(run)
    return _loader(batches, range(ranks.rank, len(batches), ranks.world), run, ranks)


def _loader(batches: Dataset[Any], numbers: range, run: Run, ranks: Ranks) -> DataLoader[Any]:
    """Batches by number, prepared by `run.workers` processes."""
    workers = default_workers() if run.workers is None else run.workers
    return DataLoader(
        batches,
        batch_size=None,  # items are whole batches
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=3 if workers else None,
        pin_memory=ranks.device.type == "cuda",
        worker_init_fn=_one_thread,
    )


def default_workers() -> int:
    """The loader processes per training process: one per core but one, at most 8."""
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(max(cores - 1, 0), 8)


def _one_thread(_worker: int) -> None:
    cv2.setNumThreads(0)  # as PyTorch does for its own threads
