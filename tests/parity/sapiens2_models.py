"""Models of the cases of Sapiens2, read as published files are."""

from dataclasses import replace

from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.checkpoints.model_folder import build_model
from opensapiens.checkpoints.sapiens2_files import describe_tensors, from_published, layout_of
from opensapiens.checkpoints.strict_loading import load_strictly
from opensapiens.models.human_model import HumanModel

from .cases import Case
from .test_sapiens2_backbones import backbone_config

TASK_OF_KIND = {
    "PoseTopdownEstimator": "pose",
    "SegEstimator": "segmentation",
    "NormalEstimator": "normals",
    "PointmapEstimator": "pointmap",
    "AlbedoEstimator": "albedo",
    "matting": "matting",
}


def description_of(case: Case, rope_dtype: str = "bfloat16") -> ModelDescription:
    """What the shapes of a case's tensors tell of its model, for the case's size of input."""
    weights = case.under("weights.")
    task = layout_of(weights, case.path, None)
    shapes = {name: tuple(tensor.shape) for name, tensor in from_published(weights, task).items()}
    found = describe_tensors(shapes, case.name)
    config = backbone_config(case, rope_dtype)
    # Nothing but the size of the input and how positions are rounded is not in the shapes.
    assert replace(found.backbone, image_size=config.image_size, rope_dtype=config.rope_dtype) == config  # type: ignore[type-var]
    size = config.image_size
    return replace(found, backbone=config, preprocessing=replace(found.preprocessing, input_size=size))


def model_of(case: Case, rope_dtype: str = "bfloat16") -> HumanModel:
    """The network of a case with its weights."""
    description = description_of(case, rope_dtype)
    (task,) = description.heads
    model = build_model(description).eval()
    load_strictly(model, from_published(case.under("weights."), task), case.name)
    return model
