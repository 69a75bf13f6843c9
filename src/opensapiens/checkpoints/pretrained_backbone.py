"""A trained backbone into a model of another shape: what its family's rule makes of the tensors, loaded strictly."""

from collections.abc import Mapping

from torch import Tensor

from opensapiens.backbones import BackboneConfig
from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder

from .strict_loading import CheckpointError, load_strictly


def load_backbone(
    model: HumanModel | MaskedAutoencoder, tensors: Mapping[str, Tensor], trained: BackboneConfig, source: str
) -> None:
    """Load the tensors of a trained backbone, by their names in it, into a model's backbone, fitted to its shape.

    Args:
        trained: the config that the tensors are of.
        source: what to call them in an error.

    Raises:
        CheckpointError: a backbone that this one cannot start from, or tensors that are missing, unexpected or
            mis-shaped after fitting; it lists them.
    """
    try:
        fitted = model.backbone.fitted(tensors, trained)
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from error
    load_strictly(model.get_submodule("backbone"), fitted, source)
