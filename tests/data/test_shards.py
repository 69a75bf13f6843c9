"""Shards: what is written is read back, the same bytes every time, and damage is named."""

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from opensapiens.data.label_kinds import ALBEDO, ALPHA, DEPTH, MASK, NORMALS, PARTS, POINTS, STORED_KINDS, LabelKind
from opensapiens.data.shards import ShardDataset, ShardError, encode_frame, shard_paths, write_shard
from opensapiens.storage.tars import TarError


def frame() -> dict[str, bytes]:
    """Two people side by side in 40 x 32 pixels."""
    instances = np.zeros((40, 32), np.uint8)
    instances[5:35, 2:14], instances[10:30, 16:30] = 1, 2
    parts = np.where(instances > 0, instances + 3, 0).astype(np.uint8)
    depth = np.where(instances > 0, 1.5 + instances, np.nan).astype(np.float32)
    normals = np.where(instances[..., None] > 0, np.array([0.6, 0.0, 0.8], np.float32), np.nan)
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 32, 3), dtype=np.uint8), (0, 0), 4)
    persons = [
        {"id": i, "box": [x, y, w, h], "keypoints": [[x, y, 2]] * 308}
        for i, x, y, w, h in [(1, 2, 5, 14, 35), (2, 16, 10, 30, 30)]
    ]
    record = {"width": 32, "height": 40, "depth_scale": 0.001, "persons": persons}
    labels = {PARTS: parts, DEPTH: depth, NORMALS: normals, ALPHA: soft(instances)}
    labels |= {POINTS: normals * depth[..., None], ALBEDO: np.abs(normals)}
    return encode_frame(image, instances, labels, record)


def soft(instances: np.ndarray) -> np.ndarray:
    """Alpha of everybody, with edges that are a pixel and a half wide."""
    return cv2.GaussianBlur((instances > 0).astype(np.float32), (0, 0), 1.0)


def test_alpha_around_people_is_theirs_and_sums_to_all(tmp_path: Path) -> None:
    content = frame()
    write_shard(tmp_path / "0.tar", [("a", content)])
    dataset = ShardDataset(tmp_path, kinds=(ALPHA,))
    first, second = (dataset[index] for index in range(2))
    total = cv2.imdecode(np.frombuffer(content["alpha.png"], np.uint8), cv2.IMREAD_UNCHANGED) / np.float32(255)
    np.testing.assert_array_equal(first.labels[ALPHA] + second.labels[ALPHA], total)
    assert first.mask is not None and second.mask is not None
    assert first.labels[ALPHA][4, 8] > 0.1 and second.labels[ALPHA][20, 31] > 0.1  # outside of their masks
    assert not first.labels[ALPHA][second.mask].any() and not second.labels[ALPHA][first.mask].any()


def test_points_and_albedo_are_those_of_the_person(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", [("a", frame())])
    second = ShardDataset(tmp_path)[1]
    assert second.mask is not None
    np.testing.assert_array_equal(np.isfinite(second.labels[POINTS]).all(-1), second.mask)
    np.testing.assert_array_equal(
        second.labels[POINTS][second.mask], np.broadcast_to(np.float32([0.6, 0, 0.8]) * np.float32(3.5), (280, 3))
    )
    np.testing.assert_allclose(second.labels[ALBEDO][second.mask], [[0.6, 0, 0.8]] * 280, atol=0.501 / 255)
    assert np.isnan(second.labels[ALBEDO][~second.mask]).all()


def test_a_person_is_read_back_without_the_others(tmp_path: Path) -> None:
    write_shard(tmp_path / "000000.tar", [("00000007", frame())])
    dataset = ShardDataset(tmp_path)
    assert len(dataset) == 2
    sample = dataset[1]
    inside = np.zeros((40, 32), bool)
    inside[10:30, 16:30] = True
    assert sample.key == "000000.tar/00000007#2"
    assert sample.mask is not None and sample.parts is not None and sample.depth is not None
    np.testing.assert_array_equal(sample.mask, inside)
    np.testing.assert_array_equal(sample.parts, np.where(inside, 5, 0))
    np.testing.assert_allclose(sample.depth, np.where(inside, 3.5, np.nan), atol=0.0005)
    assert sample.normals is not None and sample.keypoints is not None and sample.box is not None
    assert np.isnan(sample.normals[~inside]).all()
    np.testing.assert_allclose(sample.normals[inside], np.tile([0.6, 0, 0.8], (280, 1)), atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(sample.normals[inside], axis=-1), 1, atol=1e-6)
    assert sample.keypoints.shape == (308, 3) and sample.box.tolist() == [16, 10, 30, 30]


def test_colors_are_rgb(tmp_path: Path) -> None:
    content = frame()
    red = np.zeros((40, 32, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    content["jpg"] = cv2.imencode(".jpg", red)[1].tobytes()
    write_shard(tmp_path / "0.tar", [("a", content)])
    assert ShardDataset(tmp_path)[0].image[20, 16].tolist()[0] > 250


def test_the_order_of_people_goes_over_shards(people_shards: Path) -> None:
    dataset = ShardDataset(people_shards)
    assert len(dataset) == 12
    assert [dataset[i].key for i in (0, 1, 5, 6, 11)] == [
        "000000.tar/00000000#1",
        "000000.tar/00000000#2",
        "000000.tar/00000002#2",
        "000001.tar/00000003#1",
        "000001.tar/00000005#2",
    ]
    assert len(ShardDataset(shard_paths(people_shards)[1:])) == 6
    with pytest.raises(IndexError):
        dataset[12]


def test_kinds_that_are_not_asked_for_are_not_there(people_shards: Path) -> None:
    whole, pose, parts = (ShardDataset(people_shards, kinds)[3] for kinds in (STORED_KINDS, (), (PARTS,)))
    assert pose.parts is None and pose.depth is None and pose.normals is None
    assert parts.depth is None and parts.normals is None and parts.parts is not None
    np.testing.assert_array_equal(parts.parts, whole.parts)
    for sample in (pose, parts):
        np.testing.assert_array_equal(sample.mask, whole.mask)
        np.testing.assert_array_equal(sample.keypoints, whole.keypoints)


def test_same_frames_same_bytes_and_nothing_but_the_shard_remains(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shard(tmp_path / name / "0.tar", [("k", frame())])
    assert (tmp_path / "a/0.tar").read_bytes() == (tmp_path / "b/0.tar").read_bytes()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["0.tar"]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def frames():  # type: ignore[no-untyped-def]
        yield "k", frame()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "0.tar", frames())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["jpg", "normals.png", "points.npz", "json"])
def test_a_damaged_member_is_named(tmp_path: Path, suffix: str) -> None:
    content = frame()
    content[suffix] = content[suffix][:20]
    write_shard(tmp_path / "000003.tar", [("00000812", content)])
    with pytest.raises(ShardError, match=rf"000003.tar/00000812.{suffix}"):
        ShardDataset(tmp_path)[0]


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    content = frame()
    del content["instances.png"]
    write_shard(tmp_path / "0.tar", [("00000812", content)])
    with pytest.raises(ShardError, match=r"0.tar/00000812: no instances.png"):
        ShardDataset(tmp_path)


@pytest.mark.parametrize("kind", STORED_KINDS, ids=lambda kind: kind.name)
def test_a_label_that_is_not_known_is_not_there(tmp_path: Path, kind: LabelKind) -> None:
    content = frame()
    del content[kind.member]
    write_shard(tmp_path / "0.tar", [("a", content)])
    sample = ShardDataset(tmp_path)[0]
    assert set(sample.labels) == {MASK, *STORED_KINDS} - {kind}


def test_a_record_without_keypoints_and_maps_of_another_size_are_named(tmp_path: Path) -> None:
    content = frame()
    record = json.loads(content["json"])
    del record["persons"][0]["keypoints"]
    write_shard(tmp_path / "0.tar", [("a", {**content, "json": json.dumps(record).encode()})])
    with pytest.raises(ShardError, match=r"0.tar/a#1.*keypoints"):
        ShardDataset(tmp_path)[0]
    small = cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes()
    write_shard(tmp_path / "0.tar", [("a", {**content, "parts.png": small})])
    with pytest.raises(ShardError, match=r"0.tar/a.parts.png: its size"):
        ShardDataset(tmp_path)[0]
    for member in ("parts.png", "depth.png", "alpha.png", "instances.png"):  # of three channels
        write_shard(tmp_path / "0.tar", [("a", {**content, member: content["normals.png"]})])
        with pytest.raises(ShardError, match=rf"0.tar/a.{member}: its size differs .*\(40, 32, 3\)"):
            ShardDataset(tmp_path)[0]
    flat, objects = io.BytesIO(), io.BytesIO()
    np.savez(flat, data=np.zeros((40, 32), np.float32))
    np.savez(objects, data=np.array([[None]]))
    for file, sentence in ((flat, "its size differs"), (objects, "holds Python objects")):
        write_shard(tmp_path / "0.tar", [("a", {**content, "points.npz": file.getvalue()})])
        with pytest.raises(ShardError, match=rf"0.tar/a.points.npz: {sentence}"):
            ShardDataset(tmp_path)[0]


def test_no_shards_and_no_tar_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no \*.tar shard"):
        ShardDataset(tmp_path)
    (tmp_path / "0.tar").write_bytes(b"this is no tar" * 100)
    with pytest.raises(TarError, match="not a readable tar"):
        ShardDataset(tmp_path)


def test_a_truncated_shard_is_an_error(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", [("a", frame()), ("b", frame())])
    whole = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TarError, match=r"0.tar"):
        ShardDataset(tmp_path)


def test_names_with_folders_are_only_keys(tmp_path: Path) -> None:
    """Members are read by offset; a name that points elsewhere touches nothing."""
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for suffix, data in frame().items():
            member = tarfile.TarInfo(f"../../{'x'}.{suffix}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert ShardDataset(tmp_path)[0].key == "0.tar/x#1"
