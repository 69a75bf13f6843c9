"""One backbone and the heads that read its features."""

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor, nn

from opensapiens.backbones import Backbone

from .heads import Head


class NoBlocks(ValueError):
    """A backbone without blocks where something is done to each of them."""


def blocks_of(backbone: Backbone) -> list[nn.Module]:
    """The blocks of a backbone, of which there must be some. Raises NoBlocks."""
    if not len(backbone.blocks):
        raise NoBlocks(
            f"the {backbone.config.family} backbone names no blocks: it can be neither sharded, adapted, compiled nor "
            "checkpointed block by block"
        )
    return list(backbone.blocks)


class HumanModel(nn.Module):
    """A backbone with one named head per task; the features are computed once for all of them.

    The published models have one head each; ours may have several.
    """

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
        """Maps of the named heads, by default of all.

        Args:
            images_B3HW: normalized RGB images.
            heads: names of the heads to run.
            seeds_B: one int64 for each image, from which what training draws at random follows (heads' dropout).
            inputs: what the backbone's config makes of the views beside pixels (`view_inputs`), in batches.

        Returns:
            head name -> (B, channels, h, w) raw maps, each at its head's own stride.

        Raises:
            KeyError: a head that the model does not have.
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
        """Names of parameters without weight decay, beside biases and all of one axis."""
        return {f"backbone.{name}" for name in self.backbone.no_decay()}
