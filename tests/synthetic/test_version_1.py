"""Frames of version 1, which the hold-out is made of, stay what they were."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from opensapiens.recipes.synthetic_people import HOLDOUT, HOLDOUT_SEED
from opensapiens.synthetic.frame import Frame
from opensapiens.synthetic.studio import Studio

KNOWN = json.loads((Path(__file__).parent / "version_1.json").read_text())
KINDS = ("image", "instances", "parts", "depth", "normals")


@pytest.fixture(scope="module")
def holdout(studio: Studio) -> list[Frame]:
    """The first two frames, as worker processes make them: one thread, bodies evaluated with the whole batch's."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    frames = studio.frames(HOLDOUT_SEED, 0, 16, HOLDOUT)
    first = [next(frames), next(frames)]
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])
    return first


def test_the_holdout_is_of_version_1() -> None:
    assert HOLDOUT.version == 1


def test_frames_look_as_they_did_on_any_machine(holdout: list[Frame]) -> None:
    for frame, known in zip(holdout, KNOWN["frames"], strict=True):
        coarse = cv2.resize(frame.image, (16, 12), interpolation=cv2.INTER_AREA).mean(2)
        assert np.abs(coarse - np.array(known["coarse"])).max() < 3
        assert frame.parts is not None
        assert np.abs(np.bincount(frame.parts.ravel(), minlength=28) - known["parts"]).max() < 40


@pytest.mark.skipif(
    (torch.backends.cpu.get_cpu_capability(), torch.__version__.split("+")[0]) != (KNOWN["cpu"], KNOWN["torch"]),
    reason="the last bits of bodies are those of another processor or PyTorch",
)
def test_frames_are_the_same_to_the_byte(holdout: list[Frame]) -> None:
    for frame, known in zip(holdout, KNOWN["frames"], strict=True):
        for kind in KINDS:
            data = np.ascontiguousarray(getattr(frame, kind)).tobytes()
            assert hashlib.sha256(data).hexdigest() == known["sha256"][kind], kind
