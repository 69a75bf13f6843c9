"""What several files of tests render with."""

import pytest
import torch

from opensapiens.synthetic.frame import Frame
from opensapiens.synthetic.studio import Studio
from opensapiens.synthetic.style import Style


@pytest.fixture(scope="session")
def studio() -> Studio:
    """Body model and wardrobe; its records say all there is. The first load on a machine takes minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums over several threads have other last bits
    try:
        return Studio(parameters=True)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def frames(studio: Studio) -> list[Frame]:
    """A dozen frames of the usual size."""
    return list(studio.frames(seed=5, first=0, count=12, style=Style()))
