"""The tar shards of labeled frames that the synthetic generator writes and training reads.

A shard is a plain tar (uncompressed, readable by webdataset) of frames. The members of one frame share a key:

    KEY.jpg            RGB image
    KEY.instances.png  uint8, 0 = nobody, i = person i
    KEY.parts.png      uint8 body-part class of everybody (SAPIENS_28)
    KEY.depth.png      uint16, meters = value * depth_scale, 0 = nobody
    KEY.normals.png    uint8 RGB, n = value / 255 * 2 - 1, (0, 0, 0) = nobody; +x right, +y up, +z towards the camera
    KEY.points.npz     float32 (H, W, 3) meters, x right, y down, z forward, NaN = nobody
    KEY.alpha.png      uint8, how much of the pixel is people = value / 255
    KEY.albedo.png     uint8 RGB, the color without light = value / 255, with the gamma of pictures
    KEY.json           width, height, depth_scale, camera, persons: [{id, box, keypoints [[x, y, visibility]], ...}]

The maps are optional. `camera` is {fx, fy, cx, cy} in pixels: a point (x, y, z) is at the pixel (fx x / z + cx,
fy y / z + cy), and integers are centers of pixels. Alpha around a person's instance is that of the nearest person.

The JSON of a frame that was cut out of a picture also has "picture", see `Sample.picture`. Frames of scans have no
parts.png, and the keypoints of their persons are null.

Nothing is extracted to disk: the reader scans the headers once and then reads byte ranges.
"""

import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from opensapiens.data.label_kinds import MASK, STORED_KINDS, LabelKind
from opensapiens.data.label_maps import npz_array
from opensapiens.data.sample import Sample
from opensapiens.storage.files import write_json
from opensapiens.storage.json_files import read_json
from opensapiens.storage.pictures import ImageError, opencv_picture
from opensapiens.storage.tars import contents, members, write_tar

REQUIRED = ("jpg", "instances.png", "json")
OPTIONAL = tuple(kind.member for kind in STORED_KINDS)
COLORED = ("jpg", *(kind.member for kind in STORED_KINDS if kind.pixels is not None and kind.pixels.color))
MEMBERS = REQUIRED + OPTIONAL
ABSENT = (-1, 0)  # offset and size of a missing optional member
Frame = Mapping[str, bytes]  # member suffix -> file content


class ShardError(ValueError):
    """A shard that cannot be read; the message names the shard and the key."""


def encode_frame(
    image: np.ndarray,
    instances: np.ndarray,
    labels: Mapping[LabelKind, np.ndarray],
    record: Mapping[str, Any],
    jpeg_quality: int = 92,
) -> dict[str, bytes]:
    """Encodes one frame as the members of a shard.

    image: (H, W, 3) uint8 RGB. instances: (H, W) uint8. labels: the known ones, of everybody in the frame; kinds that
    shards do not store are left out. record: the JSON of the frame; its `depth_scale` (meters per unit, by default
    0.001) is used for the depth and stored.
    """
    scale = float(record.get("depth_scale", 0.001))
    members = {
        "jpg": _encode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]),
        "instances.png": _encode(".png", instances),
        "json": json.dumps({**record, "depth_scale": scale}, separators=(",", ":")).encode(),
    }
    for kind in STORED_KINDS:
        if kind in labels and kind.pixels is not None:
            packed = kind.pixels.pack(labels[kind], scale)
            members[kind.member] = _encode_floats(packed) if kind.pixels.floats else _encode(".png", packed)
    return members


def _encode(extension: str, array: np.ndarray, options: Sequence[int] = ()) -> bytes:
    """(H, W), or (H, W, 3) RGB, as the content of a file."""
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(extension, np.ascontiguousarray(array), list(options))
    if not done:
        raise ValueError(f"OpenCV could not encode an array of shape {array.shape} as {extension}")
    return data.tobytes()


def _encode_floats(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, data=array)
    return file.getvalue()


def write_shard(path: Path | str, frames: Iterable[tuple[str, Frame]]) -> None:
    """Writes (key, frame) pairs as one shard."""
    write_tar(path, ((f"{key}.{suffix}", frame[suffix]) for key, frame in frames for suffix in sorted(frame)))


def write_manifest(folder: Path | str, manifest: Mapping[str, Any]) -> None:
    """Writes manifest.json to a folder of shards, which marks it as complete."""
    write_json(Path(folder) / "manifest.json", dict(sorted(manifest.items())))


def shard_paths(folder: Path | str) -> list[Path]:
    """The shards of a folder, sorted by name. Raises ShardError if there are none."""
    paths = sorted(Path(folder).glob("*.tar"))
    if not paths:
        raise ShardError(f"{folder}: no *.tar shard here")
    return paths


def shard_records(folder: Path | str) -> Iterator[dict[str, Any]]:
    """The KEY.json of every frame of a folder of shards, in order. Raises ShardError, TarError, FileError."""
    for path in shard_paths(folder):
        yield from (read_json(data, f"{path}, {member.name}") for member, data in contents(path, ".json"))


class ShardDataset:
    """The persons of some shards as a sequence of samples: `len(dataset)`, `dataset[i] -> Sample`.

    source: a folder of shards or a list of shard files. kinds: the dense labels to decode, which takes most of the time
    of reading. The index holds only numbers, so that it is cheap to copy to loader processes; threads may share the
    dataset. Raises TarError for a damaged shard, ShardError for an incomplete frame.
    """

    def __init__(self, source: Path | str | Sequence[Path | str], kinds: Sequence[LabelKind] = STORED_KINDS) -> None:
        self.paths = shard_paths(source) if isinstance(source, str | Path) else [Path(path) for path in source]
        self.kinds = tuple(kinds)
        self.keys: list[str] = []
        shards, members, persons = [], [], []
        for number, path in enumerate(self.paths):
            for key, ranges, count in _scan(path):
                persons += [(len(self.keys), person) for person in range(count)]
                self.keys.append(key)
                shards.append(number)
                members.append(ranges)
        self._shards = np.array(shards, np.int32)  # (F,) the shard of each frame
        self._members = np.array(members, np.int64).reshape(-1, len(MEMBERS), 2)  # (F, members, 2) offset and size
        self._persons = np.array(persons, np.int32).reshape(-1, 2)  # (N, 2) frame, index in the frame's persons

    def __len__(self) -> int:
        return len(self._persons)

    def __getitem__(self, index: int) -> Sample:
        """Person `index` of all frames. Raises ShardError if a member is corrupt, IndexError past the end."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        frame, person = self._persons[index].tolist()
        contents = self.read_frame(frame, {*REQUIRED, *(kind.member for kind in self.kinds)})
        return _sample(contents, person, f"{self.name_of_frame(frame)}#{person + 1}")

    def holds(self, kind: LabelKind) -> bool:
        """Whether any frame has labels of a kind."""
        return kind is MASK or bool((self._members[:, MEMBERS.index(kind.member), 0] != ABSENT[0]).any())

    def people_by_frame(self) -> Iterator[tuple[str, Sample]]:
        """All samples with unique keys, each frame decoded once."""
        contents: dict[str, Any] = {}
        for index, (frame, person) in enumerate(self._persons.tolist()):
            if index == 0 or frame != self._persons[index - 1, 0]:
                contents = self.read_frame(frame)
            sample = _sample(contents, person, f"{self.name_of_frame(frame)}#{person + 1}")
            yield f"{self.keys[frame]}_{person + 1}", sample

    def name_of_frame(self, frame: int) -> str:
        """Shard and key of a frame."""
        return f"{self.paths[self._shards[frame]].name}/{self.keys[frame]}"

    def person_record(self, index: int) -> dict[str, Any]:
        """The JSON of person `index` in its frame."""
        frame, person = self._persons[index].tolist()
        record = _decode("json", self.read_bytes(frame, ("json",))["json"], f"{self.name_of_frame(frame)}.json")
        return record["persons"][person]

    def read_bytes(self, frame: int, members: Collection[str] = MEMBERS) -> dict[str, bytes]:
        """Members of frame number `frame` as stored, without missing optional ones."""
        contents = {}
        with open(self.paths[self._shards[frame]], "rb") as file:
            for suffix, (offset, size) in zip(MEMBERS, self._members[frame].tolist(), strict=True):
                if suffix in members and (offset, size) != ABSENT:
                    file.seek(offset)
                    contents[suffix] = file.read(size)
        return contents

    def read_frame(self, frame: int, members: Collection[str] = MEMBERS) -> dict[str, Any]:
        """Members of frame number `frame`, decoded, which must include the image: suffix -> array (RGB) or JSON."""
        name = self.name_of_frame(frame)
        stored = self.read_bytes(frame, members)
        contents = {suffix: _decode(suffix, data, f"{name}.{suffix}") for suffix, data in stored.items()}
        for suffix in ("instances.png", *OPTIONAL):
            expected = contents["jpg"].shape[: 3 if suffix in COLORED else 2]
            if suffix in contents and contents[suffix].shape != expected:
                shape = contents[suffix].shape
                raise ShardError(f"{name}.{suffix}: its size differs from the image's, {shape} instead of {expected}")
        return contents


def _scan(path: Path) -> list[tuple[str, list[tuple[int, int]], int]]:
    """The key of each frame of a shard, (offset, size) of each member, and its number of persons."""
    ranges: dict[str, dict[str, tuple[int, int]]] = {}
    frames = []
    for member in members(path):
        key, _, suffix = member.name.rpartition("/")[2].partition(".")
        if suffix in ranges.setdefault(key, {}):
            raise ShardError(f"{path.name}/{key}.{suffix}: there is more than one")
        ranges[key][suffix] = (member.offset, member.size)
    with open(path, "rb") as file:
        for key, range_of in ranges.items():
            missing = [suffix for suffix in REQUIRED if suffix not in range_of]
            if missing:
                raise ShardError(f"{path.name}/{key}: no {', '.join(missing)}")
            offset, size = range_of["json"]
            file.seek(offset)
            record = _decode("json", file.read(size), f"{path.name}/{key}.json")
            frames.append((key, [range_of.get(suffix, ABSENT) for suffix in MEMBERS], len(record["persons"])))
    return frames


def _decode(suffix: str, data: bytes, name: str) -> Any:
    if suffix == "json":
        try:
            record = read_json(data, name)
            if not isinstance(record["persons"], list):
                raise TypeError("persons is not a list")
            return record
        except (ValueError, KeyError, TypeError) as error:
            raise ShardError(f"{name}: not a frame's JSON ({error!r})") from error
    flags = cv2.IMREAD_COLOR if suffix in COLORED else cv2.IMREAD_UNCHANGED
    try:
        if suffix.endswith(".npz"):
            return npz_array(data, name).astype(np.float32, copy=False)
        return opencv_picture(data, flags, name)
    except ImageError as error:
        raise ShardError(str(error)) from error


def _sample(frame: dict[str, Any], person: int, key: str) -> Sample:
    """One person of a decoded frame."""
    record = frame["json"]["persons"][person]
    try:
        mask = frame["instances.png"] == record["id"]
        box = np.array(record["box"], np.float32).reshape(4)
        points = record["keypoints"]
        keypoints = None if points is None else np.array(points, np.float32).reshape(-1, 3)
        depth_scale = float(frame["json"]["depth_scale"])
        picture = frame["json"].get("picture")
        picture = None if picture is None else np.array(picture, np.float32).reshape(3)
    except (KeyError, TypeError, ValueError) as error:
        raise ShardError(f"{key}: its JSON is invalid ({error!r})") from error
    labels = {MASK: mask}
    for kind in STORED_KINDS:
        stored = frame.get(kind.member)
        if stored is None or kind.pixels is None:
            continue
        owned = nearest_person(frame["instances.png"]) == record["id"] if kind.pixels.soft else mask
        x, y, width, height = cv2.boundingRect(owned.view(np.uint8))  # people are often a small part of a frame
        window = np.s_[y : y + height, x : x + width]
        inside = kind.pixels.unpack(stored[window], owned[window], depth_scale)
        labels[kind] = np.full(stored.shape, kind.outside, inside.dtype)
        labels[kind][window] = inside
    return Sample(image=frame["jpg"], key=key, box=box, keypoints=keypoints, labels=labels, picture=picture)


def nearest_person(instances: np.ndarray) -> np.ndarray:
    """(H, W) uint8: instances, and at pixels of nobody the person whose pixels are nearest; 0 where there is nobody."""
    if not instances.any():
        return instances
    nobody = (instances == 0).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(nobody, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    owner = np.zeros(labels.max() + 1, instances.dtype)
    owner[labels[nobody == 0]] = instances[nobody == 0]
    return owner[labels]
