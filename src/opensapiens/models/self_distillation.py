"""Self-distillation of a backbone beside masked reconstruction (Sapiens2, arXiv 2604.21681, section on pretraining).

A student and a teacher, which is the moving average of the student (Caron et al., ICCV 2021). The student sees the
patches of the global views that are not hidden, and predicts the others; its class tokens of these and of the local
views are to fall into the same prototypes as the teacher's, which sees the global views whole.

Axes in names: B batch, V views (global ones first), G global views, N patches, D width, K prototypes.
"""

import copy
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn import functional

from opensapiens.backbones import BackboneConfig

from .human_model import blocks_of
from .masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderOutput
from .sample_noise import sample_uniform

DISTILLATION = "self_distillation"
BLOCK = 4  # patches along the side of the blocks that blockwise masking hides; not in the paper
BLOCKWISE_SHARE = 0.4  # of the views; the other masks are of single patches
TEACHER = "teacher_"  # how names of its tensors begin


@dataclass(frozen=True)
class DistillationSettings:
    """The teacher and the space in which it is compared with the student.

    Args:
        prototypes: the outputs of the projection; the paper does not say, this is DINO's number.
        hidden: width of its hidden layers; DINO's.
        bottleneck: width of what is compared with the prototypes; DINO's.
        teacher_decay: of the moving average of the student that is the teacher.
        center_decay: of the moving average of the teacher's outputs, which is subtracted from them.
        student_temperature: by which the student's outputs are divided before the softmax.
        teacher_temperatures: the same of the teacher, at the first step and after warmup_steps.
        warmup_steps: in which the teacher's temperature rises linearly.
    """

    prototypes: int = 65536
    hidden: int = 2048
    bottleneck: int = 256
    teacher_decay: float = 0.992
    center_decay: float = 0.9
    student_temperature: float = 0.1
    teacher_temperatures: tuple[float, float] = (0.065, 0.07)
    warmup_steps: int = 1000

    def teacher_temperature(self, step: int) -> float:
        """The teacher's temperature at a step."""
        first, last = self.teacher_temperatures
        return first + (last - first) * min(step / max(self.warmup_steps, 1), 1.0)


class DistillationOutput(NamedTuple):
    """What one pass computes. A tuple, in which the hooks of sharded training find the tensors.

    Attributes:
        reconstruction: of all global views, (G * B), view by view.
        log_student_BVK: log-probabilities of the student's views.
        teacher_BGK: probabilities of the teacher's views.
        classes_BGD: the student's class tokens of the global views.
    """

    reconstruction: MaskedAutoencoderOutput
    log_student_BVK: Tensor
    teacher_BGK: Tensor
    classes_BGD: Tensor


class Projection(nn.Module):
    """Class tokens to outputs over prototypes: three layers, then the cosine to each prototype, as in DINO."""

    def __init__(self, embed_dim: int, settings: DistillationSettings) -> None:
        super().__init__()
        widths = [embed_dim, settings.hidden, settings.hidden, settings.bottleneck]
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
        self.layers = nn.ModuleList(layers)
        self.prototypes = nn.Parameter(torch.empty(settings.prototypes, settings.bottleneck))
        if self.prototypes.is_meta:  # drawing there would import PyTorch's compiler
            return
        for layer in layers:
            # DINO's 0.02 at its width of 2048.
            nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def forward(self, classes_BD: Tensor) -> Tensor:
        """(B, D) to cosines (B, K)."""
        first, second, last = self.layers
        hidden = last(functional.gelu(second(functional.gelu(first(classes_BD)))))
        # Not a parametrization: of its weights only the directions count, and sharding leaves their names alone.
        return functional.linear(functional.normalize(hidden, dim=-1), functional.normalize(self.prototypes, dim=-1))


class SelfDistillation(MaskedAutoencoder):
    """A masked autoencoder, the student, with a projection of its class token, and their teacher.

    The teacher and `center` take no gradient; `follow` moves them after each step."""

    def __init__(
        self,
        config: BackboneConfig,
        settings: DistillationSettings,
        decoder_dim: int = 512,
        decoder_layers: int = 8,
        decoder_heads: int = 16,
        mask_ratio: float = 0.75,
    ) -> None:
        super().__init__(config, decoder_dim, decoder_layers, decoder_heads, mask_ratio)
        self.settings = settings
        self.projection = Projection(config.embed_dim, settings)
        self.start_teacher()
        # A parameter, and not a buffer, because it is a part of the run's state and not of the model's.
        self.center = nn.Parameter(torch.zeros(settings.prototypes), requires_grad=False)
        self.step = 0
        self._outputs: Tensor | None = None

    def start_teacher(self) -> None:
        """Makes the teacher the student's equal; for after weights were loaded into the latter."""
        self.teacher_backbone = copy.deepcopy(self.backbone)
        self.teacher_projection = copy.deepcopy(self.projection)
        for name, parameter in self.named_parameters():
            if name.startswith(TEACHER):
                parameter.requires_grad_(False)

    def forward(  # type: ignore[override]
        self,
        images_B3HW: Tensor,
        heads: Sequence[str] | None = None,
        seeds_B: Tensor | None = None,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> dict[str, DistillationOutput]:
        """Hides patches of the global views, and compares class tokens; one output, named `DISTILLATION`.

        Args:
            images_B3HW: normalized first global views.
            heads: ignored.
            seeds_B: int64 seeds of the hidden patches.
            inputs: the other views, normalized, as "view0", "view1", ...: those of the same size are global, too.
        """
        assert seeds_B is not None and inputs is not None
        views = [images_B3HW, *(inputs[f"view{number}"] for number in range(len(inputs)))]
        whole = [view for view in views if view.shape[2:] == images_B3HW.shape[2:]]
        local = views[len(whole) :]
        images, batch = torch.cat(whole), len(images_B3HW)
        noise = torch.cat([self._noise(seeds_B, number) for number in range(len(whole))])
        reconstruction = self.reconstruct(images, noise)
        classes = [*reconstruction.latent_BKD[:, 0].split(batch)]
        if local:
            classes += self.backbone.tokens(torch.cat(local))[:, 0].split(batch)
        outputs_BVK = self.projection(torch.stack(classes, dim=1)).float()
        with torch.no_grad():
            tokens = self.teacher_backbone.tokens(images)[:, 0].unflatten(0, (-1, batch)).transpose(0, 1)
            teacher_BGK = self.teacher_projection(tokens).float()
            outputs = teacher_BGK.flatten(0, 1)
            seen = torch.cat([outputs.sum(dim=0), outputs.new_tensor([len(outputs)])])
            self._outputs = seen if self._outputs is None else self._outputs + seen
            center = self.center.full_tensor() if isinstance(self.center, DTensor) else self.center
            sharpened = (teacher_BGK - center) / self.settings.teacher_temperature(self.step)
        log_student = (outputs_BVK / self.settings.student_temperature).log_softmax(dim=-1)
        of_global = torch.stack(classes[: len(whole)], dim=1)
        return {DISTILLATION: DistillationOutput(reconstruction, log_student, sharpened.softmax(dim=-1), of_global)}

    def _noise(self, seeds_B: Tensor, view: int) -> Tensor:
        """(B, N) by which patches are hidden: of some images block by block, of the others one by one."""
        rows, columns = self.backbone.config.grid()
        side = max(min(BLOCK, rows // 2, columns // 2), 1)
        numbers = sample_uniform(seeds_B + view, 1 + 2 * rows * columns)
        blockwise, blocks, single = numbers.split([1, rows * columns, rows * columns], dim=1)
        places = torch.arange(rows, device=seeds_B.device)[:, None] // side * columns
        places = (places + torch.arange(columns, device=seeds_B.device) // side).flatten()
        # Within a block the order is that of single patches, so that exactly as many are hidden.
        of_blocks = blocks[:, places] + 1e-3 * single
        return torch.where(blockwise < BLOCKWISE_SHARE, of_blocks, single)

    @torch.no_grad()
    def follow(self, outputs: Tensor) -> None:
        """After a step: the teacher moves toward the student, the center toward the mean of the teacher's outputs.

        outputs: the sum of `take_outputs()` over all ranks.
        """
        student = dict(self.named_parameters())
        for name, parameter in student.items():
            if name.startswith(TEACHER):
                parameter.lerp_(student[name.removeprefix(TEACHER)], 1 - self.settings.teacher_decay)
        mean: Tensor = outputs[:-1] / outputs[-1]
        if isinstance(self.center, DTensor):
            mean = distribute_tensor(mean, self.center.device_mesh, self.center.placements)
        self.center.lerp_(mean, 1 - self.settings.center_decay)

    def take_outputs(self) -> Tensor:
        """(K + 1,) the sum of the teacher's outputs since the last call, over all images and global views, and their
        number."""
        assert self._outputs is not None
        outputs, self._outputs = self._outputs, None
        return outputs

    def blocks(self) -> list[nn.Module]:
        """See `MaskedAutoencoder.blocks`; also those of the teacher. Raises NoBlocks."""
        return [*super().blocks(), *blocks_of(self.teacher_backbone)]

    def no_decay(self) -> Collection[str]:
        """See `Backbone.no_decay`; of prototypes only the directions count."""
        return {*super().no_decay(), "projection.prototypes"}


def of_autoencoder(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a plain masked autoencoder among those of a SelfDistillation: the teacher's backbone, which is
    steadier than the student's, and the decoder."""
    prefix = f"{TEACHER}backbone."
    backbone = {name.removeprefix(TEACHER): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return backbone | {name: tensor for name, tensor in tensors.items() if name.startswith("decoder.")}
