"""A folder as strangers have it, with good and bad files, through every command that reads files.

$ python benchmarks/bad_files.py --folder /tmp/bad_files

Every command must do the good files, name each bad one with a sentence (curation: in the manifest), exit with code 1,
and end with a line that counts. One row a command is printed; the complete output is in FOLDER/NAME.log. Needs the
extras curate, eval and video.
"""

import argparse
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from opensapiens.labels.keypoints import COCO_17

PHOTOS = Path(__file__).parent.parent / "examples" / "photos"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"
MAC = b"\0\5\x16\7Mac OS X"
TARGETS = {"evaluate": "--json {}/scores.json", "curate": "--out {}"}
TRAINING = "--steps 40 --batch-size 2 --workers 0 --device cpu"
SMALL = f"{TRAINING} --size nano --input-size 64 48"
TINY = f"{TRAINING} --input-size 64 64"


@dataclass(frozen=True)
class Case:
    """A command, its bad files, and how to see that the good ones were done."""

    command: str
    options: str
    bad: set[str]
    done: Callable[[Path], int]
    good: int


def jpeg(picture: Image.Image, **options: object) -> bytes:
    """The bytes of a JPEG file."""
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


def turned(picture: Image.Image, already: bool) -> bytes:
    """A JPEG that EXIF turns by a quarter; already: its stored pixels are turned the other way."""
    exif = Image.Exif()
    exif[274] = 6
    return jpeg(picture.transpose(Image.Transpose.ROTATE_90) if already else picture, exif=exif)


def write_photos(folder: Path, picture: Image.Image) -> tuple[set[str], set[str]]:
    """Photos and videos of every kind; the names of the good ones and of the bad ones."""
    folder.mkdir(parents=True)
    (folder / "cam2").mkdir()
    data = jpeg(picture)
    for name in (
        "a.jpg",
        "same.jpg",
        "cam2/a.jpg",
        "a.jfif",
        "upright.JPE",
        "n" * 246 + ".jpg",
        os.fsdecode(b"latin\xe9.jpg"),
    ):
        (folder / name).write_bytes(data)
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.convert("L").save(folder / "gray.png")
    picture.convert("RGBA").save(folder / "alpha.png")
    Image.fromarray(np.asarray(picture.convert("F")) / np.float32(255)).save(folder / "float.tif")
    picture.save(folder / "same.png")
    (folder / "turned.jpg").write_bytes(turned(picture, already=True))
    Image.new("RGB", (320, 33000)).save(folder / "tall.png")  # taller than OpenCV warps
    clip(folder / "clip.mp4", picture)
    shutil.copy(folder / "clip.mp4", folder / "12:30.mp4")
    good = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    for name, content in {
        "eps.jpg": EPS, "cut.jpg": data[: len(data) // 3], "empty.jpg": b"", "text.png": b"hello",
        "list.mp4": b"ffconcat version 1.0\nfile '/etc/hostname'\n", os.fsdecode(b"cut\xe9.jpg"): data[:500],
        "cutclip.mp4": (folder / "clip.mp4").read_bytes()[:4000],
    }.items():  # fmt: skip
        (folder / name).write_bytes(content)
    Image.new("RGB", (60000, 2)).save(folder / "wide.png")
    Image.new("1", (14000, 13000)).save(folder / "bomb.png")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "broken.jpg").symlink_to("nowhere.jpg")
    with (folder / "sparse.jpg").open("wb") as file:
        file.truncate(8 << 30)
    bad = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()} - good
    for name, content in {
        "._a.jpg": MAC,
        "photo.heic": b"\0\0\0\x18ftypheic",
        "raw.CR2": b"II*\0",
        "notes.txt": b"x",
    }.items():
        (folder / name).write_bytes(content)  # counted, not named
    return good, bad


def clip(path: Path, picture: Image.Image) -> None:
    """A video of six frames."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=6)
        stream.width, stream.height, stream.pix_fmt = 128, 160, "yuv420p"
        for _ in range(6):
            frame = av.VideoFrame.from_ndarray(np.asarray(picture.resize((128, 160))), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


def write_archives(folder: Path, picture: Image.Image) -> set[str]:
    """Tars and Parquet files; the names of the bad ones and of bad members."""
    folder.mkdir()
    data = jpeg(picture.resize((256, 300)))

    def tar(name: str, members: dict[str, bytes]) -> Path:
        with tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT) as file:
            for member, content in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
        return folder / name

    four = {f"{letter}.jpg": data for letter in "abcd"}
    tar("good.tar", four | {"junk.jpg": b"junk", "eps.jpg": EPS})
    cut, flipped = tar("cut.tar", four), tar("flipped.tar", four)
    cut.write_bytes(cut.read_bytes()[: len(data) * 5 // 2])
    content = bytearray(flipped.read_bytes())
    content[512 + 512 * ((len(data) + 511) // 512) + 5] ^= 4  # in the second header
    flipped.write_bytes(content)
    (folder / "notes.parquet").write_bytes(b"PAR1xx")
    for kind in ("tar", "parquet"):
        os.mkfifo(folder / f"pipe.{kind}")
        (folder / f"broken.{kind}").symlink_to(f"nowhere.{kind}")
    pq.write_table(pa.table({"image": [data, b"junk"], "url": ["http://[::1", "a"]}), folder / "rows.parquet")
    names = ("cut.tar", "flipped.tar", "notes.parquet", "pipe.tar", "pipe.parquet", "broken.tar", "broken.parquet")
    return {*names, "good.tar::junk.jpg", "good.tar::eps.jpg", "rows.parquet::1"}


def write_maps(folder: Path, picture: Image.Image) -> tuple[set[str], set[str]]:
    """Pictures with maps of parts and depth; the names of the pictures whose parts, and whose depth, are bad."""
    images, parts, depth = (folder / name for name in ("images", "parts", "depth"))
    for path in (images, parts, depth):
        path.mkdir(parents=True)
    small = picture.resize((48, 64))
    half = np.zeros((64, 48), np.uint8)
    half[:, :20] = 5
    rgba = np.dstack([half, half, half, np.full_like(half, 128)])
    data = jpeg(small)
    strange = {"bad_image": data[:300], "eps": EPS, "drawn_on_stored": turned(small, already=False)}
    part_maps = {"size_map": half[:30], "class_map": half + 100, "alpha_map": rgba}
    for name in (*"abcdef", "turned", "junk_map", "empty_map", "linked_map", *strange, *part_maps):
        (images / f"{name}.jpg").write_bytes(strange.get(name, data))
        Image.fromarray(part_maps.get(name, half)).save(parts / f"{name}.png")
        np.savez(depth / f"{name}.npz", np.where(half > 0, np.float32(2), np.float32("nan")))
    (images / "turned.jpg").write_bytes(turned(small, already=True))
    for name, content in (("junk_map", b"PK\3\4junk"), ("empty_map", b"")):
        (parts / f"{name}.png").write_bytes(content)
        (depth / f"{name}.npz").write_bytes(content)
    (parts / "linked_map.png").unlink()
    (parts / "linked_map.png").symlink_to("nowhere.png")
    (images / "broken.jpg").symlink_to("nowhere.jpg")
    for path, name in ((parts, "a.png"), (depth, "a.npz")):
        shutil.copy(path / name, path / f"broken{Path(name).suffix}")
    both = {"bad_image", "eps", "drawn_on_stored", "junk_map", "empty_map", "broken"}
    return both | {"linked_map", "size_map", "class_map", "alpha_map"}, both


def write_people(path: Path, photos: Path, good: set[str], bad: set[str]) -> set[str]:
    """A COCO file with a person in each photo; the names of the photos that must be named."""
    pictures = [name for name in sorted(good | bad) if not name.endswith(".mp4") and "\udce9" not in name]
    images, people = [], []
    for number, name in enumerate([*pictures, "gone.jpg"], 1):
        width, height = 300, 400
        if name in good:
            with Image.open(photos / name) as picture:
                width, height = picture.size if name != "turned.jpg" else picture.size[::-1]
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        points = [v for i in range(17) for v in (width * (0.3 + 0.02 * i), height * (0.2 + 0.03 * i), 2)]
        box = [width * 0.1, height * 0.1, width * 0.8, height * 0.8]
        people.append(
            {"id": 0, "image_id": number, "category_id": 1, "bbox": box, "area": box[2] * box[3], "keypoints": points}
        )
    number_of = {image["file_name"]: image["id"] - 1 for image in images}
    turned_one = images[number_of["turned.jpg"]]  # labels drawn on the stored pixels
    turned_one["width"], turned_one["height"] = turned_one["height"], turned_one["width"]
    people[number_of["gray.png"]]["keypoints"][3:6] = [None, None, 2]
    people[number_of["alpha.png"]]["segmentation"] = [[]]
    people[number_of["float.tif"]]["bbox"] = [10, 10, 0, 50]
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO_17.names), "skeleton": []}]
    path.write_text(json.dumps({"images": images, "annotations": people, "categories": categories}))
    return {name for name in bad if name in pictures} | {"gone.jpg", "turned.jpg"}


def cases(folder: Path) -> list[Case]:
    """The commands, with their files written to the folder."""
    picture = Image.open(PHOTOS / "grace_hopper.jpg").convert("RGB")
    picture.thumbnail((400, 400))
    photos, archives, maps = folder / "photos", folder / "archives", folder / "maps"
    good, bad = write_photos(photos, picture)
    bad_archives = write_archives(archives, picture)
    bad_parts, bad_depth = write_maps(maps, picture)
    bad_people = write_people(folder / "people.json", photos, good, bad)
    videos = {name for name in good | bad if name.endswith(".mp4")}
    stills, bad_stills = good - videos, bad - videos

    def files(pattern: str) -> Callable[[Path], int]:
        return lambda output: len(list(output.rglob(pattern)))

    def scored(output: Path) -> int:
        return sum(row["status"] == "ok" for row in manifest(output))

    # Labels are named after the picture without its ending, in JSON: two of one name, no UTF-8, a name too long.
    unnameable = {"a.jpg", "same.png", *(name for name in stills if len(name) > 200 or "\udce9" in name)}
    people, scores, models = folder / "people.json", files("*.json"), files("model.safetensors")
    pose, pretraining = f"--data {people} --images {photos} --keypoints coco_17 {SMALL}", f"--size toy {TINY}"
    collection = f"{photos} {archives} --workers 1 --skip text"
    return [
        Case("predict", f"{photos} {photos / 'cam2'} --whole-image", bad, files("*_keypoints.json"), len(good)),
        Case(
            "annotate",
            f"{photos} --whole-image",
            bad_stills | unnameable,
            files("parts/**/*.png"),
            len(stills - unnameable),
        ),
        Case("curate score", collection, bad_stills | bad_archives, scored, len(stills) + 5),
        Case("evaluate pose", f"--images {photos} --annotations {people}", bad_people, scores, 1),
        Case(
            "evaluate segmentation", f"--images {maps / 'images'} --annotations {maps / 'parts'}", bad_parts, scores, 1
        ),
        Case("evaluate depth", f"--images {maps / 'images'} --annotations {maps / 'depth'}", bad_depth, scores, 1),
        Case("train pretrain", f"--data {photos} {pretraining}", bad_stills, models, 1),
        Case("train pose", pose, bad_people, models, 1),
        Case("train segmentation", f"--data {maps} {SMALL}", bad_parts, models, 1),
        Case("train depth", f"--data {maps} {SMALL}", bad_depth, models, 1),
    ]


def manifest(output: Path) -> list[dict[str, Any]]:
    """The rows of a curation."""
    return pq.read_table(output / "manifest.parquet", columns=["file", "member", "status", "error"]).to_pylist()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="a new folder")
    parser.add_argument("--only", help="commands whose name has this in it")
    folder = parser.parse_args().folder
    only = parser.parse_args().only or ""
    if folder.exists():
        parser.error(f"{folder} is there already: name another --folder")
    folder.mkdir(parents=True)
    failed = False
    print(f"{'command':22}{'done':>10}{'bad':>5}{'named':>7}{'code':>6}  last line")
    for case in cases(folder):
        if only not in case.command:
            continue
        output = folder / case.command.replace(" ", "_")
        output.mkdir()
        target = TARGETS.get(case.command.split()[0], "--output {}").format(output)
        done = subprocess.run(
            [sys.executable, "-m", "opensapiens", *case.command.split(), *case.options.split(), *target.split()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=900,
        )
        text = done.stdout.decode(errors="surrogateescape")
        output.with_suffix(".log").write_bytes(done.stdout)
        if case.command == "curate score":
            text = "\n".join(f"{row['file']}::{row['member']} {row['error']}" for row in manifest(output)) + text
        for rest in output.glob("unreadable.txt"):  # all, of which training names the first on the terminal
            text = rest.read_text(errors="surrogateescape") + text
        unnamed = {name for name in case.bad if not re.search(rf"{re.escape(shown(name))}[^\n]*\w+ \w+", text)}
        results = case.done(output)
        last = text.strip().splitlines()[-1] if text.strip() else ""
        right = not unnamed and done.returncode == 1 and results == case.good and re.search(r"\d", last)
        failed |= not right
        print(
            f"{case.command:22}{results:4} of {case.good:2}{len(case.bad):5}{len(case.bad) - len(unnamed):7}"
            f"{done.returncode:6}  {last[:90]}" + (f"\n  not named: {sorted(unnamed)}" if unnamed else ""),
            flush=True,
        )
    return int(failed)


def shown(name: str) -> str:
    """How a name that is not UTF-8 is printed: up to there."""
    return name.partition("\udce9")[0]


if __name__ == "__main__":
    sys.exit(main())
