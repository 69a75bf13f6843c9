"""Batches in the order of the steps. A batch depends on the run and its step alone: a loader has no state to save."""

from dataclasses import dataclass
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from opensapiens.data.augment import augmented_crop
from opensapiens.data.batch import stack_images
from opensapiens.data.order import sample_generator, sample_index
from opensapiens.data.sample import Sample
from opensapiens.tasks.several import SeveralTasks
from opensapiens.training.run import Run


@dataclass
class Batch:
    """Crops of one size and what each task is to learn from them."""

    images: Tensor  # (B, 3, H, W) uint8 RGB
    targets: Any  # of SeveralTasks.prepare_targets
    keys: list[str]  # the samples' names, for messages

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on `device`."""
        return Batch(self.images.to(device, non_blocking=True), moved(self.targets, device), self.keys)

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, from which copies to a GPU do not wait; the DataLoader calls this."""
        return Batch(self.images.pin_memory(), _mapped(self.targets, Tensor.pin_memory), self.keys)


def moved(targets: Any, device: torch.device) -> Any:
    """Nested dictionaries with their tensors on `device`."""
    return _mapped(targets, lambda tensor: tensor.to(device, non_blocking=True))


def _mapped(targets: Any, change: Any) -> Any:
    if isinstance(targets, dict):
        return {key: _mapped(value, change) for key, value in targets.items()}
    return change(targets) if isinstance(targets, Tensor) else targets


class TrainingBatches(Dataset[Batch]):
    """Item i is the batch of step i."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __len__(self) -> int:
        return self.run.steps

    def __getitem__(self, step: int) -> Batch:
        run = self.run
        size = run.input_size(step)
        padding = run.model.preprocessing["box_padding"]
        crops = []
        for position in range(step * run.batch_size, (step + 1) * run.batch_size):
            sample = run.data[sample_index(position, len(run.data), run.seed)]
            generator = sample_generator(position, run.seed)
            crops.append(augmented_crop(sample, size, generator, run.augmentation, padding))
        return make_batch(crops, run.tasks(size, run.label_stride))


class ValidationBatches(Dataset[Batch]):
    """The validation samples in their order, as plain crops of the final size with labels for every pixel."""

    def __init__(self, run: Run) -> None:
        assert run.validation is not None
        self.run, self.samples = run, run.validation

    def __len__(self) -> int:
        return -(-len(self.samples) // self.run.batch_size)

    def __getitem__(self, number: int) -> Batch:
        run = self.run
        padding = run.model.preprocessing["box_padding"]
        first = number * run.batch_size
        crops = [
            augmented_crop(self.samples[i], run.final_size, sample_generator(i, run.seed), None, padding)
            for i in range(first, min(first + run.batch_size, len(self.samples)))
        ]
        return make_batch(crops, run.tasks(run.final_size, 1))


def make_batch(crops: list[Sample], tasks: SeveralTasks) -> Batch:
    """Crops of one size as a batch."""
    images = stack_images([crop.image for crop in crops])
    return Batch(images, tasks.prepare_targets(crops), [crop.key for crop in crops])


def training_batches(run: Run, first_step: int, device: torch.device) -> DataLoader[Batch]:
    """The batches of steps first_step ... run.steps - 1."""
    return _loader(TrainingBatches(run), range(first_step, run.steps), run, device)


def validation_batches(run: Run, device: torch.device) -> DataLoader[Batch]:
    """All batches of the validation samples."""
    batches = ValidationBatches(run)
    return _loader(batches, range(len(batches)), run, device)


def _loader(batches: Dataset[Batch], numbers: range, run: Run, device: torch.device) -> DataLoader[Batch]:
    """Batches by number, prepared ahead of time by `run.workers` processes."""
    return DataLoader(
        batches,
        batch_size=None,  # items are whole batches
        sampler=numbers,
        num_workers=run.workers,
        prefetch_factor=3 if run.workers else None,
        pin_memory=device.type == "cuda",
        worker_init_fn=_one_thread,
    )


def _one_thread(_worker: int) -> None:
    cv2.setNumThreads(0)  # each process is one thread of work; PyTorch does the same for its own
