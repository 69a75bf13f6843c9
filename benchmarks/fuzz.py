"""Damaged and hostile files against every reader: each is read, or refused with an error of this package's own.

$ python benchmarks/fuzz.py --minutes 60 --folder /tmp/fuzz

Small good files of each kind are changed at random: bits, runs of bytes, values and keys of JSON. Whatever raises
another error than one of this package, or takes longer than five seconds, is written to --folder and named at the end,
with exit code 1. Readers get equal shares of the time, in turns. Needs the extras curate, synthetic and video.
"""

import argparse
import copy
import io
import json
import logging
import random
import sys
import tarfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
import trimesh
from PIL import Image
from safetensors.torch import save as safetensors_bytes

import opensapiens
from opensapiens.annotation.calibration import read_cameras
from opensapiens.annotation.tool_files import read_corrected, read_corrected_parts, read_tool_file
from opensapiens.checkpoints.catalog import model_folder
from opensapiens.checkpoints.model_folder import CONFIG_FILE, read_description
from opensapiens.checkpoints.strict_loading import read_tensors
from opensapiens.checkpoints.torch_files import read_torch_file
from opensapiens.curation.privacy import BlockList, OptOutList
from opensapiens.curation.sources import find_items, read_item
from opensapiens.curation.where import parse_where
from opensapiens.data.coco import CocoDataset, read_coco_persons
from opensapiens.data.images import ImageCollection
from opensapiens.data.label_maps import read_depth, read_mask, read_normals, read_parts
from opensapiens.data.shards import ShardDataset
from opensapiens.evaluation.people import read_coco_images, read_person_boxes
from opensapiens.inference.boxes import read_boxes
from opensapiens.labels.keypoints import COCO_17
from opensapiens.labels.own_labels import find_keypoint_set, find_part_set
from opensapiens.labels.parts import SAPIENS_28
from opensapiens.storage.pictures import read_image
from opensapiens.storage.tars import contents
from opensapiens.storage.text_files import read_text
from opensapiens.storage.videos import read_frames
from opensapiens.synthetic.scan_files import read_scan

PACKAGE = Path(opensapiens.__file__).parent
TURN = 1.0  # seconds
SLOW = 5.0  # seconds
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 0.5, 1e308, float("inf"), float("nan"), 2**63, 2**70, -(2**70), "", "x", "1", "\0", [], [[]],
    [None], [1, 2], {}, {"a": 1},
)  # fmt: skip
SCHEMA = pa.schema([("sharpness", pa.float32()), ("width", pa.int64()), ("status", pa.string()), ("ok", pa.bool_())])
CONDITIONS = (
    "sharpness > 0.5 and width >= 512",
    "status == 'ok' or not ok",
    "width in (1, 2, 3) and sharpness < 1e3",
    "(((width > 1)))",
)
Mutation = Callable[[random.Random, bytes], bytes]


@dataclass
class Reader:
    """A function that reads a file, good files for it (ending and content), and how they are damaged."""

    name: str
    read: Callable[[Path], object]
    files: Sequence[tuple[str, bytes]]
    change: Mutation
    counts: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0


def changed_bytes(rng: random.Random, content: bytes) -> bytes:
    """One to three changes: a flipped bit, a missing run, inserted bytes, a repeated beginning."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at, draw = rng.randrange(len(changed) + 1), rng.random()
        if draw < 0.5 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif draw < 0.7:
            del changed[at : at + rng.randint(0, 600)]
        elif draw < 0.85:
            changed[at:at] = rng.randbytes(rng.randint(1, 8))
        else:
            changed[at:at] = changed[: rng.randint(0, 1024)]
    return bytes(changed)


def changed_json(rng: random.Random, content: bytes) -> bytes:
    """One or two values of the file left out or replaced by odd ones."""
    tree = json.loads(content)
    for _ in range(rng.randint(1, 2)):
        node = tree
        while keys := list(node) if isinstance(node, dict) else list(range(len(node))):
            key = rng.choice(keys)
            if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.75:
                node = node[key]
                continue
            if rng.random() < 0.15:
                node.pop(key)
            else:
                node[key] = copy.deepcopy(rng.choice(ODD))
            break
    return json.dumps(tree).encode()


def label_studio_export() -> bytes:
    """A task with a person, two points of theirs, and a part."""
    size = {"original_width": 20, "original_height": 14}
    person = {"x": 10, "y": 10, "width": 60, "height": 60, "rectanglelabels": ["person"]}
    part = {"points": [[10, 10], [60, 10], [60, 60]], "polygonlabels": [SAPIENS_28.names[3]]}
    regions: list[dict[str, Any]] = [{**size, "id": "p", "value": person}, {**size, "id": "q", "value": part}]
    for number, parent in enumerate(("p", None)):
        value = {"x": 30, "y": 30 + number, "width": 0.4, "keypointlabels": [COCO_17.names[number]]}
        regions.append({**size, "id": f"k{number}", "parentID": parent, "meta": {"text": ["unseen"]}, "value": value})
    return as_json([{"id": 1, "data": {"image": "/data/local-files/?d=a.png"}, "annotations": [{"result": regions}]}])


def readers(folder: Path) -> list[Reader]:
    """All of them. folder: for what some readers need beside their file."""
    picture = Image.new("RGB", (20, 14))
    picture.save(folder / "a.png")
    coco, parts = coco_files()
    labeled = label_studio_export()
    boxes = as_json([{"image": "a.png", "bbox": [1, 2, 3, 4], "image_id": 7, "score": 0.5, "category_id": 1}])
    boxes_by_name = as_json({"a.png": [[1, 2, 3, 4]]})
    tars = [(".tar", tar) for tar in tar_files()]
    maps = map_files()
    config = (model_folder("nano") / CONFIG_FILE).read_bytes()
    stems = {"a": "a.png"}

    def people(path: Path) -> None:
        persons = CocoDataset(read_coco_persons(path, folder), 1)
        for index in range(len(persons)):
            persons[index]

    def description(path: Path) -> None:
        path.with_name(CONFIG_FILE).write_bytes(path.read_bytes())
        read_description(path.parent)

    def items(path: Path) -> None:
        for item in find_items([path]):
            read_item(item)

    def frames(path: Path) -> None:
        for number, _ in enumerate(read_frames(path)):
            if number > 60:
                break

    def corrected(path: Path) -> None:
        read_corrected(read_tool_file(path, COCO_17), path, folder, stems, COCO_17)

    def corrected_parts(path: Path) -> None:
        read_corrected_parts(read_tool_file(path, COCO_17), path, stems, SAPIENS_28)

    texts = {
        "opt-out list": (OptOutList, b"https://example.org/\n*.b.org # x\n/a/b::c\n\xc3\xa9.org\n"),
        "block list": (BlockList, b"a" * 64 + b"\n" + b"0" * 16 + b"\n"),
    }
    return [
        Reader("pictures", read_image, picture_files(), changed_bytes),
        Reader(
            "videos", frames, [(".mp4", video("mpeg4", "mp4")), (".mkv", video("mpeg4", "matroska"))], changed_bytes
        ),
        Reader("COCO, training", people, [(".json", coco)], changed_json),
        Reader("COCO, training, bytes", people, [(".json", coco)], changed_bytes),
        Reader(
            "COCO, evaluation",
            lambda p: list(read_coco_images(p, folder, failures=[])),
            [(".json", coco)],
            changed_json,
        ),
        Reader("corrected people", corrected, [(".json", coco), (".json", labeled)], changed_json),
        Reader("corrected parts", corrected_parts, [(".json", parts), (".json", labeled)], changed_json),
        Reader("boxes", read_boxes, [(".json", boxes), (".json", boxes_by_name), (".json", coco)], changed_json),
        Reader("detections", read_person_boxes, [(".json", boxes)], changed_json),
        Reader("point sets", find_keypoint_set, [(".json", coco)], changed_json),
        Reader("part sets", find_part_set, [(".json", parts)], changed_json),
        Reader("cameras", read_cameras, [(".json", as_json(cameras()))], changed_json),
        Reader("cameras, TOML", read_cameras, [(".toml", CAMERAS_TOML)], changed_bytes),
        Reader("tars", lambda p: list(contents(p)), tars, changed_bytes),
        Reader("tars of pictures", ImageCollection, tars, changed_bytes),
        Reader("shards", lambda p: ShardDataset([p]), tars, changed_bytes),
        Reader("curation, tars", items, tars, changed_bytes),
        Reader("curation, Parquet", items, [(".parquet", parquet(picture))], changed_bytes),
        Reader("masks", read_mask, maps, changed_bytes),
        Reader("depth maps", read_depth, maps, changed_bytes),
        Reader("normal maps", read_normals, maps, changed_bytes),
        Reader("part maps", lambda p: read_parts(p, SAPIENS_28), maps, changed_bytes),
        Reader("checkpoints", read_torch_file, checkpoints(), changed_bytes),
        Reader(
            "safetensors", read_tensors, [(".safetensors", safetensors_bytes({"a": torch.ones(3, 4)}))], changed_bytes
        ),
        Reader("config.json", description, [(".json", config)], changed_json),
        Reader("config.json, bytes", description, [(".json", config)], changed_bytes),
        Reader("scans", read_scan, scans(), changed_bytes),
        Reader("texts", read_text, [(".txt", b"a.jpg\r\nb.jpg\n\xef\xbb\xbfc")], changed_bytes),
        Reader(
            "conditions",
            lambda p: parse_where(p.read_bytes().decode("latin-1"), SCHEMA),
            [(".txt", condition.encode()) for condition in CONDITIONS],
            changed_bytes,
        ),
        *(
            Reader(name, lambda p, kind=kind: kind.read([p]), [(".txt", text)], changed_bytes)
            for name, (kind, text) in texts.items()
        ),
    ]


def as_json(content: object) -> bytes:
    """The bytes of a JSON file."""
    return json.dumps(content).encode()


def coco_files() -> tuple[bytes, bytes]:
    """A COCO file of people with points and masks of three kinds, and the same with the category of a part."""
    points = [value for index in range(17) for value in (2 + index % 9, 3 + index % 7, 2)]
    person = {"image_id": 7, "category_id": 1, "bbox": [2, 3, 10, 8], "area": 50}
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 20, "height": 14}],
        "annotations": [
            {"id": 1, **person, "keypoints": points, "segmentation": {"size": [14, 20], "counts": [100, 80, 100]}},
            {"id": 2, **person, "keypoints": points, "iscrowd": 0, "segmentation": [[2, 2, 8, 2, 8, 8]]},
            {"id": 3, **person, "segmentation": {"size": [14, 20], "counts": "d1P1"}},
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_17.names), "skeleton": [[1, 2]]}],
    }
    category = {"id": 1, "name": SAPIENS_28.names[3], "color": [1, 2, 3]}
    return as_json(content), as_json(content | {"categories": [category]})


def cameras() -> dict[str, object]:
    """Two cameras in our own format."""
    camera = {
        "size": [20, 14],
        "matrix": [[10, 0, 5], [0, 10, 5], [0, 0, 1]],
        "distortion": [0, 0, 0, 0],
        "rotation": [0, 0, 0.1],
        "translation": [1, 2, 3],
    }
    return {"cameras": [{"name": name, **camera} for name in ("left", "right")]}


CAMERAS_TOML = b"".join(
    b"[%s]\nname='%s'\nsize=[20,14]\nmatrix=[[10.0,0.0,5.0],[0.0,10.0,5.0],[0.0,0.0,1.0]]\n"
    b"distortions=[0.0,0.0,0.0,0.0]\nrotation=[0.0,0.0,0.1]\ntranslation=[1.0,2.0,3.0]\n" % (name, name)
    for name in (b"left", b"right")
)


def encoded(write: Callable[[io.BytesIO], object]) -> bytes:
    """What `write` writes to a file."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def picture_files() -> list[tuple[str, bytes]]:
    """A small picture in each format that is read, one of floats, one turned by EXIF."""
    pixels = np.add.outer(np.arange(24), np.arange(31))[..., None] * [3, 5, 7] % 256
    picture = Image.fromarray(pixels.astype(np.uint8))
    formats = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF")
    files = [encoded(lambda file, kind=kind: picture.save(file, kind)) for kind in formats]
    floats = Image.fromarray(np.linspace(0, 1, 24 * 31, dtype=np.float32).reshape(24, 31))
    files.append(encoded(lambda file: floats.save(file, "TIFF")))
    turned = Image.Exif()
    turned[274] = 6
    files.append(encoded(lambda file: picture.save(file, "JPEG", exif=turned)))
    return [(".jpg", content) for content in files]


def map_files() -> list[tuple[str, bytes]]:
    """Label maps: arrays, 16-bit and palette PNG."""
    deep = Image.fromarray((np.arange(72).reshape(8, 9) * 900).astype(np.uint16))
    palette = Image.fromarray((np.arange(72).reshape(8, 9) % 28).astype(np.uint8), "P")
    palette.putpalette([1, 2, 3] * 256)
    return [
        (".npy", encoded(lambda file: np.save(file, np.ones((8, 9, 3), np.float32)))),
        (".npz", encoded(lambda file: np.savez_compressed(file, a=np.ones((8, 9), np.float32)))),
        (".png", encoded(lambda file: deep.save(file, "PNG"))),
        (".png", encoded(lambda file: palette.save(file, "PNG"))),
    ]


def tar_files() -> list[bytes]:
    """An archive of two samples, and one with long names and extended headers."""
    members = (
        {"0.jpg": b"x" * 700, "0.json": b'{"url": "a"}', "1.png": b"y" * 10},
        {"l" * 150 + ".jpg": b"1", "é.png": b""},
    )

    def archive(file: io.BytesIO, content: dict[str, bytes]) -> None:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, data in content.items():
                member = tarfile.TarInfo(name)
                member.size, member.mtime = len(data), 1.5 if len(content) == 2 else 0
                tar.addfile(member, io.BytesIO(data))

    return [encoded(lambda file, content=content: archive(file, content)) for content in members]


def video(codec: str, container: str) -> bytes:
    """Twelve small frames."""

    def write(file: io.BytesIO) -> None:
        with av.open(file, "w", format=container) as output:
            stream = output.add_stream(codec, rate=12)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(12):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8), format="rgb24")
                output.mux(stream.encode(frame))
            output.mux(stream.encode())

    return encoded(write)


def parquet(picture: Image.Image) -> bytes:
    """A table of pictures with their addresses."""
    data = encoded(lambda file: picture.save(file, "PNG"))
    table = pa.table({"image": [{"bytes": data, "path": f"{i}.png"} for i in range(4)], "url": ["https://a.org"] * 4})
    return encoded(lambda file: pyarrow.parquet.write_table(table, file))


def checkpoints() -> list[tuple[str, bytes]]:
    """PyTorch files in the new and the old format."""
    content = {
        "state_dict": {"a.weight": torch.ones(3, 4), "b": torch.zeros(2, dtype=torch.bfloat16)},
        "meta": {"x": [1, 2, "y"]},
    }
    old = {"a": torch.ones(3)}
    return [
        (".pth", encoded(lambda file: torch.save(content, file))),
        (".pth", encoded(lambda file: torch.save(old, file, _use_new_zipfile_serialization=False))),
    ]


def scans() -> list[tuple[str, bytes]]:
    """A box as OBJ, PLY and GLB."""
    box = trimesh.creation.box()
    exported = {kind: box.export(file_type=kind) for kind in ("obj", "ply", "glb")}
    return [(f".{kind}", data.encode() if isinstance(data, str) else data) for kind, data in exported.items()]


def is_own(error: Exception) -> bool:
    """Whether the class is this package's, or the error a plain ValueError that this package raised."""
    if type(error).__module__.startswith("opensapiens"):
        return True
    last = traceback.extract_tb(error.__traceback__)[-1]
    return type(error) is ValueError and Path(last.filename).is_relative_to(PACKAGE)


def turn(reader: Reader, rng: random.Random, folder: Path, faults: dict[str, Path], seconds: float) -> None:
    """Damaged files for one reader for some time; `faults` gets new ones."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        suffix, content = rng.choice(reader.files)
        path = folder / "input" / f"x{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(reader.change(rng, content))
        start, fault = time.monotonic(), ""
        try:
            reader.read(path)
            reader.counts["read"] += 1
        except Exception as error:
            if is_own(error):
                reader.counts["refused"] += 1
            else:
                where = traceback.extract_tb(error.__traceback__)[-1]
                fault = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}"
        taken = time.monotonic() - start
        reader.longest = max(reader.longest, taken)
        if not fault and taken > SLOW:
            fault = f"more than {SLOW:g} seconds"
        if fault:
            reader.counts["faults"] += 1
            kept = folder / f"fault_{len(faults)}{suffix}"
            if faults.setdefault(f"{reader.name}: {fault}", kept) == kept:
                kept.write_bytes(path.read_bytes())


def resident_mb() -> float:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="of all readers together (default: 60)")
    parser.add_argument("--folder", type=Path, required=True, help="for the damaged files")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    options.folder.mkdir(parents=True, exist_ok=True)
    rng, everything, faults = random.Random(options.seed), readers(options.folder), dict[str, Path]()
    for reader in everything:  # so that memory is compared after everything is imported
        turn(reader, rng, options.folder, faults, TURN)
    start, memory = time.monotonic(), resident_mb()
    turns = round(options.minutes * 60 / TURN / len(everything))
    for number in range(turns):
        for reader in everything:
            turn(reader, rng, options.folder, faults, TURN)
        if number % 10 == 0:
            minutes = (time.monotonic() - start) / 60
            print(f"{minutes:.0f} min, {resident_mb():.0f} MB, {len(faults)} kinds of faults", flush=True)
    print(f"\n{'reader':24}{'inputs':>9}{'read':>9}{'refused':>9}{'faults':>8}{'longest s':>11}")
    for reader in everything:
        counts = reader.counts
        print(
            f"{reader.name:24}{counts.total():9}{counts['read']:9}{counts['refused']:9}{counts['faults']:8}"
            f"{reader.longest:11.2f}"
        )
    total = sum(reader.counts.total() for reader in everything)
    print(f"{total} inputs in {turns * len(everything) * TURN / 60:.0f} minutes, {len(faults)} kinds of faults")
    print(f"memory {memory:.0f} MB at the start, {resident_mb():.0f} MB at the end")
    for fault, path in faults.items():
        print(f"  {fault}\n    {path}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
