"""The recipe of the detector runs to the end at toy size, and its result finds people by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from opensapiens.checkpoints.model_folder import build_model
from opensapiens.inference.detectors import find_detector
from opensapiens.recipes.detector import detector
from opensapiens.training.loop import train


def test_a_short_run_ends_with_a_detector(people_shards: Path, tmp_path: Path) -> None:
    run = detector(
        (people_shards,), tmp_path, validation=(people_shards,), steps=2, batch_size=2, input_size=(64, 64), layers=1,
        channels=(8,), workers=0,
    )  # fmt: skip
    folder = train(replace(run, device="cpu"))
    boxes, scores = find_detector(str(folder), threshold=0.0)(np.zeros((50, 40, 3), np.uint8))
    assert boxes.shape == (len(scores), 4)
    assert "detection/AP50" in (tmp_path / "log.jsonl").read_text()


def test_the_full_model_is_small(people_shards: Path, tmp_path: Path) -> None:
    with torch.device("meta"):
        model = build_model(detector((people_shards,), tmp_path).model)
    assert 2 * sum(parameter.numel() for parameter in model.parameters()) < 8e6  # bytes as 16-bit floats
