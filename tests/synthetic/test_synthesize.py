"""Synthetic frames: labels that agree with each other, and sets that are the same however they are made."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from opensapiens.data.shards import ShardDataset
from opensapiens.data.workers import WorkerDied
from opensapiens.labels.keypoints import SAPIENS_308
from opensapiens.storage.folders import FolderError
from opensapiens.synthetic import synthesize as synthesize_module
from opensapiens.synthetic.frame import Frame
from opensapiens.synthetic.people_renderer import PeopleRenderer
from opensapiens.synthetic.rotations import rotation_about, rotation_between
from opensapiens.synthetic.style import Style
from opensapiens.synthetic.synthesize import SynthesisError, synthesize, usable_files

SMALL = Style(size=(128, 96))


def test_labels_of_a_frame_agree(frames: list[Frame]) -> None:
    assert sum(len(frame.record["persons"]) for frame in frames) >= 10
    for frame in frames:
        somebody = frame.instances > 0
        np.testing.assert_array_equal(frame.parts > 0, somebody)
        np.testing.assert_array_equal(np.isfinite(frame.depth), somebody)
        np.testing.assert_array_equal(np.isfinite(frame.normals).all(-1), somebody)
        np.testing.assert_allclose(np.linalg.norm(frame.normals[somebody], axis=1), 1, atol=1e-3)
        for person in frame.record["persons"]:
            mask = frame.instances == person["id"]
            left, top, right, bottom = person["box"]
            assert mask[:, left].any() and mask[:, right - 1].any() and mask[top].any() and mask[bottom - 1].any()
            assert mask.sum() == mask[top:bottom, left:right].sum() == person["visible_pixels"]
            for x, y, visibility in person["keypoints"]:
                if visibility == 2:
                    assert mask[round(y), round(x)]


def test_normals_are_those_of_the_depth(frames: list[Frame]) -> None:
    """Axes, signs and camera of the two labels at once: +x right, +y up, +z towards the camera."""
    angles = []
    for frame in frames:
        camera = frame.record["camera"]
        y, x = np.mgrid[: frame.depth.shape[0], : frame.depth.shape[1]]
        d = frame.depth
        points = np.stack([(x - camera["cx"]) / camera["fx"] * d, (camera["cy"] - y) / camera["fy"] * d, -d], -1)
        right, up = points[1:-1, 2:] - points[1:-1, :-2], points[:-2, 1:-1] - points[2:, 1:-1]
        normals = np.cross(right, up)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        cosine = (normals * frame.normals[1:-1, 1:-1]).sum(-1)
        angles.append(np.rad2deg(np.arccos(cosine[np.isfinite(cosine)].clip(-1, 1))))
    assert np.median(np.concatenate(angles)) < 12


def test_left_parts_are_near_left_points(frames: list[Frame]) -> None:
    """Hand and foot classes lie around the wrists and heels of their own side."""
    nearer = []
    for frame in frames:
        for person in frame.record["persons"]:
            points = np.array(person["keypoints"])[:, :2]
            for part, own, other in ((5, "left_wrist", "right_wrist"), (14, "right_wrist", "left_wrist")):
                pixels = np.argwhere((frame.parts == part) & (frame.instances == person["id"]))[:, ::-1]
                if len(pixels) > 20:
                    to_own, to_other = (
                        np.linalg.norm(pixels - points[SAPIENS_308.index(name)], axis=1).mean() for name in (own, other)
                    )
                    nearer.append(to_own < to_other)
    assert len(nearer) >= 5 and np.mean(nearer) > 0.8


def test_frames_show_people_of_many_kinds(renderer: PeopleRenderer) -> None:
    rng = np.random.default_rng(0)
    people = [renderer.model.draw(rng) for _ in range(200)]
    assert len({person.activity for person in people}) > 10
    ages = np.array([person.phenotype["age"] for person in people])
    assert (ages < 0.3).any() and (ages > 0.9).any()
    assert np.ptp([person.yaw for person in people]) > 340


def test_rotations_turn_as_said() -> None:
    np.testing.assert_allclose(rotation_about(np.array([0, 0, 2.0]), 90) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    source, target = np.array([1.0, 2, 3]), np.array([-2.0, 0.5, 1])
    turned = rotation_between(source, target) @ source
    np.testing.assert_allclose(turned / np.linalg.norm(turned), target / np.linalg.norm(target), atol=1e-12)
    opposite = rotation_between(source, -source) @ source
    np.testing.assert_allclose(opposite, -source, atol=1e-4)


def test_a_set_is_the_same_with_more_workers_and_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesize_module, "FRAMES_PER_SHARD", 16)
    one, two = tmp_path / "one", tmp_path / "two"
    synthesize(20, one, seed=3, workers=1, style=SMALL)
    synthesize(20, two, seed=3, workers=2, style=SMALL)
    names = sorted(path.name for path in one.iterdir())
    assert names == [
        "000000.tar", "000001.tar", "card.json", "card.png", "contact_sheet.jpg", "identity.json", "manifest.json",
    ]  # fmt: skip
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)

    (two / "000001.tar").unlink()
    kept = (two / "000000.tar").stat().st_mtime_ns
    synthesize(20, two, seed=3, workers=1, style=SMALL)
    assert (one / "000001.tar").read_bytes() == (two / "000001.tar").read_bytes()
    assert (two / "000000.tar").stat().st_mtime_ns == kept

    assert json.loads((one / "manifest.json").read_text())["shards"] == ["000000.tar", "000001.tar"]
    sample = ShardDataset(one)[0]
    assert sample.keypoints is not None and sample.keypoints.shape == (308, 3)
    with pytest.raises(FolderError, match="choose another folder"):
        synthesize(20, two, seed=4, style=SMALL)


def test_another_seed_gives_other_frames(renderer: PeopleRenderer) -> None:
    first, second = (next(renderer.frames(seed, 0, 1, SMALL)) for seed in (1, 2))
    assert (first.image != second.image).mean() > 0.5


def test_frames_that_end_their_process_are_named_and_the_others_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [[(f"{first:08d}", {"jpg": b"x"})] * 16 for first in (0, 16, 64)]

    def some_die(do: object, jobs: list, *_: object) -> Iterator[object]:
        assert [job[1:3] for job in jobs] == [(0, 16), (16, 16), (32, 16), (48, 16), (64, 8)]
        yield from [made[0], made[1], WorkerDied("it died"), made[1], made[2]]

    monkeypatch.setattr(synthesize_module, "FRAMES_PER_SHARD", 32)
    monkeypatch.setattr(synthesize_module, "run_in_processes", some_die)
    with pytest.raises(SynthesisError, match="frames 32 to 47: it died"):
        synthesize(72, tmp_path, style=SMALL)
    assert [path.name for path in sorted(tmp_path.glob("*.tar"))] == ["000000.tar", "000002.tar"]
    assert not (tmp_path / "manifest.json").exists()

    monkeypatch.setattr(synthesize_module, "run_in_processes", lambda do, jobs, *_: iter([None, WorkerDied("it died")]))
    assert usable_files([tmp_path / "a", tmp_path / "b"]) == ([tmp_path / "a"], [f"{tmp_path / 'b'}: it died"])
