"""Label maps of every kind of file, and files that are none."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from opensapiens.data.label_maps import read_array, read_depth, read_mask, read_normals, read_parts
from opensapiens.labels.parts import SAPIENS_28
from opensapiens.storage import pictures
from opensapiens.storage.pictures import ImageError

IDS = np.array([[0, 1, 27], [3, 255, 2]], np.uint8)
DEPTH = np.array([[1.5, 2.0, np.nan], [0.0, 3.25, np.inf]], np.float32)


def save_exr(path: Path, channels: dict[str, np.ndarray]) -> None:
    openexr = pytest.importorskip("OpenEXR")
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    with openexr.File(header, channels) as file:
        file.write(str(path))


def test_parts_from_indices_gray_and_colors(tmp_path: Path) -> None:
    indexed = Image.fromarray(IDS, "P")
    indexed.putpalette(bytes(range(256)) * 3)  # of colors that mean nothing
    indexed.save(tmp_path / "indexed.png")
    Image.fromarray(IDS, "L").save(tmp_path / "gray.png")
    np.save(tmp_path / "ids.npy", IDS.astype(np.int64))
    for name in ("indexed.png", "gray.png", "ids.npy"):
        np.testing.assert_array_equal(read_parts(tmp_path / name, SAPIENS_28), IDS)
    known = np.where(IDS == 255, 0, IDS)
    Image.fromarray(SAPIENS_28.colors[known]).save(tmp_path / "color.png")
    np.testing.assert_array_equal(read_parts(tmp_path / "color.png", SAPIENS_28), known)


def test_parts_that_the_set_does_not_have(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 40, np.uint8)).save(tmp_path / "gray.png")
    with pytest.raises(ImageError, match="holds the class 40; sapiens_28 has 0 to 27"):
        read_parts(tmp_path / "gray.png", SAPIENS_28)
    Image.fromarray(np.full((2, 2, 3), 7, np.uint8)).save(tmp_path / "color.png")
    with pytest.raises(ImageError, match="4 pixels are of no color of sapiens_28, the first of #070707"):
        read_parts(tmp_path / "color.png", SAPIENS_28)
    np.save(tmp_path / "half.npy", np.full((2, 2), 0.5))
    with pytest.raises(ImageError, match="no whole numbers"):
        read_parts(tmp_path / "half.npy", SAPIENS_28)


def test_depth(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", DEPTH)
    np.savez(tmp_path / "d.npz", depth=DEPTH[..., None], camera=np.eye(3))
    save_exr(tmp_path / "d.exr", {"Z": DEPTH})
    millimeters = np.nan_to_num(DEPTH * 1000, nan=0, posinf=0).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "d.png"), millimeters)
    expected = np.array([[1.5, 2.0, np.nan], [np.nan, 3.25, np.nan]], np.float32)
    for name, scale in (("d.npy", 1), ("d.npz", 1), ("d.exr", 1), ("d.png", 0.001)):
        np.testing.assert_allclose(read_depth(tmp_path / name, scale), expected, rtol=1e-6, err_msg=name)


def test_normals(tmp_path: Path) -> None:
    vectors = np.array([[[0, 0, 1], [0.6, 0, 0.8]], [[-0.8, 0.6, 0], [np.nan] * 3]], np.float32)
    np.save(tmp_path / "n.npy", vectors * 2)  # not of length 1
    np.save(tmp_path / "long.npy", vectors * np.float32(1e30))
    known = np.nan_to_num(vectors)
    save_exr(tmp_path / "n.exr", {"X": known[..., 0].copy(), "Y": known[..., 1].copy(), "Z": known[..., 2].copy()})
    for name, full in (("n8.png", 255), ("n16.png", 65535)):
        stored = np.rint((known + 1) / 2 * full).astype(np.uint8 if full == 255 else np.uint16)
        stored[1, 1] = 0
        cv2.imwrite(str(tmp_path / name), stored[..., ::-1])
    for name, tolerance in (("n.npy", 1e-6), ("long.npy", 1e-6), ("n.exr", 1e-6), ("n8.png", 0.01), ("n16.png", 1e-4)):
        np.testing.assert_allclose(read_normals(tmp_path / name), vectors, atol=tolerance, err_msg=name)


def test_masks(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255], [1, 0]], np.uint8)).save(tmp_path / "m.png")
    Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1").save(tmp_path / "b.png")
    for name in ("m.png", "b.png"):
        assert read_mask(tmp_path / name).tolist() == [[False, True], [True, False]]


class Touch:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_files_that_nobody_should_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = np.array([Touch(tmp_path / "ran")], dtype=object)
    np.save(tmp_path / "pickle.npy", objects)
    np.savez(tmp_path / "pickle.npz", depth=objects)
    for name in ("pickle.npy", "pickle.npz"):
        with pytest.raises(ImageError, match="Python objects"):
            read_array(tmp_path / name)
    assert not (tmp_path / "ran").exists()
    with (tmp_path / "bomb.npy").open("wb") as file:  # a header of terabytes and nothing behind it
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 20, 1 << 20)}
        )
    with pytest.raises(ImageError, match="too large"):
        read_array(tmp_path / "bomb.npy")
    with zipfile.ZipFile(tmp_path / "two.npz", "w") as archive:
        archive.writestr("a.npy", b"")
        archive.writestr("b.npy", b"")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 3)
    Image.fromarray(IDS).save(tmp_path / "large.png")
    for name, message in (("two.npz", "holds 2 arrays"), ("large.png", "more than the limit of 3")):
        with pytest.raises(ImageError, match=message):
            read_array(tmp_path / name)


def test_damaged_files(tmp_path: Path) -> None:
    for suffix in (".png", ".npy", ".npz", ".exr"):
        if suffix == ".exr":
            pytest.importorskip("OpenEXR")
        for content in (b"", b"nonsense of some length, longer than any magic number"):
            path = tmp_path / f"bad{suffix}"
            path.write_bytes(content)
            with pytest.raises(ImageError, match=f"bad{suffix}"):
                read_array(path)
    for name in ("no.png", "no.npy", "map.jpg"):
        with pytest.raises(ImageError, match=name):
            read_array(tmp_path / name)
    np.save(tmp_path / "line.npy", np.zeros(5))
    with pytest.raises(ImageError, match="not a map of numbers"):
        read_array(tmp_path / "line.npy")


def test_a_chunk_longer_than_the_file_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    png = bytearray(cv2.imencode(".png", np.full((8, 9, 3), 999, np.uint16))[1].tobytes())
    png[png.index(b"IDAT") - 4] |= 0x80  # 2 GiB, which OpenCV allocates and Pillow does not
    path = tmp_path / "normals.png"
    path.write_bytes(png)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"normals\.png: not an image that can be decoded"):
        read_array(path)


def test_bytes_after_the_end_of_a_png_are_no_fault(tmp_path: Path) -> None:
    colors = np.arange(8 * 9 * 3, dtype=np.uint16).reshape(8, 9, 3)
    path = tmp_path / "normals.png"
    path.write_bytes(cv2.imencode(".png", colors[..., ::-1])[1].tobytes() + b"trailing")
    np.testing.assert_array_equal(read_array(path), colors)


def npy(shape: object, descr: str = "|u1") -> bytes:
    """A header, and nothing behind it."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (npy((28_000, 28_000)), "too large"),
        (npy((10_000, 10_000, 3), "<f8"), "too large"),
        (npy((1 << 70, 1 << 70)), "too large"),
        (npy((4,)), "not a map of numbers"),
        (npy((-4, -4)), "cannot be read"),
        (npy("(4, 4"), "cannot be read"),
        (npy("(4, " * 3000), "cannot be read"),
        (npy("(4.0, 'x')"), "cannot be read"),
        (npy((4, 4), "<z9"), "cannot be read"),
        (npy((4, 4)), "cannot be read"),
        (b"\x93NUMPY\x09\x00\x00\x00", "cannot be read"),
    ],
)
@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_headers_are_not_believed(header: bytes, sentence: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"map{ending}"
    if ending == ".npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("depth.npy", header)
    else:
        path.write_bytes(header)
    with pytest.raises(ImageError, match=sentence):
        read_array(path)


def test_part_maps_with_alpha(tmp_path: Path) -> None:
    Image.merge("LA", (Image.fromarray(IDS), Image.new("L", IDS.shape[::-1], 128))).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_parts(tmp_path / "a.png", SAPIENS_28), IDS)
