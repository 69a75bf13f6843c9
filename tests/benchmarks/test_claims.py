"""The experiment of the paper's claims in miniature: its data are fair, its table says what was found."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from opensapiens.data.images import ImageCollection
from opensapiens.data.shards import ShardDataset

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a file of benchmarks/ by name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


@pytest.fixture
def claims(script: Callable[[str], ModuleType]) -> ModuleType:
    pytest.importorskip("anny")
    return script("claims")


def test_objects_cover_as_much_as_people_did(script: Callable[[str], ModuleType]) -> None:
    image = np.full((120, 100, 3), 60, np.uint8)
    instances = np.zeros((120, 100), np.uint8)
    cv2.ellipse(instances, (30, 60), (15, 45), 0, 0, 360, 1, cv2.FILLED)
    cv2.ellipse(instances, (75, 50), (10, 30), 0, 0, 360, 2, cv2.FILLED)
    image[instances == 1], image[instances == 2] = (220, 30, 30), (30, 220, 30)
    made = script("claims_objects").objects_in_place(image, instances, np.random.default_rng(0)).astype(int)
    red = made[..., 0] > made[..., 1] + 20
    green = made[..., 1] > made[..., 0] + 20
    background = np.abs(made - 60).max(axis=-1) < 12
    assert (red | green | background).mean() > 0.98
    assert green.sum() == pytest.approx((instances == 2).sum(), rel=0.1)  # drawn last, so whole
    assert red.sum() <= 1.1 * (instances == 1).sum()
    still_there = (red & (instances == 1)).sum() / (instances == 1).sum()
    assert still_there < 0.95, "the shape of the person must go"


def test_both_sets_hold_the_same_frames(
    script: Callable[[str], ModuleType], people_shards: Path, tmp_path: Path
) -> None:
    objects_module = script("claims_objects")
    people = ImageCollection(objects_module.only_images(people_shards, tmp_path / "people"))
    objects = ImageCollection(objects_module.replace_people(people_shards, tmp_path / "objects"))
    assert len(people) == len(objects) == 6
    frame = ShardDataset(people_shards).read_frame(4)
    outside = cv2.dilate((frame["instances.png"] > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
    assert np.abs(people[4].image.astype(int) - frame["jpg"]).mean() < 30
    assert not np.array_equal(people[4].image, objects[4].image)
    assert outside.any()
    before = (tmp_path / "objects" / "000000.tar").read_bytes()
    objects_module.replace_people(people_shards, tmp_path / "objects")
    assert (tmp_path / "objects" / "000000.tar").read_bytes() == before


def test_a_share_is_another_for_each_seed(script: Callable[[str], ModuleType]) -> None:
    source, random_share = list(range(1000)), script("claims_runs").random_share
    drawn = [list(random_share(source, 0.1, seed)) for seed in (0, 0, 1)]
    assert len(set(drawn[0])) == 100
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(random_share(source, 1e-9, 0)) == 1


def test_all_starts_have_the_same_budget(
    script: Callable[[str], ModuleType], people_shards: Path, tmp_path: Path
) -> None:
    runs = [
        script("claims_runs").finetuning_run(
            people_shards, tmp_path, "pose", start, None, 1.0, "mini", 10, input_size=(192, 144)
        )
        for start in (None, "somewhere")
    ]
    assert len({(run.steps, run.batch_size, run.optimizer.lr, run.schedule) for run in runs}) == 1
    assert [run.optimizer.layer_decay for run in runs] == [1.0, 0.85]


def test_the_table(claims: ModuleType) -> None:
    plan = claims.Plan(tasks=("pose", "segmentation"), sizes=("mini", "small"), labels=(0.01, 1.0), seeds=(0, 1))
    bonus = {"random": 0.0, "objects": 0.1, "people": 0.2}
    found = {
        cell: 0.3 + bonus[cell.start] * (2 if cell.labels < 1 else 1) + (0.05 if cell.size == "small" else 0)
        for cell in claims.cells(plan)
    }
    text = claims.table(plan, found)
    assert "| pose | mini | 1 % | 0.300 ± 0.000 | 0.500 ± 0.000 | 0.700 ± 0.000 |" in text
    assert "| pose | small | 100 % | – | – | 0.550 ± 0.000 |" in text and "small | 1 %" not in text
    assert "pretraining on people beats random: in 8 of 8" in text
    assert "pretraining on people beats objects: in 8 of 8" in text
    assert "larger with 1 % of the labels than with 100 %: in 4 of 4" in text
    assert "small does better than mini: in 4 of 4" in text
    cell = claims.Cell("pose", "mini", "people", 0.01, 0)
    worse = claims.table(plan, {**found, cell: 0.0})
    assert "beats random: in 7 of 8" in worse and "than with 100 %: in 3 of 4" in worse


def test_the_whole_experiment_at_toy_size(
    claims: ModuleType, people_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ready-made shards in the generator's place; a second call runs nothing again."""
    for name in ("people", "validation"):
        (tmp_path / name).symlink_to(people_shards)
    monkeypatch.setattr(claims, "synthesize", lambda *_args, **_options: None)
    monkeypatch.setattr(claims, "TOY", claims.replace(claims.TOY, labels=(0.5,), seeds=(0,)))
    claims.main(tmp_path, toy=True, device="cpu", workers=0)
    text = (tmp_path / "claims.md").read_text()
    assert text.count("| toy | 50 % |") == 2 and "pretraining on people beats objects" in text
    monkeypatch.setattr(claims, "train", None)
    claims.main(tmp_path, toy=True, device="cpu", workers=0)
    assert (tmp_path / "claims.md").read_text() == text
