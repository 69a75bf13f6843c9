"""The task of masked pretraining: predict the hidden patches of an image, each normalised by itself."""

from collections.abc import Sequence

from torch import Tensor

from opensapiens.data.sample import Sample
from opensapiens.models.masked_autoencoder import MaskedAutoencoderOutput, kept_patches
from opensapiens.tasks.forward import FlipRule
from opensapiens.tasks.masked_pretraining.loss import reconstruction_error
from opensapiens.tasks.masked_pretraining.metrics import ReconstructionMetric
from opensapiens.tasks.masked_pretraining.targets import masked_counts
from opensapiens.tasks.task import Targets, mean_over


class MaskedPretrainingTask:
    """Masked autoencoding (He et al. 2022; the paper's section 3.2). Its "maps" are a MaskedAutoencoderOutput.

    Args:
        patches: of an image.
        mask_ratio: share of them that is hidden; the model's.
    """

    def __init__(self, patches: int, mask_ratio: float) -> None:
        self.masked = patches - kept_patches(patches, mask_ratio)
        self.flip_rule = FlipRule()

    def prepare_targets(self, samples: Sequence[Sample]) -> Targets:
        """masked (B,), labelled (B,); see `masked_counts`."""
        return masked_counts(len(samples), self.masked)

    def count(self, targets: Targets) -> Tensor:
        """The number of hidden patches."""
        return targets["masked"].sum().float()

    def losses(
        self, output: MaskedAutoencoderOutput, targets: Targets, count: Tensor | None = None
    ) -> dict[str, Tensor]:
        """reconstruction."""
        count = self.count(targets) if count is None else count
        return {"reconstruction": mean_over(count, self.decode(output))}

    def decode(self, output: MaskedAutoencoderOutput, size_hw: tuple[int, int] | None = None) -> Tensor:
        """The error of each sample, `reconstruction_error`: what the metric and the loss are made of."""
        return reconstruction_error(output.prediction_BNP, output.target_BNP, output.masking.mask_BN)

    def new_metric(self) -> ReconstructionMetric:
        """Mean squared error of hidden patches."""
        return ReconstructionMetric()
