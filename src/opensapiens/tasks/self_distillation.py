"""Self-distillation beside masked reconstruction, as the paper of Sapiens2 describes its pretraining.

Axes in names: B samples, V views (global ones first), G global views, K prototypes, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from opensapiens.data.sample import Sample
from opensapiens.models.self_distillation import DistillationOutput
from opensapiens.tasks.masked_pretraining import MaskedPretrainingTask, reconstruction_error
from opensapiens.tasks.task import Targets, mean_over

NEAREST = 1e-8


@dataclass(frozen=True)
class SelfDistillationTask:
    """Its "maps" are a DistillationOutput. Weights are those of the paper.

    Args:
        masked: the reconstruction that goes on beside it.
        global_views: of each picture.
        neighbors: images that lie together in a batch among which each looks for its nearest. A number, and not all of
            a process's images, so that a run is the same on any number of processes; the paper does not say.
        reconstruction_weight, class_weight, koleo_weight: of the terms.
    """

    masked: MaskedPretrainingTask
    global_views: int = 2
    neighbors: int = 8
    reconstruction_weight: float = 1.0
    class_weight: float = 0.4
    koleo_weight: float = 0.04

    def prepare_targets(self, samples: Sequence[Sample], label_stride: int = 1) -> Targets:
        """As `MaskedPretrainingTask.prepare_targets`."""
        return self.masked.prepare_targets(samples, label_stride)

    def count(self, targets: Targets) -> Tensor:
        """(2,): the number of hidden patches in all global views, and of samples."""
        patches = self.global_views * self.masked.count(targets)
        return torch.stack([patches, targets["labeled"].sum().float()])

    def losses(self, maps: DistillationOutput, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """reconstruction, as of masked pretraining; class, the cross-entropy between teacher and student; koleo.

        Raises:
            ValueError: a piece of a batch that is not made of whole groups of neighbors.
        """
        hidden, samples = self.count(targets) if count is None else count
        output = maps.reconstruction
        errors = reconstruction_error(output.prediction_BNP, output.target_BNP, output.masking.mask_BN)
        classes = class_cross_entropy(maps.log_student_BVK, maps.teacher_BGK)
        spread = spread_loss(maps.classes_BGD, self.neighbors)
        return {
            "reconstruction": self.reconstruction_weight * mean_over(hidden, errors),
            "class": self.class_weight * mean_over(samples, classes),
            "koleo": self.koleo_weight * mean_over(samples, spread),
        }


def class_cross_entropy(log_student_BVK: Tensor, teacher_BGK: Tensor) -> Tensor:
    """(B,) the mean over all pairs of a teacher's and another student's view of their cross-entropy."""
    global_views, views = teacher_BGK.shape[1], log_student_BVK.shape[1]
    entropy_BGV = -torch.einsum("bgk,bvk->bgv", teacher_BGK, log_student_BVK)
    pairs = 1 - torch.eye(global_views, views, device=entropy_BGV.device)
    return (entropy_BGV * pairs).sum(dim=(1, 2)) / pairs.sum()


def spread_loss(classes_BGD: Tensor, neighbors: int) -> Tensor:
    """(B,) minus the logarithm of the distance from each unit vector to its nearest among `neighbors` images, in the
    same global view, the mean over the views: KoLeo (Sablayrolles et al., ICLR 2019).

    Raises:
        ValueError: B is not a multiple of `neighbors`, or `neighbors` is 1.
    """
    batch = len(classes_BGD)
    if neighbors < 2 or batch % neighbors:
        raise ValueError(
            f"self-distillation looks for the nearest among {neighbors} images: --batch-size over the number of "
            f"processes, and --micro-batch, must be multiples of {neighbors}, not {batch}"
        )
    unit = functional.normalize(classes_BGD.float(), dim=-1)
    groups = unit.unflatten(0, (-1, neighbors)).transpose(1, 2)  # group, view, image, D
    cosines = groups @ groups.transpose(-1, -2)
    itself = torch.eye(neighbors, dtype=torch.bool, device=unit.device)
    nearest = cosines.masked_fill(itself, -2).argmax(dim=-1, keepdim=True)
    there = groups.gather(2, nearest.expand(-1, -1, -1, groups.shape[-1]))
    distances = (groups - there).square().sum(dim=-1).add(NEAREST).sqrt()
    return -distances.log().transpose(1, 2).mean(dim=-1).flatten()
