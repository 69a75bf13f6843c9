"""The tar shards of labelled frames that the synthetic generator writes and training reads.

A shard is a plain tar (uncompressed, readable by webdataset) of frames. The members of one frame share a key:

    KEY.jpg            RGB image
    KEY.instances.png  uint8, 0 = nobody, i = person i
    KEY.parts.png      uint8 body-part class of everybody (SAPIENS_28)
    KEY.depth.png      uint16, metres = value * depth_scale, 0 = nobody
    KEY.normals.png    uint8 RGB, n = value / 255 * 2 - 1, (0, 0, 0) = nobody; +x right, +y up, +z towards the camera
    KEY.json           width, height, depth_scale, camera, persons: [{id, box, keypoints [[x, y, visibility]], ...}]

A frame that was cut out of a picture has the picture's place in its JSON: "picture", see `Sample.picture`.

Frames of scans have no parts.png, and the keypoints of their persons are null: these labels do not exist for them.

Nothing is ever extracted to disk: the reader scans the headers once and then reads byte ranges.
"""

import io
import json
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from opensapiens.data.sample import Sample
from opensapiens.storage.files import write_json, written

DenseLabel = Literal["parts", "depth", "normals"]
MEMBERS = ("jpg", "instances.png", "parts.png", "depth.png", "normals.png", "json")
OPTIONAL = ("parts.png",)
MAPS: tuple[DenseLabel, ...] = ("parts", "depth", "normals")
ABSENT = (-1, 0)  # in place of the offset and size of an optional member that is not there
Frame = Mapping[str, bytes]  # member suffix -> file content


class ShardError(ValueError):
    """A shard that cannot be read; the message names the shard and the key."""


def encode_frame(
    image: np.ndarray,
    instances: np.ndarray,
    parts: np.ndarray | None,
    depth: np.ndarray,
    normals: np.ndarray,
    record: Mapping[str, Any],
    jpeg_quality: int = 92,
) -> dict[str, bytes]:
    """Encodes one frame as the members of a shard.

    `image` (H, W, 3) uint8 RGB; `instances` and `parts` (H, W) uint8, parts None where they are not known; `depth`
    (H, W) metres and `normals` (H, W, 3) unit vectors, both NaN (or 0) where nobody is. `record` is the JSON of the
    frame; its `depth_scale` (metres per unit, 0.001 when absent) is used for the depth and stored.
    """
    scale = float(record.get("depth_scale", 0.001))
    depth_units = np.zeros(depth.shape, np.uint16)
    bytes_of_normals = np.zeros(normals.shape, np.uint8)
    length = sum(np.abs(normals[..., axis]) for axis in range(3))
    with_depth, with_normal = np.isfinite(depth) & (depth > 0), np.isfinite(length) & (length > 0)
    # Both are unknown in most of a picture.
    depth_units[with_depth] = np.clip(np.rint(depth[with_depth] / scale), 1, 65535)
    bytes_of_normals[with_normal] = np.rint((normals[with_normal] + 1) * 127.5).clip(0, 255)
    members = {
        "jpg": _encode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]),
        "instances.png": _encode(".png", instances),
        "depth.png": _encode(".png", depth_units),
        "normals.png": _encode(".png", cv2.cvtColor(bytes_of_normals, cv2.COLOR_RGB2BGR)),
        "json": json.dumps({**record, "depth_scale": scale}, separators=(",", ":")).encode(),
    }
    return members if parts is None else {**members, "parts.png": _encode(".png", parts)}


def _encode(extension: str, array: np.ndarray, options: Sequence[int] = ()) -> bytes:
    done, data = cv2.imencode(extension, np.ascontiguousarray(array), list(options))
    if not done:
        raise ValueError(f"OpenCV could not encode an array of shape {array.shape} as {extension}")
    return data.tobytes()


def write_shard(path: Path | str, frames: Iterable[tuple[str, Frame]]) -> None:
    """Writes (key, frame) pairs as one shard.

    The file appears under its name only when it is complete, and the same frames always give the same bytes.
    """
    with written(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, frame in frames:
            for suffix in sorted(frame):
                member = tarfile.TarInfo(f"{key}.{suffix}")  # mtime, uid, gid and names keep their fixed defaults
                member.size = len(frame[suffix])
                tar.addfile(member, io.BytesIO(frame[suffix]))


def write_manifest(folder: Path | str, manifest: Mapping[str, Any]) -> None:
    """Writes manifest.json of a folder of shards; its presence says that the folder is complete."""
    write_json(Path(folder) / "manifest.json", dict(sorted(manifest.items())))


def shard_paths(folder: Path | str) -> list[Path]:
    """The shards of a folder in the order of their names. Raises ShardError when there is none."""
    paths = sorted(Path(folder).glob("*.tar"))
    if not paths:
        raise ShardError(f"{folder}: no *.tar shard here")
    return paths


class ShardDataset:
    """The persons of some shards as a sequence of samples: `len(dataset)`, `dataset[i] -> Sample`.

    `source` is a folder of shards or a list of shard files. The index holds only numbers (40 bytes a frame), so that
    it is cheap to hand to loader processes; files are opened for each read, so that the dataset may be shared by
    threads. `maps` are those of a sample's dense labels that are decoded: most of the time of reading goes there.
    """

    def __init__(self, source: Path | str | Sequence[Path | str], maps: Sequence[DenseLabel] = MAPS) -> None:
        self.paths = shard_paths(source) if isinstance(source, str | Path) else [Path(path) for path in source]
        self.maps = tuple(maps)
        self.keys: list[str] = []
        shards, members, persons = [], [], []
        for number, path in enumerate(self.paths):
            for key, ranges, ids in _scan(path):
                persons += [(len(self.keys), person) for person in ids]
                self.keys.append(key)
                shards.append(number)
                members.append(ranges)
        self._shards = np.array(shards, np.int32)  # (F,) the shard of each frame
        self._members = np.array(members, np.int64).reshape(-1, len(MEMBERS), 2)  # (F, 6, 2) offset and size
        self._persons = np.array(persons, np.int32).reshape(-1, 2)  # (N, 2) frame, place in the frame's list of persons

    def __len__(self) -> int:
        return len(self._persons)

    def __getitem__(self, index: int) -> Sample:
        """Person `index` of all frames. Raises ShardError when a member is corrupt, IndexError past the end."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        frame, person = self._persons[index]
        contents = self.read_frame(
            int(frame), {"jpg", "instances.png", "json", *(f"{label}.png" for label in self.maps)}
        )
        return _sample(contents, int(person), f"{self.name_of_frame(frame)}#{person + 1}")

    def people_by_frame(self) -> Iterator[tuple[str, Sample]]:
        """All samples with a key of their own, each frame decoded once."""
        contents: dict[str, Any] = {}
        for index, (frame, person) in enumerate(self._persons.tolist()):
            if index == 0 or frame != self._persons[index - 1, 0]:
                contents = self.read_frame(frame)
            yield (
                f"{self.keys[frame]}_{person + 1}",
                _sample(contents, person, f"{self.name_of_frame(frame)}#{person + 1}"),
            )

    def name_of_frame(self, frame: int) -> str:
        """Shard and key of a frame, for messages."""
        return f"{self.paths[self._shards[frame]].name}/{self.keys[frame]}"

    def read_bytes(self, frame: int) -> dict[str, bytes]:
        """The members of frame number `frame` as they are stored, without those optional ones that it lacks."""
        contents = {}
        with open(self.paths[self._shards[frame]], "rb") as file:
            for suffix, (offset, size) in zip(MEMBERS, self._members[frame].tolist(), strict=True):
                if (offset, size) != ABSENT:
                    file.seek(offset)
                    contents[suffix] = file.read(size)
        return contents

    def read_frame(self, frame: int, members: Collection[str] = MEMBERS) -> dict[str, Any]:
        """Members of frame number `frame`, decoded, the image among them: suffix -> array (three channels are RGB) or
        JSON. Optional members that the frame lacks are left out.
        """
        name = self.name_of_frame(frame)
        stored = self.read_bytes(frame)
        contents = {
            suffix: _decode(suffix, stored[suffix], f"{name}.{suffix}") for suffix in stored if suffix in members
        }
        height, width = contents["jpg"].shape[:2]
        for suffix in MEMBERS[1:5]:
            if suffix in contents and contents[suffix].shape[:2] != (height, width):
                raise ShardError(f"{self.name_of_frame(frame)}.{suffix}: its size differs from the image's")
        return contents


def _scan(path: Path) -> list[tuple[str, list[tuple[int, int]], list[int]]]:
    """Reads the headers of a shard: for each frame its key, (offset, size) of each member, and its persons' places."""
    ranges: dict[str, dict[str, tuple[int, int]]] = {}
    frames = []
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, _, suffix = member.name.rpartition("/")[2].partition(".")
                ranges.setdefault(key, {})[suffix] = (member.offset_data, member.size)
    except (OSError, tarfile.TarError) as error:
        raise ShardError(f"{path}: not a readable tar ({error})") from error
    with open(path, "rb") as file:
        for key, members in ranges.items():
            missing = [suffix for suffix in MEMBERS if suffix not in members and suffix not in OPTIONAL]
            if missing:
                raise ShardError(f"{path.name}/{key}: no {', '.join(missing)}")
            file.seek(members["json"][0])
            record = _decode("json", file.read(members["json"][1]), f"{path.name}/{key}.json")
            frames.append(
                (key, [members.get(suffix, ABSENT) for suffix in MEMBERS], list(range(len(record["persons"]))))
            )
    return frames


def _decode(suffix: str, data: bytes, name: str) -> Any:
    if suffix == "json":
        try:
            record = json.loads(data)
            if not isinstance(record["persons"], list):
                raise TypeError("persons is not a list")
            return record
        except (ValueError, KeyError, TypeError) as error:
            raise ShardError(f"{name}: not a frame's JSON ({error!r})") from error
    flags = cv2.IMREAD_COLOR if suffix in ("jpg", "normals.png") else cv2.IMREAD_UNCHANGED
    array = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if array is None:
        raise ShardError(f"{name}: not an image that can be decoded")
    return cv2.cvtColor(array, cv2.COLOR_BGR2RGB) if array.ndim == 3 else array


def _sample(frame: dict[str, Any], person: int, key: str) -> Sample:
    """Cuts one person's labels out of a frame."""
    record = frame["json"]["persons"][person]
    try:
        mask = frame["instances.png"] == record["id"]
        box = np.array(record["box"], np.float32).reshape(4)
        points = record["keypoints"]
        keypoints = None if points is None else np.array(points, np.float32).reshape(-1, 3)
        depth_scale = np.float32(frame["json"]["depth_scale"])
        picture = frame["json"].get("picture")
        picture = None if picture is None else np.array(picture, np.float32).reshape(3)
    except (KeyError, TypeError, ValueError) as error:
        raise ShardError(f"{key}: its JSON is not as agreed ({error!r})") from error
    parts = np.zeros(mask.shape, np.uint8) if "parts.png" in frame else None
    depth = np.full(mask.shape, np.nan, np.float32) if "depth.png" in frame else None
    normals = np.full((*mask.shape, 3), np.nan, np.float32) if "normals.png" in frame else None
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))  # people are often a small piece of a frame
    window = np.s_[y : y + height, x : x + width]
    if mask.any():
        if parts is not None:
            parts[window] = frame["parts.png"][window] * mask[window]
        if depth is not None:
            depth[window] = _decode_depth(frame["depth.png"][window], mask[window], depth_scale)
        if normals is not None:
            normals[window] = _decode_normals(frame["normals.png"][window], mask[window])
    return Sample(
        image=frame["jpg"],
        key=key,
        box=box,
        keypoints=keypoints,
        parts=parts,
        depth=depth,
        normals=normals,
        mask=mask,
        picture=picture,
    )


def _decode_depth(stored: np.ndarray, mask: np.ndarray, depth_scale: np.float32) -> np.ndarray:
    """(H, W) uint16 -> metres, NaN where nobody is (stored as 0) or outside `mask`."""
    depth = stored * depth_scale
    depth[~mask | (stored == 0)] = np.nan
    return depth


_COMPONENT = (np.arange(256) / 127.5 - 1).astype(np.float32)


def _decode_normals(stored: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(H, W, 3) bytes -> unit vectors, NaN where nobody is (stored as zeros) or outside `mask`.

    OpenCV throughout: along an axis of three channels it takes a fifth of numpy's time, and every sample passes here.
    """
    normals = cv2.LUT(stored, _COMPONENT)
    factor = cv2.pow(cv2.transform(cv2.multiply(normals, normals), np.ones((1, 3))), -0.5)
    factor[~mask | ((stored[..., 0] | stored[..., 1] | stored[..., 2]) == 0)] = np.nan
    return cv2.multiply(normals, cv2.merge([factor, factor, factor]))
