"""People rendered while training: samples are functions of seed and number, and agree with themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from opensapiens.data.crop import crop_sample
from opensapiens.data.sample import Sample
from opensapiens.data.shards import ShardError
from opensapiens.labels.keypoints import SAPIENS_308
from opensapiens.labels.parts import SAPIENS_28
from opensapiens.synthetic import people as people_module
from opensapiens.synthetic.frame import Frame
from opensapiens.synthetic.people import SyntheticPeople, open_people, sample_of
from opensapiens.synthetic.people_renderer import PeopleRenderer
from opensapiens.synthetic.style import Style

SMALL = Style(size=(96, 72))
FACE_PARTS = {"Face_Neck", "Hair", "Apparel", "Lower_Lip", "Upper_Lip", "Lower_Teeth", "Upper_Teeth", "Tongue"}


@pytest.fixture
def people(renderer: PeopleRenderer, monkeypatch: pytest.MonkeyPatch) -> SyntheticPeople:
    """Small samples, from the body model that is loaded already."""
    monkeypatch.setattr(people_module, "_renderer", lambda surroundings: renderer)
    return SyntheticPeople(seed=7, count=6, style=SMALL)


def assert_same(one: Sample, other: Sample) -> None:
    assert one.key == other.key
    for name in ("image", "box", "keypoints", "parts", "depth", "normals", "mask"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_samples_are_the_same_alone_in_a_batch_and_in_loader_processes(people: SyntheticPeople) -> None:
    together = people.__getitems__([0, 4, 2])
    assert_same(together[1], people[4])
    loader = DataLoader(people, batch_size=3, sampler=[0, 4, 2], num_workers=2, collate_fn=list)  # type: ignore[arg-type]
    (batch,) = list(loader)
    for one, other in zip(together, batch, strict=True):
        assert_same(one, other)
    assert torch.get_num_threads() >= 1
    assert (together[0].image != together[1].image).any()


def test_a_sample_is_that_frame_of_the_shards(people: SyntheticPeople, renderer: PeopleRenderer) -> None:
    (frame,) = renderer.frames(seed=7, first=4, count=1, style=SMALL)
    same = (np.abs(people[4].image.astype(int) - frame.image) < 8).all(-1)
    assert same.mean() > 0.98


def test_where_nobody_is_in_sight_another_frame_is_tried(people: SyntheticPeople, monkeypatch) -> None:
    original, tried = PeopleRenderer.frames_of, []

    def empty_at_first(self, seeds, style, batch):
        frame = next(original(self, seeds, style, batch))
        tried.append(seeds[0])
        if len(tried) < 3:
            frame.record["persons"].clear()
        yield frame

    monkeypatch.setattr(PeopleRenderer, "frames_of", empty_at_first)
    assert people[1].mask is not None
    assert tried == [(7, 1), (7, 1, 2, 1), (7, 1, 2, 2)]


def test_what_data_names_is_opened(tmp_path: Path) -> None:
    people = open_people("synthetic:3:1000000")
    assert isinstance(people, SyntheticPeople) and (people.seed, len(people)) == (3, 1_000_000)
    with pytest.raises(IndexError):
        people[1_000_000]
    for wrong in ("synthetic:3", "synthetic:x:5", "synthetic:3:0"):
        with pytest.raises(ValueError, match=r"synthetic|at least one"):
            open_people(wrong)
    with pytest.raises(ShardError):
        open_people(tmp_path)


def parts_under_points(sample: Sample) -> list[tuple[str, str]]:
    """(point, part) for each point in sight."""
    assert sample.keypoints is not None and sample.parts is not None
    height, width = sample.parts.shape
    return [
        (SAPIENS_308.names[i], SAPIENS_28.names[sample.parts[round(float(y)), round(float(x))]])
        for i, (x, y, visibility) in enumerate(sample.keypoints)
        if visibility == 2 and 0 <= round(float(x)) < width and 0 <= round(float(y)) < height
    ]


def share_right(pairs: list[tuple[str, str]]) -> tuple[float, int]:
    """Share of points whose part is of their own side and, on faces and fingers, of their own place."""
    right = []
    for point, part in pairs:
        group = SAPIENS_308.groups[SAPIENS_308.index(point)]
        side = "Left" if point.startswith("left_") else "Right" if point.startswith("right_") else ""
        if part.startswith(("Left_", "Right_")) and side:
            right.append(part.startswith(side))
        if "face" in group:
            right.append(part in FACE_PARTS)
        if "hand" in group and part.endswith("Hand"):
            right.append(part == f"{side}_Hand")
    return float(np.mean(right)), len(right)


def test_points_in_sight_lie_on_their_parts_before_and_after_a_flip(frames: list[Frame]) -> None:
    plain, flipped = [], []
    for frame in frames:
        for number in range(len(frame.record["persons"])):
            sample = sample_of(frame, number, "")
            plain += parts_under_points(sample)
            height, width = sample.image.shape[:2]
            center, scale = np.array([(width - 1) / 2, (height - 1) / 2]), np.array([width, height], float)
            mirrored = crop_sample(sample, (height, width), center, scale, 0.0, True)
            flipped += parts_under_points(mirrored)
    for pairs in (plain, flipped):
        share, count = share_right(pairs)
        assert count > 400 and share > 0.94


def test_points_in_space_are_seen_where_the_points_of_the_picture_are(frames: list[Frame]) -> None:
    gaps = []
    for frame in frames:
        camera = frame.record["camera"]
        for person in frame.record["persons"]:
            points = np.array(person["keypoints_3d"])
            local = (points - camera["position"]) @ np.array(camera["rotation"]).T
            x = camera["cx"] + camera["fx"] * local[:, 0] / -local[:, 2]
            y = camera["cy"] - camera["fy"] * local[:, 1] / -local[:, 2]
            known = np.array(person["keypoints"])
            ahead = local[:, 2] < -0.2
            np.testing.assert_allclose(np.stack([x, y], 1)[ahead], known[ahead, :2], atol=0.05)
            visible = known[:, 2] == 2
            column, row = np.rint(known[visible, :2]).astype(int).T
            gap = -local[visible, 2] - frame.depth[row, column]
            gaps.append(gap)
            assert set(person["body"]) == {"phenotype", "expression", "rotations"}
    gap = np.concatenate(gaps)
    assert len(gap) > 500 and np.mean(gap < 0.18) > 0.999 and np.median(np.abs(gap)) < 0.02
