"""Human vision foundation models: pose, body parts, depth and surface normals of people in images.

import opensapiens
people = opensapiens.load("nano")
result = people("photo.jpg")
result.persons[0].keypoints
result.draw().save("out.png")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opensapiens.checkpoints.catalog import list_models
    from opensapiens.inference.job import predict_files
    from opensapiens.inference.loading import load
    from opensapiens.inference.options import PredictOptions, VideoOptions
    from opensapiens.inference.video import predict_video

__version__ = "0.1.0"
__all__ = [
    "PredictOptions",
    "VideoOptions",
    "__version__",
    "list_models",
    "load",
    "predict_files",
    "predict_video",
]

_HOMES = {
    "PredictOptions": "inference.options",
    "VideoOptions": "inference.options",
    "list_models": "checkpoints.catalog",
    "load": "inference.loading",
    "predict_files": "inference.job",
    "predict_video": "inference.video",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that `import opensapiens` and the command's --help do not wait for torch.
    if name in _HOMES:
        return getattr(import_module(f"opensapiens.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'opensapiens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
