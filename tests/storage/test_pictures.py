"""Pictures of every unpleasant kind become RGB or a clear error."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from opensapiens.curation.picture import decode
from opensapiens.storage import pictures
from opensapiens.storage.pictures import ImageError, read_image

RED_TOP = np.zeros((6, 4, 3), np.uint8)
RED_TOP[:3, :, 0] = 255
RED_TOP[3:, :, 2] = 255


def stored(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_path_bytes_pil_and_array_are_the_same(tmp_path: Path) -> None:
    image = Image.fromarray(RED_TOP)
    image.save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), stored(image, "PNG"), image, RED_TOP):
        result = read_image(source)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, RED_TOP)


def test_the_content_and_not_the_name_says_the_format(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(stored(Image.fromarray(RED_TOP), "PNG"))
    np.testing.assert_array_equal(read_image(tmp_path / "photo.jpg"), RED_TOP)


@pytest.mark.parametrize(("orientation", "turned"), [(6, np.rot90(RED_TOP, -1)), (3, RED_TOP[::-1, ::-1])])
def test_exif_rotation(orientation: int, turned: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read_image(stored(Image.fromarray(RED_TOP), "PNG", exif=exif)), turned)


def test_cmyk() -> None:
    result = read_image(stored(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert result.shape == (8, 8, 3) and result[4, 4, 0] > 245 and result[4, 4, 1:].max() < 10


@pytest.mark.parametrize("value", [0, 257 * 100, 65535])
def test_sixteen_bit_gray_is_scaled(value: int) -> None:
    gray = np.full((4, 5), value, np.uint16)
    for source in (stored(Image.fromarray(gray), "PNG"), stored(Image.fromarray(gray), "TIFF"), gray):
        np.testing.assert_array_equal(read_image(source), np.full((4, 5, 3), value // 257, np.uint8))


def test_transparent_pixels_lie_over_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0], rgba[0, :, 3] = 200, (255, 0, 128)
    expected = [[200, 0, 0], [255, 255, 255], [227, 127, 127]]
    for source in (stored(Image.fromarray(rgba), "PNG"), rgba):
        assert np.abs(read_image(source)[0].astype(int) - expected).max() <= 1


def test_palettes_with_and_without_transparency() -> None:
    palette = Image.fromarray(RED_TOP).quantize(4)
    np.testing.assert_array_equal(read_image(stored(palette, "PNG")), RED_TOP)
    blue = palette.getpixel((0, 5))
    result = read_image(stored(palette, "GIF", transparency=blue))
    assert result[0, 0].tolist() == [255, 0, 0] and result[5, 0].tolist() == [255, 255, 255]


def test_gray_and_one_bit() -> None:
    assert read_image(Image.new("L", (3, 2), 77)).tolist() == [[[77] * 3] * 3] * 2
    assert read_image(stored(Image.new("1", (3, 2), 1), "PNG")).tolist() == [[[255] * 3] * 3] * 2
    assert read_image(np.full((2, 3, 1), 9, np.uint8)).shape == (2, 3, 3)


def test_of_an_animation_the_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    animation = stored(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_image(animation)[0, 0].tolist() == [255, 0, 0]
    opened = Image.open(io.BytesIO(animation))
    opened.seek(1)
    assert read_image(opened)[0, 0].tolist() == [255, 0, 0]


def test_missing_empty_folder_and_no_picture(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    for name, message in [
        ("missing.jpg", "cannot be read"),
        ("empty.jpg", "empty"),
        ("text.jpg", "not a picture"),
        ("", "cannot be read"),
    ]:
        with pytest.raises(ImageError, match=message):
            read_image(tmp_path / name)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = stored(Image.fromarray(noise), kind)
    with pytest.raises(ImageError, match="the image data"):
        read_image(data[: len(data) // 2])


def test_too_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 20)
    for source in (stored(Image.fromarray(RED_TOP), "PNG"), RED_TOP):
        with pytest.raises(ImageError, match="4x6 pixels are more than the limit of 20"):
            read_image(source)


def test_a_bomb_is_refused_by_its_header() -> None:
    header = stored(Image.new("1", (8, 8)), "PNG")
    huge = header[:16] + (60_000).to_bytes(4, "big") * 2 + header[24:]
    with pytest.raises(ImageError, match="the image data"):
        read_image(huge)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        (np.zeros((0, 4, 3), np.uint8), "not empty"),
        (np.zeros((4, 4, 2), np.uint8), "this one is"),
        (np.zeros((2, 4, 4, 3), np.uint8), "this one is"),
    ],
)
def test_arrays_that_are_no_image(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(array)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.2, 1], [0, 51, 255]),
        ([-0.01, 0.2, 1.02], [0, 51, 255]),  # resampled
        ([0, 51, 255], [0, 51, 255]),
        ([0, 51 * 257, 65535], [0, 51, 255]),
    ],
)
def test_floating_point_gray_is_scaled_by_what_its_values_say(values: list[float], expected: list[int]) -> None:
    tiff = stored(Image.fromarray(np.array([values], np.float32)), "TIFF")
    assert read_image(tiff)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("values", [[-1.0, 0.0, 1.0], [0.0, 1e9, 5.0], [0.0, np.nan, 1.0], [0.0, np.inf, 1.0]])
def test_floating_point_that_says_nothing_is_refused(values: list[float]) -> None:
    with pytest.raises(ImageError, match="values"):
        read_image(stored(Image.fromarray(np.array([values], np.float32)), "TIFF"))


def test_integers_of_32_bits_are_scaled_by_their_values() -> None:
    for top in (255, 65535):
        tiff = stored(Image.fromarray(np.array([[0, top]], np.int32)), "TIFF")
        assert read_image(tiff)[0, :, 0].tolist() == [0, 255]


def test_an_open_file(tmp_path: Path) -> None:
    data = stored(Image.fromarray(RED_TOP), "PNG")
    np.testing.assert_array_equal(read_image(io.BytesIO(data)), RED_TOP)
    (tmp_path / "a.png").write_bytes(data)
    with (tmp_path / "a.png").open("rb") as file:
        np.testing.assert_array_equal(read_image(file), RED_TOP)
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(file)
    with pytest.raises(ImageError, match="the file is empty"):
        read_image(io.BytesIO())


@pytest.mark.parametrize("read", [read_image, lambda data: decode(data).image])
def test_a_damaged_second_page_does_not_matter(read: Callable[[bytes], np.ndarray]) -> None:
    pages = [Image.fromarray(RED_TOP), Image.fromarray(RED_TOP[::-1])]
    data = bytearray(stored(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    with Image.open(io.BytesIO(data)) as image:
        image.seek(1)
        data[image.tag_v2._offset : image.tag_v2._offset + 60] = b"\xff" * 60
    np.testing.assert_array_equal(read(bytes(data)), RED_TOP)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_as_pillow_has_it(orientation: int) -> None:
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = stored(image, "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(read_image(data), expected)


def test_a_picture_of_many_bands_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "BAND_PIXELS", 9)
    noise = np.random.default_rng(0).integers(0, 256, (11, 4, 4), dtype=np.uint8)
    opaque = stored(Image.fromarray(noise[..., :3]), "PNG")
    np.testing.assert_array_equal(read_image(opaque), noise[..., :3])
    over_white = np.rint(255 + (noise[..., :3] - 255.0) * (noise[..., 3:] / 255))
    assert np.abs(read_image(stored(Image.fromarray(noise), "PNG")) - over_white).max() <= 1
    gray = np.linspace(0, 1, 44, dtype=np.float32).reshape(11, 4)
    expected = np.rint(gray * 255).astype(np.uint8)
    np.testing.assert_array_equal(read_image(stored(Image.fromarray(gray), "TIFF"))[..., 0], expected)


def test_out_of_memory_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pictures, "_rgb", none_left)
    with pytest.raises(ImageError, match="not enough memory for its 4x6 pixels"):
        read_image(stored(Image.fromarray(RED_TOP), "PNG"))


def test_a_thread_of_a_picture_is_refused() -> None:
    with pytest.raises(ImageError, match="3000x2 pixels; a side may be"):
        read_image(np.zeros((2, 3000, 3), np.uint8))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says how much memory was taken")
def test_reading_costs_a_few_times_the_picture(tmp_path: Path) -> None:
    Image.new("RGB", (5000, 4000), "red").save(tmp_path / "a.png", compress_level=1)
    code = """
import re, sys
from opensapiens.storage.pictures import read_image
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
before = peak()
pixels = read_image(sys.argv[1])
print((peak() - before) / pixels.nbytes)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 4
