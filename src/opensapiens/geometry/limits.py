"""Bounds on the numbers of a model's description: nothing beyond them is built, however small the file that asks."""

LARGEST_SIDE = 32_768
"""Pixels of an image's side."""
MOST_CHANNELS = 65_536
MOST_LAYERS = 1024


def check_bounds(most: int, least: int = 1, **values: int) -> None:
    """Raises ValueError for a value that is not between `least` and `most`; it names the value."""
    for name, value in values.items():
        if not least <= value <= most:
            raise ValueError(f"{name} must be between {least} and {most:,}, not {value}")
