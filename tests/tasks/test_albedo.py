"""Albedo: losses that tell brightness from color, and a metric over what is known."""

import numpy as np
import pytest
import torch
from PIL import Image

from opensapiens.data.label_kinds import ALBEDO, MASK
from opensapiens.data.label_maps import read_albedo
from opensapiens.data.sample import Sample
from opensapiens.geometry.view import crop_view
from opensapiens.tasks.albedo import AlbedoMap, AlbedoTask

SIZE = (24, 20)
TASK = AlbedoTask()


def person() -> Sample:
    albedo = np.random.default_rng(0).uniform(0.1, 0.9, (*SIZE, 3)).astype(np.float32)
    mask = np.ones(SIZE, bool)
    mask[:4] = False
    return Sample(np.zeros((*SIZE, 3), np.uint8), labels={ALBEDO: albedo, MASK: mask})


def test_only_the_person_is_learned() -> None:
    targets = TASK.prepare_targets([person(), Sample(np.zeros((*SIZE, 3), np.uint8))])
    assert TASK.count(targets).tolist() == [20 * 20, 20 * 19, 19 * 20]
    maps = targets["albedo"].clone()
    assert all(value.item() == 0 for value in TASK.losses(maps, targets).values())
    maps[:, :, :4] += 1
    assert all(value.item() == 0 for value in TASK.losses(maps, targets).values())


def test_a_darker_answer_keeps_its_chromaticity() -> None:
    targets = TASK.prepare_targets([person()])
    darker = TASK.losses(targets["albedo"] * 0.7, targets)
    assert darker["l1"] > 0.1 and darker["chromaticity"] < 1e-4
    other = TASK.losses(targets["albedo"].flip(1), targets)
    assert other["chromaticity"] > 0.1


def test_the_metric_leaves_the_background_out() -> None:
    sample, metric = person(), TASK.new_metric()
    answer = np.where(sample.mask[..., None], sample.labels[ALBEDO], 9).astype(np.float32)  # type: ignore[index]
    figures = metric.update(answer, sample)
    assert figures["mae"] == 0 and figures["psnr"] == np.inf and figures["ssim"] == pytest.approx(1)
    report = metric.report()
    assert report["constant_mae"] > 0.1 and report["constant_ssim"] < 0.5
    with pytest.raises(ValueError, match="labels"):
        metric.update(answer[:2], sample)


def test_files_are_colors(tmp_path) -> None:
    decoded = TASK.decode(torch.tensor([1.5, 0.5, -1]).view(3, 1, 1).expand(3, *SIZE), crop_view(SIZE))
    assert decoded[0, 0].tolist() == [1, 0.5, 0]
    decoded[0, 0] = np.nan
    for name, write in AlbedoMap(decoded).files().items():
        write(tmp_path / name)
    stored = np.asarray(Image.open(tmp_path / "albedo.png"))
    assert stored[0, 0].tolist() == [0, 0, 0] and stored[1, 1].tolist() == [255, 128, 0]
    np.testing.assert_allclose(read_albedo(tmp_path / "albedo.png")[1, 1], [1, 0.5, 0], atol=0.003)
