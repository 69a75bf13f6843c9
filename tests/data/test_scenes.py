from pathlib import Path

import cv2
import numpy as np
import pytest

from opensapiens.data.label_kinds import PARTS
from opensapiens.data.repaint import GARMENTS
from opensapiens.data.scenes import FrameDataset, Layers, Scenes, SceneSettings
from opensapiens.data.shards import encode_frame, write_manifest, write_shard
from opensapiens.labels.keypoint_maps import source_indices
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308

SIZE = (96, 128)
RED, BLUE, GREEN = (250, 10, 10), (10, 10, 250), (10, 200, 10)


def record(person: int, box: tuple[int, int, int, int], seen: int) -> dict:
    """`seen` of COCO's points are visible."""
    points = np.zeros((308, 3))
    points[source_indices(SAPIENS_308, COCO_17)[:seen], 2] = 2
    return {"id": person, "box": list(box), "keypoints": points.tolist()}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frames of 96x128: a red person and a blue one of whom little is seen, before gray; and nobody."""
    folder = tmp_path_factory.mktemp("frames")
    image = np.full((*SIZE, 3), 128, np.uint8)
    owners = np.zeros(SIZE, np.uint8)
    for owner, (x1, y1, x2, y2), color in ((1, (20, 10, 50, 90), RED), (2, (80, 40, 100, 90), BLUE)):
        image[y1:y2, x1:x2], owners[y1:y2, x1:x2] = color, owner
    people = [record(1, (20, 10, 50, 90), 17), record(2, (80, 40, 100, 90), 1)]
    empty = encode_frame(np.full((*SIZE, 3), 128, np.uint8), np.zeros(SIZE, np.uint8), {}, {"persons": []})
    write_shard(folder / "000000.tar", [("0", encode_frame(image, owners, {}, {"persons": people})), ("1", empty)])
    write_manifest(folder, {"count": 2, "seed": 0, "shards": ["000000.tar"]})
    return folder


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with a green photo, and one with a black thing on transparent ground."""
    photos, things = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("things")
    cv2.imwrite(str(photos / "a.png"), np.full((200, 300, 3), GREEN[::-1], np.uint8))
    thing = np.zeros((40, 40, 4), np.uint8)
    thing[5:35, 5:35, 3] = 255
    cv2.imwrite(str(things / "t.png"), thing)
    return photos, things


def test_a_frame_has_everybody_and_says_who_may_be_missed(frames: Path) -> None:
    dataset = FrameDataset(frames)
    assert len(dataset) == 2
    assert dataset[0].people.tolist() == [[20, 10, 50, 90, 1], [80, 40, 100, 90, 0]]
    assert dataset[1].people.shape == (0, 5)
    with pytest.raises(IndexError):
        dataset[2]


def test_who_is_mostly_hidden_or_tiny_may_be_missed() -> None:
    owners = np.zeros((60, 60), np.uint8)
    owners[0:30, 0:20], owners[0:8, 30:40], owners[40:44, 40:44] = 1, 2, 3
    layers = Layers(np.zeros((60, 60, 3), np.uint8), owners, {1: 600.0, 2: 80.0, 3: 16.0})
    assert layers.people().tolist() == [[0, 0, 20, 30, 1], [30, 0, 40, 8, 0]], "the third is too little to be anybody"
    assert Layers(layers.image, owners, {1: 2500.0, 2: 80.0, 3: 16.0}).people()[0, 4] == 0


def test_clothes_take_the_colors_of_photos(tmp_path: Path, surroundings: tuple[Path, Path]) -> None:
    image, owners = np.full((*SIZE, 3), 128, np.uint8), np.zeros(SIZE, np.uint8)
    image[10:90, 20:50], owners[10:90, 20:50] = RED, 1
    labels = {PARTS: np.where(owners > 0, GARMENTS[0][0], 0).astype(np.uint8)}
    content = encode_frame(image, owners, labels, {"persons": [record(1, (20, 10, 50, 90), 17)]})
    write_shard(tmp_path / "000000.tar", [("0", content)])
    write_manifest(tmp_path, {"count": 1, "seed": 0, "shards": ["000000.tar"]})
    red = {}
    for repainted in (0.0, 1.0):
        settings = SceneSettings(**{**ONLY, "frame_chance": 1.0, "zoom": (1.0, 1.0), "repainted": repainted})
        scenes = Scenes([tmp_path], surroundings[0], size=(128, 128), seed=3, settings=settings)
        pictures = [scenes.compose(np.random.default_rng(seed)).image for seed in range(8)]
        red[repainted] = sum(
            int((one[..., 0].astype(int) - one[..., 1:].max(axis=-1) > 60).sum() > 1000) for one in pictures
        )
    assert red[0.0] == 8 and 0 < red[1.0] < 6, "each garment at a chance of 0.7"


ONLY = {"frame_chance": 0.0, "cutout_chance": 0.0, "mosaic_chance": 0.0, "things": 0.0}


@pytest.mark.parametrize("kind", ["frame_chance", "cutout_chance", "mosaic_chance"])
def test_boxes_lie_around_the_people(kind: str, frames: Path, surroundings: tuple[Path, Path]) -> None:
    settings = SceneSettings(**{**ONLY, kind: 1.0 if kind != "mosaic_chance" else 0.5, "cutout_chance": 0.4})
    if kind == "frame_chance":
        settings = SceneSettings(**{**ONLY, kind: 1.0})
    scenes = Scenes([frames], surroundings[0], size=(128, 128), seed=3, settings=settings)
    seen = 0
    for index in range(12):
        layers = scenes.compose(np.random.default_rng(index))
        red = (layers.image[..., 0].astype(int) - layers.image[..., 1:].max(axis=-1)) > 60
        boxes = layers.people()
        for x1, y1, x2, y2, counted in boxes:
            inside = red[int(y1) : int(y2), int(x1) : int(x2)]
            if counted:
                assert inside.mean() > 0.5, (index, boxes)
                seen += 1
    assert seen >= 5


def test_only_people_who_are_seen_well_are_cut_out(frames: Path, surroundings: tuple[Path, Path]) -> None:
    settings = SceneSettings(**{**ONLY, "cutout_chance": 1.0})
    scenes = Scenes([frames], surroundings[0], size=(96, 96), seed=5, settings=settings)
    for index in range(10):
        image = scenes.compose(np.random.default_rng(index)).image.astype(int)
        assert ((image[..., 2] - image[..., :2].max(axis=-1)) > 100).sum() == 0, "the blue one is never pasted"


def test_photos_alone_have_nobody_and_things_hide_people(frames: Path, surroundings: tuple[Path, Path]) -> None:
    alone = Scenes([frames], surroundings[0], size=(96, 96), settings=SceneSettings(**ONLY))
    assert all(len(alone[index].people) == 0 for index in range(5))
    crowded = SceneSettings(**{**ONLY, "cutout_chance": 1.0, "things": 30.0, "people": (0.0, 1.0)})
    scenes = Scenes([frames], *surroundings, size=(96, 96), settings=crowded)
    shares = []
    for index in range(10):
        layers = scenes.compose(np.random.default_rng(index))
        shares += [(layers.owners == owner).sum() / whole for owner, whole in layers.whole.items()]
    assert min(shares) < 0.5


def test_a_picture_depends_on_seed_and_number_alone(frames: Path, surroundings: tuple[Path, Path]) -> None:
    one, two = (Scenes([frames], *surroundings, size=(64, 96), seed=1) for _ in range(2))
    two[4]
    for index in (7, 3):
        assert (one[index].image == two[index].image).all() and (one[index].people == two[index].people).all()
        assert one[index].image.shape == (64, 96, 3)
    assert (one[7].image != Scenes([frames], *surroundings, size=(64, 96), seed=2)[7].image).any()


def test_frames_are_enough(frames: Path) -> None:
    scenes = Scenes([frames], size=(64, 64), count=8)
    assert len(scenes) == 8 and scenes[0].image.shape == (64, 64, 3)
    with pytest.raises(IndexError):
        scenes[8]
