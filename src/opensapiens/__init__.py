"""Human vision foundation models: pose, body parts, depth and surface normals of people in images.

import opensapiens
people = opensapiens.load("nano")
result = people("photo.jpg")
result.persons[0].keypoints
result.draw().save("out.png")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opensapiens.checkpoints.catalogue import list_models
    from opensapiens.inference.loading import load

__version__ = "0.1.0"
__all__ = ["__version__", "list_models", "load"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `import opensapiens` and the command's --help do not wait for torch.
    if name == "load":
        from opensapiens.inference.loading import load

        return load
    if name == "list_models":
        from opensapiens.checkpoints.catalogue import list_models

        return list_models
    raise AttributeError(f"module 'opensapiens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
