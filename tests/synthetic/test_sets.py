"""What stands beside shards: folders with COCO annotations, and the data card. No rendering."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from opensapiens.data.coco import read_coco_persons
from opensapiens.data.label_kinds import ALBEDO, ALPHA, DEPTH, NORMALS, PARTS, POINTS
from opensapiens.data.shards import ShardDataset, encode_frame, write_shard
from opensapiens.geometry.cameras import PinholeCamera
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308, WHOLEBODY_133, KeypointSet
from opensapiens.recipes.labeled_people import people_with_maps
from opensapiens.synthetic.card import data_card, write_card
from opensapiens.synthetic.folders import unpack


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three frames of one drawn person: at left, at right, and none."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(3):
        instances = np.zeros((40, 60), np.uint8)
        instances[5:35, 10 + 20 * number : 25 + 20 * number] = number < 2
        points = np.stack([rng.uniform(10, 25, 308), rng.uniform(5, 35, 308), rng.integers(0, 3, 308)], 1).round(2)
        person = {
            "id": 1,
            "box": [10 + 20 * number, 5, 25 + 20 * number, 35],
            "keypoints": points.tolist(),
            "height_fraction": 0.75,
            "yaw_degrees": (90.0, -170.0, 0.0)[number],
            "occluded_fraction": 0.1,
            "truncated": number == 1,
            "pose": "standing",
            "age": 0.7,
            "body": {"phenotype": {"weight": 0.25, "height": 0.5, "gender": 0.9}},
        }
        record = {"width": 60, "height": 40, "camera": {}, "persons": [person] * (number < 2)}
        depth = np.where(instances > 0, 2.0, np.nan).astype(np.float32)
        normals = np.where(instances[..., None] > 0, [0.0, 0, 1], np.nan).astype(np.float32)
        labels = {PARTS: instances, DEPTH: depth, NORMALS: normals}
        frames.append((f"{number:08d}", encode_frame(np.zeros((40, 60, 3), np.uint8), instances, labels, record)))
    write_shard(tmp_path / "shards" / "000000.tar", frames)
    return tmp_path / "shards"


@pytest.mark.parametrize("keypoints", [COCO_17, WHOLEBODY_133, SAPIENS_308], ids=lambda k: k.name)
def test_coco_files_hold_what_the_shards_hold(shards: Path, tmp_path: Path, keypoints: KeypointSet) -> None:
    unpack(shards, tmp_path / "out")
    persons = read_coco_persons(tmp_path / "out" / f"{keypoints.name}.json", tmp_path / "out" / "images", keypoints)
    dataset = ShardDataset(shards)
    assert len(persons) == len(dataset) == 2
    for person, index in zip(persons, range(2), strict=True):
        sample = dataset[index]
        np.testing.assert_array_equal(person.sample().image, sample.image)
        assert sample.box is not None and sample.mask is not None and sample.keypoints is not None
        np.testing.assert_allclose(person.box, sample.box.clip(0, [59, 39, 59, 39]))
        assert person.area == sample.mask.sum()
        assert person.keypoints is not None
        known = 0
        for i, name in enumerate(keypoints.names):
            if name in SAPIENS_308.names:
                x, y, visibility = sample.keypoints[SAPIENS_308.index(name)]
                fine = keypoints is WHOLEBODY_133 and keypoints.groups[i] not in ("body", "foot")
                expected = (2.0 if fine and visibility > 0 else visibility) if visibility > 0 else 0
                np.testing.assert_allclose(person.keypoints[i], [x, y, expected] if visibility > 0 else [0, 0, 0])
                known += 1
        assert known >= 17


def test_folders_hold_the_same_bytes(shards: Path, tmp_path: Path) -> None:
    out = unpack(shards, tmp_path / "out")
    stored = ShardDataset(shards).read_bytes(1)
    assert (out / "images" / "00000001.jpg").read_bytes() == stored["jpg"]
    assert (out / "depth" / "00000001.png").read_bytes() == stored["depth.png"]
    assert (out / "records" / "00000001.json").read_bytes() == stored["json"]
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == [
        "depth", "images", "instances", "normals", "parts", "records",
    ]  # fmt: skip


def test_folders_of_all_labels_are_read_as_the_shards_are(tmp_path: Path) -> None:
    instances = np.zeros((40, 60), np.uint8)
    instances[5:35, 10:25] = 1
    camera, (rows, columns) = PinholeCamera(50, 50, 29.5, 19.5), np.indices(instances.shape)
    depth = np.where(instances > 0, 2.0 + 0.01 * rows, np.nan)
    labels = {
        POINTS: camera.unproject(np.stack([columns, rows], axis=-1), depth).astype(np.float32),
        ALPHA: cv2.GaussianBlur(instances.astype(np.float32), (0, 0), 1.0),
        ALBEDO: np.where(instances[..., None] > 0, [0.2, 0.6, 0.4], np.nan),
    }
    person = {"id": 1, "box": [10, 5, 25, 35], "keypoints": None}
    record = {"width": 60, "height": 40, "persons": [person]}
    files = encode_frame(np.zeros((40, 60, 3), np.uint8), instances, labels, record)
    write_shard(tmp_path / "shards" / "000000.tar", [("00000000", files)])
    out = unpack(tmp_path / "shards", tmp_path / "out")
    for kind in (POINTS, ALPHA, ALBEDO):
        stored, unpacked = (people_with_maps(folder, kind)[0] for folder in (tmp_path / "shards", out))
        np.testing.assert_array_equal(stored.mask, unpacked.mask)
        known = np.ones_like(instances, bool) if kind is ALPHA else instances > 0
        np.testing.assert_array_equal(stored.labels[kind][known], unpacked.labels[kind][known])


def test_a_card_counts_what_the_records_say(shards: Path) -> None:
    card = data_card(shards)
    assert (card["frames"], card["persons"]) == (3, 2)
    histograms = card["histograms"]
    assert histograms["people per frame"] == {"0": 1, "1": 2}
    assert histograms["facing"] == {"back": 1, "right side": 1}
    assert histograms["truncated"] == {"no": 1, "yes": 1}
    assert histograms["build"] == {"0.2-0.3": 2} and histograms["gender"] == {"0.9-1.0": 2}
    write_card(shards)
    assert json.loads((shards / "card.json").read_text()) == card
    picture = cv2.imread(str(shards / "card.png"))
    assert picture is not None and (picture < 200).any()
