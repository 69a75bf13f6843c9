"""Learning rate and weight averaging over the steps."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from opensapiens.training.averaging import WeightAverage
from opensapiens.training.run import ScheduleSettings
from opensapiens.training.schedule import learning_rate_factor


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_warmup_and_decay(decay: str) -> None:
    schedule = ScheduleSettings(warmup_steps=10, decay=decay, final_factor=0.1)  # type: ignore[arg-type]
    factors = [learning_rate_factor(step, 110, schedule) for step in range(110)]
    assert factors[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert factors[-1] == pytest.approx(0.1)
    assert all(a > b for a, b in pairwise(factors[9:]))
    assert factors[59] == pytest.approx(0.55)  # half way of both
    assert factors[34] == pytest.approx(0.1 + 0.9 * (0.75 if decay == "linear" else 0.5 + 0.5 * 0.5**0.5), abs=1e-6)


def test_a_run_shorter_than_its_warmup_only_warms_up() -> None:
    factors = [learning_rate_factor(step, 4, ScheduleSettings(warmup_steps=100)) for step in range(4)]
    assert factors == [0.25, 0.5, 0.75, 1.0]


def test_the_average_follows_fast_at_first_and_then_slowly() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = WeightAverage(model, 0.9)
    nn.init.ones_(model.weight)
    average.update(model, step=0)
    assert average.weights["weight"].item() == pytest.approx(0.9)  # decay (1 + 0) / (10 + 0)
    average.update(model, step=100_000)
    assert average.weights["weight"].item() == pytest.approx(0.91)  # decay 0.9: 0.9 * 0.9 + 0.1 * 1
    assert model.weight.item() == 1


def test_a_share_of_the_start_is_in_what_is_exported_and_not_in_what_is_trained_on() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = WeightAverage(model, 0.9, start_share=0.25)
    nn.init.ones_(model.weight)
    average.update(model, step=0)
    assert average.exported()["weight"].item() == pytest.approx(0.75 * 0.9)
    assert average.weights["weight"].item() == pytest.approx(0.9)


def test_no_decay_is_the_model_itself() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.0)
    with torch.no_grad():
        model.weight.add_(1)
    average.update(model, step=50)
    assert torch.equal(average.weights["weight"], model.weight)
