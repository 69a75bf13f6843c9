"""What several files of tests render with."""

import pytest
import torch

from opensapiens.synthetic.frame import Frame
from opensapiens.synthetic.people_renderer import PeopleRenderer
from opensapiens.synthetic.style import Style


@pytest.fixture(scope="session")
def renderer() -> PeopleRenderer:
    """Body model and wardrobe; its records say all there is. The first load on a machine takes minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums over several threads have other last bits
    try:
        return PeopleRenderer(parameters=True)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def frames(renderer: PeopleRenderer) -> list[Frame]:
    """A dozen frames of the usual size."""
    return list(renderer.frames(seed=5, first=0, count=12, style=Style()))
