"""Draws the small pictures of docs/conventions.md: python docs/pictures/conventions.py"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from opensapiens.drawing import depth_colors, legend, normal_colors
from opensapiens.geometry.view import IMAGE_MEAN, person_view, whole_image_view
from opensapiens.labels.parts import SAPIENS_28

FOLDER = Path(__file__).parent
PAPER, INK, RED, BLUE, GRAY = (255, 255, 255), (30, 30, 30), (200, 40, 40), (30, 90, 200), (205, 205, 205)
FONT = ImageFont.load_default(size=13)
Point = tuple[float, float]


def arrow(pen: ImageDraw.ImageDraw, start: Point, end: Point, color: tuple[int, int, int], label: str = "") -> None:
    """A line with a head at its end, and a label beyond it."""
    a, b = np.array(start, float), np.array(end, float)
    along = (b - a) / np.linalg.norm(b - a)
    across = np.array([-along[1], along[0]])
    pen.line([tuple(a), tuple(b)], fill=color, width=2)
    pen.polygon([tuple(b), tuple(b - 9 * along + 4 * across), tuple(b - 9 * along - 4 * across)], fill=color)
    if label:
        pen.text(tuple(b + 12 * along), label, fill=color, font=FONT, anchor="mm")


def points() -> Image.Image:
    """Pixel centers, corners and the box of one pixel."""
    picture = Image.new("RGB", (420, 230), PAPER)
    pen, side, left, top = ImageDraw.Draw(picture), 44, 120, 46
    for row in range(4):
        for column in range(5):
            x, y = left + column * side, top + row * side
            pen.rectangle((x, y, x + side, y + side), outline=GRAY)
            pen.ellipse((x + side / 2 - 2, y + side / 2 - 2, x + side / 2 + 2, y + side / 2 + 2), fill=INK)
    pen.rectangle((left + 3 * side, top + 2 * side, left + 4 * side, top + 3 * side), outline=RED, width=3)
    arrow(pen, (left, top - 16), (left + 80, top - 16), BLUE, "x")
    arrow(pen, (left - 16, top), (left - 16, top + 60), BLUE, "y")
    pen.text((left + side / 2, top + side / 2 + 12), "(0, 0)", fill=INK, font=FONT, anchor="mm")
    pen.text((left - 24, top - 16), "(-0.5, -0.5)", fill=INK, font=FONT, anchor="rm")
    pen.text((left + 3.5 * side, top + 2.5 * side + 12), "(3, 2)", fill=INK, font=FONT, anchor="mm")
    pen.text((left + 5 * side + 6, top + 2.5 * side), "3, 2, 4, 3", fill=RED, font=FONT, anchor="lm")
    return picture


def scene() -> np.ndarray:
    """A wide picture of a figure, 300 x 160."""
    picture = Image.new("RGB", (300, 160), (150, 185, 215))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 120, 300, 160), fill=(120, 150, 90))
    pen.ellipse((198, 28, 222, 52), fill=(230, 190, 160))
    pen.rectangle((192, 54, 228, 100), fill=(190, 60, 60))
    pen.rectangle((194, 100, 208, 142), fill=(50, 60, 110))
    pen.rectangle((212, 100, 226, 142), fill=(50, 60, 110))
    return np.asarray(picture)


def views() -> Image.Image:
    """What a network of 128 x 96 is shown of that picture."""
    image, size = scene(), (128, 96)
    box = np.array([190, 26, 230, 144], np.float32)
    shown = {
        "person_crop": person_view(box, image.shape[:2], size, 1.25),
        "squash": whole_image_view(image.shape[:2], size),
        "letterbox": whole_image_view(image.shape[:2], size, keep_aspect=True, border=IMAGE_MEAN),
    }
    picture = Image.new("RGB", (680, 200), PAPER)
    pen = ImageDraw.Draw(picture)
    picture.paste(Image.fromarray(image), (10, 30))
    pen.rectangle((10 + box[0], 30 + box[1], 10 + box[2], 30 + box[3]), outline=RED, width=2)
    pen.text((10, 10), "photo, with the box of a person", fill=INK, font=FONT)
    for place, (name, view) in enumerate(shown.items()):
        left = 330 + place * 118
        pen.text((left, 10), name, fill=INK, font=FONT)
        picture.paste(Image.fromarray(view.pixels(image)), (left, 46))
    return picture


def sphere(size: int = 150) -> np.ndarray:
    """Normals of a sphere that faces the viewer, NaN around it."""
    y, x = np.mgrid[1 : -1 : size * 1j, -1 : 1 : size * 1j] * 1.08
    z = np.sqrt(np.clip(1 - x**2 - y**2, 0, None))
    return np.where((x**2 + y**2 < 1)[..., None], np.stack([x, y, z], axis=-1), np.nan).astype(np.float32)


def depth() -> Image.Image:
    """A sphere in the colors of depth."""
    picture = Image.new("RGB", (420, 170), PAPER)
    pen = ImageDraw.Draw(picture)
    picture.paste(Image.fromarray(depth_colors(1 - sphere()[..., 2])), (10, 10))
    pen.text((175, 40), "near: small value, bright, PNG 1", fill=INK, font=FONT)
    pen.text((175, 75), "far: large value, dark, PNG 65535", fill=INK, font=FONT)
    pen.text((175, 110), "nobody: NaN, gray, PNG 0", fill=INK, font=FONT)
    return picture


def normals() -> Image.Image:
    """A sphere in the colors of normals, with the axes."""
    picture = Image.new("RGB", (420, 190), PAPER)
    pen = ImageDraw.Draw(picture)
    picture.paste(Image.fromarray(normal_colors(sphere())), (10, 20))
    arrow(pen, (85, 95), (172, 95), INK, "+x")
    arrow(pen, (85, 95), (85, 15), INK, "+y")
    pen.ellipse((79, 89, 91, 101), outline=INK, width=2, fill=PAPER)
    pen.ellipse((83, 93, 87, 97), fill=INK)
    pen.text((98, 108), "+z", fill=INK, font=FONT)
    pen.text((205, 45), "x: red, to the viewer's right", fill=INK, font=FONT)
    pen.text((205, 80), "y: green, up", fill=INK, font=FONT)
    pen.text((205, 115), "z: blue, out of the picture,", fill=INK, font=FONT)
    pen.text((205, 133), "towards the camera", fill=INK, font=FONT)
    return picture


def cloud() -> Image.Image:
    """The camera of a point cloud from the side."""
    picture = Image.new("RGB", (420, 190), PAPER)
    pen = ImageDraw.Draw(picture)
    camera = (330, 100)
    pen.polygon([camera, (350, 85), (350, 115)], fill=GRAY, outline=INK)
    arrow(pen, camera, (395, 100), BLUE, "+z")
    arrow(pen, camera, (330, 35), BLUE, "+y")
    for height in (-62, 62):
        pen.line([camera, (90, 100 + height)], fill=GRAY)
    pen.arc((80, 50, 150, 150), 270, 90, fill=RED, width=3)
    pen.text((352, 122), "camera (0, 0, 0)", fill=INK, font=FONT, anchor="mm")
    pen.text((160, 100), "near", fill=INK, font=FONT, anchor="lm")
    pen.text((110, 164), "far", fill=INK, font=FONT, anchor="rm")
    pen.text((10, 8), "seen from the side; z of the people is negative", fill=INK, font=FONT)
    return picture


def main() -> None:
    """Write all of them beside this file."""
    made = {"points": points(), "views": views(), "depth": depth(), "normals": normals(), "cloud": cloud()}
    made["parts"] = Image.fromarray(legend(SAPIENS_28, range(28), height=420))
    for name, picture in made.items():
        picture.quantize(256).save(FOLDER / f"convention_{name}.png", optimize=True)


if __name__ == "__main__":
    main()
