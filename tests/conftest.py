"""What tests of several folders share: a few tiny shards of invented people."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from opensapiens.data.label_kinds import DEPTH, NORMALS, PARTS
from opensapiens.data.shards import encode_frame, write_manifest, write_shard


@pytest.fixture(scope="session", autouse=True)
def conversions_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Converted networks are kept for the tests, not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENSAPIENS_CACHE", str(tmp_path_factory.mktemp("conversions")))
        yield


def fake_frame(generator: np.random.Generator, height: int, width: int, persons: int = 2) -> dict[str, bytes]:
    """A frame of `persons` ellipses with random labels in them."""
    rows, columns = np.mgrid[:height, :width]
    image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    instances = np.zeros((height, width), np.uint8)
    parts = np.zeros((height, width), np.uint8)
    depth = np.full((height, width), np.nan, np.float32)
    normals = np.full((height, width, 3), np.nan, np.float32)
    records = []
    for person in range(1, persons + 1):
        x, y = width * (person - 0.5) / persons, height / 2
        inside = ((columns - x) / (width * 0.4 / persons)) ** 2 + ((rows - y) / (height * 0.4)) ** 2 < 1
        instances[inside] = person
        parts[inside] = generator.integers(1, 28, inside.sum())
        depth[inside] = 2 + person + 0.01 * columns[inside] + 0.005 * rows[inside]
        vectors = generator.normal(size=(inside.sum(), 3))
        normals[inside] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        ys, xs = np.nonzero(inside)
        box = [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]
        points = generator.uniform(box[:2], box[2:], (308, 2)).round(2)
        keypoints = np.column_stack([points, generator.integers(0, 3, 308)]).tolist()
        records.append({"id": person, "box": box, "keypoints": keypoints})
    record = {"width": width, "height": height, "depth_scale": 0.001, "persons": records}
    return encode_frame(image, instances, {PARTS: parts, DEPTH: depth, NORMALS: normals}, record)


@pytest.fixture(scope="session")
def people_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two shards with three frames each, two people a frame: 12 samples of 96 x 80 pixels."""
    folder = tmp_path_factory.mktemp("shards")
    generator = np.random.default_rng(0)
    for shard in range(2):
        frames = [(f"{3 * shard + i:08d}", fake_frame(generator, 96, 80)) for i in range(3)]
        write_shard(folder / f"{shard:06d}.tar", frames)
    write_manifest(folder, {"count": 6, "seed": 0, "shards": ["000000.tar", "000001.tar"]})
    return folder
