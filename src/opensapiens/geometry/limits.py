"""Bounds on the numbers of a model's description, so that a small file cannot ask for a huge model."""

LARGEST_SIDE = 32_768  # pixels
MOST_CHANNELS = 65_536
MOST_LAYERS = 1024


def check_bounds(most: int, least: int = 1, **values: int) -> None:
    """Raises ValueError, with the name, for a value that is not between `least` and `most`."""
    for name, value in values.items():
        if not least <= value <= most:
            raise ValueError(f"{name} must be between {least} and {most:,}, not {value}")
