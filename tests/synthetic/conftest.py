"""What several files of tests render with."""

import pytest

from opensapiens.synthetic.frame import Frame
from opensapiens.synthetic.studio import Studio
from opensapiens.synthetic.style import Style


@pytest.fixture(scope="session")
def studio() -> Studio:
    """Body model and wardrobe; its records say all there is. The first load on a machine takes minutes."""
    return Studio(parameters=True)


@pytest.fixture(scope="session")
def frames(studio: Studio) -> list[Frame]:
    """A dozen frames of the usual size."""
    return list(studio.frames(seed=5, first=0, count=12, style=Style()))
