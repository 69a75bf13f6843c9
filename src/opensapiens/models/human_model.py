"""One backbone and the heads that read its features."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from .upsampling_head import UpsamplingHead
from .vit import VisionTransformer


class HumanModel(nn.Module):
    """A backbone with one named head per task; the features are computed once for all of them.

    The published models have one head each; ours may have several.
    """

    def __init__(self, backbone: VisionTransformer, heads: Mapping[str, UpsamplingHead]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)

    def forward(
        self, images_B3HW: Tensor, heads: Sequence[str] | None = None, seeds_B: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Maps of the named heads, by default of all.

        Args:
            images_B3HW: normalised RGB images.
            heads: names of the heads to run.
            seeds_B: one int64 for each image, from which what training draws at random follows (heads' dropout).

        Returns:
            head name -> (B, channels, h, w) raw maps, each at its head's own stride; located heads have a channel more
            than they predict.

        Raises:
            KeyError: a head that the model does not have.
        """
        names = list(self.heads) if heads is None else list(heads)
        missing = [name for name in names if name not in self.heads]
        if missing:
            raise KeyError(f"no head named {', '.join(missing)}; the model has {', '.join(self.heads)}")
        features = self.backbone(images_B3HW)
        if seeds_B is None:
            return {name: self.heads[name](features) for name in names}
        return {name: self.heads[name](features, seeds_B + number) for number, name in enumerate(names)}
