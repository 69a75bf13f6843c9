"""Cut-outs: the losses' parts, colors that are multiplied by alpha and not, files."""

import numpy as np
import pytest
import torch
from PIL import Image

from opensapiens.data.label_kinds import ALPHA
from opensapiens.data.label_maps import read_alpha
from opensapiens.data.sample import Sample
from opensapiens.geometry.view import crop_view
from opensapiens.tasks.matting import Matte, MattingTask, laplacian_pyramid, sobel

SIZE = (20, 16)
TASK = MattingTask()


def person() -> Sample:
    alpha = np.zeros(SIZE, np.float32)
    alpha[5:, 4:12], alpha[5:, 8] = 1, 0.5
    return Sample(np.full((*SIZE, 3), [255, 51, 0], np.uint8), labels={ALPHA: alpha})


def logits(targets: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([targets["foreground"], targets["alpha"]], dim=1).clamp(1e-6, 1 - 1e-6).logit()


def test_targets_are_sure_where_the_picture_shows_the_color() -> None:
    targets = TASK.prepare_targets([person()])
    assert (~targets["sure"]).sum() == 15 and not targets["sure"][0, 0, 5:, 8].any()
    np.testing.assert_allclose(targets["foreground"][0, :, 6, 5], [1, 0.2, 0])


def test_a_perfect_answer_has_no_loss_and_edges_count() -> None:
    targets = TASK.prepare_targets([person(), Sample(np.zeros((*SIZE, 3), np.uint8))])
    terms = TASK.losses(logits(targets), targets)
    assert len(terms) == 6 and all(value.item() == pytest.approx(0, abs=1e-3) for value in terms.values())
    blurred = torch.nn.functional.avg_pool2d(targets["alpha"], 3, 1, 1)
    terms = TASK.losses(logits({**targets, "alpha": blurred}), targets)
    assert terms["edges"] > 0.003 and terms["laplacian"] > 0.003 and terms["l1_foreground"] < 1e-4
    # A sample without a label adds nothing, whatever is said of it.
    assert TASK.losses(torch.randn(1, 4, *SIZE), {name: value[1:] for name, value in targets.items()})["l1"] == 0


def test_edges_and_pyramid_of_known_maps() -> None:
    ramp = torch.arange(6.0).expand(1, 1, 4, 6)
    np.testing.assert_allclose(sobel(ramp)[0, 0, :, 1:-1], 1)
    assert (sobel(ramp)[0, 1] == 0).all()
    assert laplacian_pyramid(torch.ones(2, 1, 32, 32)).abs().max() == 0
    assert laplacian_pyramid(torch.eye(8)[None, None])[0] > 0.1


def test_the_answer_is_read_and_measured() -> None:
    targets = TASK.prepare_targets([person()])
    decoded = TASK.decode(logits(targets)[0], crop_view(SIZE))
    np.testing.assert_allclose(decoded[..., 3], person().labels[ALPHA], atol=1e-5)
    metric = TASK.new_metric()
    assert metric.update(decoded, person())["l1_alpha"] == pytest.approx(0, abs=1e-5)
    assert metric.report()["nobody_l1_alpha"] == pytest.approx(person().labels[ALPHA].mean())


def test_a_cutout_has_its_own_colors(tmp_path) -> None:
    values = np.zeros((1, 3, 4), np.float32)
    values[0, 1], values[0, 2] = [0.25, 0.1, 0, 0.5], [1, 0.2, 0, 1]
    matte = Matte(values)
    assert matte.cutout()[0].tolist() == [[0, 0, 0, 0], [128, 51, 0, 128], [255, 51, 0, 255]]
    assert matte.over(np.array([0, 0, 200]))[0].tolist() == [[0, 0, 200], [64, 26, 100], [255, 51, 0]]
    for name, write in matte.files().items():
        write(tmp_path / name)
    assert Image.open(tmp_path / "cutout.png").mode == "RGBA"
    np.testing.assert_allclose(read_alpha(tmp_path / "alpha.png"), values[..., 3], atol=1e-4)
    np.testing.assert_allclose(read_alpha(tmp_path / "cutout.png"), values[..., 3], atol=1 / 255)
