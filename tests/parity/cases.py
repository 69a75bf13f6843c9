"""The parity cases: numbers that the published code computed, one JSON file each and mostly one safetensors file
beside it.

A parity test takes every case of the kinds it knows and reads sizes, layers, heads and padding from the case's JSON:

    from .cases import Case, cases, name_of

    @pytest.mark.parametrize("case", cases("pose_codec"), ids=name_of)
    def test_encode(case: Case) -> None:
        case.assert_close("output.heatmaps", encode(case.array("input.keypoints"), ...))

The folder is tests/parity/cases, or the one that the environment variable OPENSAPIENS_GOLDENS names. Cases that hold
a piece of a photo are only in the latter; without it the tests of their kinds have nothing to run and pytest reports
them as skipped.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

OWN_FOLDER = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Case:
    """One case: `description`, its JSON as it stands, and `arrays`, its tensors (weights.…, input.…, output.…)."""

    description: dict[str, Any]
    path: Path

    @property
    def name(self) -> str:
        return self.description["name"] if "name" in self.description else self.description["case"]

    @property
    def kind(self) -> str:
        """What the JSON says. Those of Sapiens2 say it in a sentence, of which the words before a bracket or "with" are
        the kind, and two that hold no tensors are known by what they list."""
        if "kind" in self.description:
            return re.split(r" \(| with ", self.description["kind"])[0]
        lists = {"tasks": "optimizer groups by task", "results": "agreement of two programs"}
        return next((kind for key, kind in lists.items() if key in self.description), "unknown")

    @property
    def config(self) -> dict[str, Any]:
        return self.description["config"]

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        tensors = self.path.with_suffix(".safetensors")
        return load_file(tensors) if tensors.exists() else {}

    def array(self, name: str) -> np.ndarray:
        """A copy, so that a test which writes into it harms no other."""
        return self.arrays[name].copy()

    def tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.array(name))

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        """Every tensor whose name starts with `prefix`, without it: under("weights.") is the published state dict."""
        return {name.removeprefix(prefix): self.tensor(name) for name in self.arrays if name.startswith(prefix)}

    def tolerance(self, name: str) -> float:
        """Largest absolute difference allowed: 1e-4, or 20 times the rounding noise the case states for that tensor."""
        noise = self.description.get("noise_fp32_vs_fp64_max_abs", {})
        return max(1e-4, 20 * noise.get(name.removeprefix("output."), 0.0))

    def assert_close(self, name: str, actual: np.ndarray | torch.Tensor, where: np.ndarray | None = None) -> None:
        """`actual` equals the tensor `name` within its tolerance, where `where` (boolean) says so. NaN equals NaN."""
        got = actual.detach().cpu().numpy() if isinstance(actual, torch.Tensor) else np.asarray(actual)
        expected = self.arrays[name].astype(np.float32) if self.arrays[name].dtype == np.float16 else self.arrays[name]
        assert got.shape == expected.shape, f"{self.name} {name}: shape {got.shape}, expected {expected.shape}"
        if where is not None:
            got, expected = got[where], expected[where]
        np.testing.assert_allclose(got, expected, rtol=0, atol=self.tolerance(name), err_msg=f"{self.name} {name}")


def folder() -> Path:
    """Where the cases are read from."""
    return Path(os.environ.get("OPENSAPIENS_GOLDENS", OWN_FOLDER))


@lru_cache(maxsize=1)
def all_cases() -> tuple[Case, ...]:
    """Every case of the folder, by name. An empty folder is an error: parity tests that test nothing must not pass."""
    found = [Case(json.loads(path.read_text()), path) for path in sorted(folder().glob("*.json"))]
    if not found:
        raise FileNotFoundError(f"no parity cases (*.json) in {folder()}")
    return tuple(found)


def cases(*kinds: str) -> list[Case]:
    """The cases of these kinds."""
    return [case for case in all_cases() if case.kind in kinds]


def name_of(case: Case) -> str:
    """The label of a case in pytest's output."""
    return case.name
