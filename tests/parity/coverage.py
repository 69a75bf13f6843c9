"""Which tensors of the parity cases no test reads: a plugin for pytest, run by hand.

$ OPENSAPIENS_GOLDENS=FOLDER PYTHONPATH=src:tests python -m pytest -p parity.coverage -q tests/parity

Every tensor that no test has read is printed with the reason in NOT_READ, or as unexplained.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pytest

from parity import cases

NOISE = "the maps are noise, in which no point is stable; the scores and the codec's cases are compared"
NOT_READ = {
    ("v2_evaluators", "output."): "compared through the case's JSON, which has them in float64",
    ("v2_pose_codec", "output.combined_encode."): "an encoding that no published config uses and that is not here",
    ("v2_pose_codec", "output.scale_factor"): "the ratio of both sizes, which encoding and decoding contain",
    ("v2_pose308", "output.decode_"): NOISE,
    ("v2_preprocess_hf", "output.post_pose."): "of heatmaps that the case does not hold",
    ("v2_preprocess_hf", "output."): "of another program, which resizes otherwise; the case's JSON says by how much",
    ("v2_preprocess_hf", "input.boxes_xywh"): "for what is not compared",
    ("v2_train_step", ""): "its weights are those after the steps, from which no step can be taken",
}
"""(case, how names of tensors begin) -> why they are not compared."""


class Recorded(dict[str, np.ndarray]):
    """Tensors that note which were read."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        super().__init__(tensors)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        self.read.add(name)
        return super().__getitem__(name)


def pytest_configure() -> None:
    """Every case notes what is read of it."""
    load = cases.Case.__dict__["arrays"].func
    recorded = cached_property(lambda case: Recorded(load(case)))
    recorded.__set_name__(cases.Case, "arrays")
    cases.Case.arrays = recorded  # type: ignore[assignment]


def unread() -> Iterator[str]:
    """A line for each tensor that was not read."""
    for case in cases.all_cases():
        tensors = case.arrays
        assert isinstance(tensors, Recorded)
        for name in sorted(set(tensors) - tensors.read):
            reasons = [why for (of, start), why in NOT_READ.items() if of == case.name and name.startswith(start)]
            yield f"{case.name} {name}: {reasons[0] if reasons else 'UNEXPLAINED'}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the list."""
    lines = list(unread())
    total = sum(len(case.arrays) for case in cases.all_cases())
    terminalreporter.section(f"{len(lines)} of {total} tensors were not read")
    for line in lines:
        terminalreporter.line(line)
