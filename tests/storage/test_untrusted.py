"""Files that are no pictures start nothing, open nothing else, and take no memory, whoever reads them."""

import ast
import base64
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import opensapiens
from opensapiens.curation.picture import decode
from opensapiens.curation.sources import Item, find_items, read_item
from opensapiens.data.images import ImageCollection
from opensapiens.data.label_maps import read_array
from opensapiens.inference.pipeline import read_frame
from opensapiens.storage.pictures import IMAGE_FORMATS, ImageError, read_image
from opensapiens.synthetic.environment import read_panorama
from opensapiens.synthetic.scan_files import ScanError, read_scan

PACKAGE = Path(opensapiens.__file__).parent


def postscript() -> bytes:
    """A drawing that Pillow hands to Ghostscript."""
    stored = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stored, "EPS")
    return stored.getvalue()


def in_predict(data: bytes, folder: Path) -> None:
    (folder / "photo.jpg").write_bytes(data)
    read_frame(folder / "photo.jpg")


def in_tar(data: bytes, folder: Path) -> Path:
    with tarfile.open(folder / "shard.tar", "w") as tar:
        member = tarfile.TarInfo("photo.jpg")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return folder / "shard.tar"


def in_curation(data: bytes, folder: Path) -> None:
    (item,) = find_items([in_tar(data, folder)])
    decode(read_item(item))


def in_pretraining(data: bytes, folder: Path) -> None:
    _ = ImageCollection(in_tar(data, folder))[0]


TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"


def in_obj(data: bytes, folder: Path) -> None:
    (folder / "skin.jpg").write_bytes(data)
    (folder / "a.mtl").write_text("newmtl skin\nmap_Kd skin.jpg\n")
    (folder / "a.obj").write_text(f"mtllib a.mtl\n{TRIANGLE}usemtl skin\nf 1/1 2/2 3/3\n")
    read_scan(folder / "a.obj")


def in_gltf(data: bytes, folder: Path) -> None:
    floats = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
    views = [{"buffer": 0, "byteOffset": 0, "byteLength": 72}, {"buffer": 0, "byteOffset": 72, "byteLength": len(data)}]
    texture = {"index": 0}
    header = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0}]}],
        "materials": [{"extensions": {"KHR_materials_pbrSpecularGlossiness": {
            "diffuseTexture": texture, "specularGlossinessTexture": texture}}}],
        "textures": [{"source": 0}], "images": [{"bufferView": 1, "mimeType": "image/jpeg"}], "bufferViews": views,
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 0, "byteOffset": 36, "componentType": 5126, "count": 3, "type": "VEC2"},
        ],
        "buffers": [{"uri": "data:application/octet-stream;base64," + base64.b64encode(floats + data).decode(),
                     "byteLength": 72 + len(data)}],
    }  # fmt: skip
    (folder / "a.gltf").write_text(json.dumps(header))
    read_scan(folder / "a.gltf")


READERS: list[Callable[[bytes, Path], None]] = [in_predict, in_curation, in_pretraining, in_obj, in_gltf]


@pytest.mark.parametrize("reader", READERS)
def test_postscript_is_refused_and_starts_nothing(
    reader: Callable[[bytes, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # looked for anew
    with pytest.raises((ImageError, ScanError), match="not a picture in a format that can be read"):
        reader(postscript(), tmp_path)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("reader", READERS)
def test_the_same_places_take_a_picture(reader: Callable[[bytes, Path], None], tmp_path: Path) -> None:
    stored = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stored, "PNG")
    reader(stored.getvalue(), tmp_path)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def circle(path: Path) -> None:
    path.symlink_to(path.name)


def giant(path: Path) -> None:
    """8 GB that take no room."""
    path.touch()
    os.truncate(path, 8_000_000_000)


def curated(path: Path) -> None:
    read_item(Item(str(path)))


def textured(path: Path) -> None:
    library = "newmtl skin\nmap_Kd photo.jpg\n"
    path.with_name("a.mtl").write_text(library)
    path.with_name("a.obj").write_text(f"mtllib a.mtl\n{TRIANGLE}usemtl skin\nf 1/1 2/2 3/3\n")
    read_scan(path.with_name("a.obj"))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (pipe, "not a regular file"),
        (device, "not a regular file|escapes resolver root"),
        (circle, "symbolic links|Symlink loop"),
        (giant, "8,000,000,000 bytes"),
    ],
)
@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("photo.jpg", read_image),
        ("photo.jpg", curated),
        ("photo.jpg", textured),
        ("map.png", read_array),
        ("map.npy", read_array),
        ("map.npz", read_array),
        ("map.exr", read_array),
        ("light.hdr", read_panorama),
        ("body.glb", read_scan),
        ("body.ply", read_scan),
    ],
)
def test_what_may_never_end_is_not_read(
    name: str, reader: Callable[[Path], object], make: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    make(tmp_path / name)
    with pytest.raises((ImageError, ScanError), match=sentence):
        reader(tmp_path / name)


def test_the_formats_are_these() -> None:
    assert IMAGE_FORMATS == ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def test_pictures_are_opened_in_one_place() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("Image.open", "cv2.imread", "PIL.Image.open")
    }
    assert found == {"storage/pictures.py"}
