"""One backbone and the heads that read its features."""

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor, nn

from opensapiens.backbones import Backbone

from .heads import Head


class NoBlocks(ValueError):
    """A backbone without blocks where each of them is to be treated separately."""


def blocks_of(backbone: Backbone) -> list[nn.Module]:
    """The blocks of a backbone. Raises NoBlocks if there are none."""
    if not len(backbone.blocks):
        raise NoBlocks(
            f"the {backbone.config.family} backbone names no blocks: it can be neither sharded, adapted, compiled nor "
            "checkpointed block by block"
        )
    return list(backbone.blocks)


class HumanModel(nn.Module):
    """A backbone with one named head per task; the features are computed once for all heads."""

    def __init__(self, backbone: Backbone, heads: Mapping[str, Head]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)  # type: ignore[arg-type]  # all heads are modules

    def forward(
        self,
        images_B3HW: Tensor,
        heads: Sequence[str] | None = None,
        seeds_B: Tensor | None = None,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Raw maps of heads: name -> (B, channels, h, w), each at its head's own stride.

        Args:
            images_B3HW: normalized RGB images.
            heads: names of the heads to run, by default all.
            seeds_B: int64 seeds of the images, from which the heads' dropout is drawn in training.
            inputs: `BackboneConfig.view_inputs` of the images, batched.

        Raises:
            KeyError: the model has no such head.
        """
        names = list(self.heads) if heads is None else list(heads)
        missing = [name for name in names if name not in self.heads]
        if missing:
            raise KeyError(f"no head named {', '.join(missing)}; the model has {', '.join(self.heads)}")
        features = self.backbone(images_B3HW)
        if seeds_B is None:
            return {name: self.heads[name](features, None, inputs) for name in names}
        return {name: self.heads[name](features, seeds_B + number, inputs) for number, name in enumerate(names)}

    def blocks(self) -> list[nn.Module]:
        """What is compiled, checkpointed and sharded one by one. Raises NoBlocks."""
        return blocks_of(self.backbone)

    def no_decay(self) -> Collection[str]:
        """See `Backbone.no_decay`."""
        return {f"backbone.{name}" for name in self.backbone.no_decay()}
