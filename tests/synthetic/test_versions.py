"""Frames of a version of the generator stay what they were; the hold-out is made of version 1."""

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from opensapiens.recipes.synthetic_people import HOLDOUT, HOLDOUT_SEED
from opensapiens.synthetic.frame import Frame
from opensapiens.synthetic.studio import Studio
from opensapiens.synthetic.style import Style

DRAWN = {1: (HOLDOUT_SEED, HOLDOUT), 2: (1, Style())}
KNOWN = {version: json.loads((Path(__file__).parent / f"version_{version}.json").read_text()) for version in DRAWN}
KINDS = ("image", "instances", "parts", "depth", "normals")


@pytest.fixture(scope="module", params=sorted(DRAWN))
def drawn(studio: Studio, request: pytest.FixtureRequest) -> tuple[dict[str, Any], list[Frame]]:
    """What is known of a version, and its first two frames, as worker processes make them: one thread, bodies evaluated
    with the whole batch's."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    seed, style = DRAWN[request.param]
    frames = studio.frames(seed, 0, 16, style)
    first = [next(frames), next(frames)]
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])
    return KNOWN[request.param], first


def test_versions_are_what_they_are_called() -> None:
    assert all(style.version == version for version, (_, style) in DRAWN.items())


def test_frames_look_as_they_did_on_any_machine(drawn: tuple[dict[str, Any], list[Frame]]) -> None:
    for frame, known in zip(drawn[1], drawn[0]["frames"], strict=True):
        coarse = cv2.resize(frame.image, (16, 12), interpolation=cv2.INTER_AREA).mean(2)
        assert np.abs(coarse - np.array(known["coarse"])).max() < 3
        assert frame.parts is not None
        assert np.abs(np.bincount(frame.parts.ravel(), minlength=28) - known["parts"]).max() < 40


def test_frames_are_the_same_to_the_byte(drawn: tuple[dict[str, Any], list[Frame]]) -> None:
    units = " with bfloat16" if torch.cpu.get_capabilities().get("avx512_bf16") else ""
    here = (torch.backends.cpu.get_cpu_capability() + units, torch.__version__.split("+")[0])
    if here != (drawn[0]["cpu"], drawn[0]["torch"]):
        pytest.skip("the last bits of bodies are those of another processor or PyTorch")
    for frame, known in zip(drawn[1], drawn[0]["frames"], strict=True):
        for kind in KINDS:
            data = np.ascontiguousarray(getattr(frame, kind)).tobytes()
            assert hashlib.sha256(data).hexdigest() == known["sha256"][kind], kind
