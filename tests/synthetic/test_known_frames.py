"""The frames of a seed stay what they are, so that sets can be made again."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from opensapiens.synthetic.frame import Frame
from opensapiens.synthetic.people_renderer import PeopleRenderer
from opensapiens.synthetic.style import Style

KNOWN = json.loads((Path(__file__).parent / "known_frames.json").read_text())
KINDS = ("image", "instances", "parts", "depth", "normals")


@pytest.fixture(scope="module")
def first_frames(renderer: PeopleRenderer) -> Iterator[list[Frame]]:
    """The first two frames of seed 1, as worker processes make them: one thread, bodies evaluated with the whole
    batch's."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    frames = renderer.frames(1, 0, 16, Style())
    yield [next(frames), next(frames)]
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def test_frames_look_the_same_on_any_machine(first_frames: list[Frame]) -> None:
    for frame, known in zip(first_frames, KNOWN["frames"], strict=True):
        coarse = cv2.resize(frame.image, (16, 12), interpolation=cv2.INTER_AREA).mean(2)
        assert np.abs(coarse - np.array(known["coarse"])).max() < 3
        assert frame.parts is not None
        assert np.abs(np.bincount(frame.parts.ravel(), minlength=28) - known["parts"]).max() < 40


def test_frames_are_the_same_to_the_byte(first_frames: list[Frame]) -> None:
    units = " with bfloat16" if torch.cpu.get_capabilities().get("avx512_bf16") else ""
    here = (torch.backends.cpu.get_cpu_capability() + units, torch.__version__.split("+")[0])
    if here != (KNOWN["cpu"], KNOWN["torch"]):
        pytest.skip("the last bits of bodies are those of another processor or PyTorch")
    for frame, known in zip(first_frames, KNOWN["frames"], strict=True):
        for kind in KINDS:
            data = np.ascontiguousarray(getattr(frame, kind)).tobytes()
            assert hashlib.sha256(data).hexdigest() == known["sha256"][kind], kind
