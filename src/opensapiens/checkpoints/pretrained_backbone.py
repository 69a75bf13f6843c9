"""Loads a trained backbone into a model of another shape."""

from collections.abc import Mapping

from torch import Tensor

from opensapiens.backbones import BackboneConfig
from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder

from .strict_loading import CheckpointError, load_strictly


def load_backbone(
    model: HumanModel | MaskedAutoencoder, tensors: Mapping[str, Tensor], trained: BackboneConfig, source: str
) -> None:
    """Loads the tensors of a `trained` backbone, by their names in it, into a model's backbone, fitted to its shape.

    source: what to call them in an error.

    Raises:
        CheckpointError: this backbone cannot start from that one, or tensors are missing, unexpected or mis-shaped
            after fitting; it lists them.
    """
    try:
        fitted = model.backbone.fitted(tensors, trained)
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from error
    load_strictly(model.get_submodule("backbone"), fitted, source)
