"""Each stage's scores move the way they should on pictures made for it."""

from __future__ import annotations

import hashlib
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from opensapiens.curation.drawings import drawing_probability
from opensapiens.curation.people import embedding_stage, person_stage
from opensapiens.curation.picture import WORKING_SIDE, Picture, decode, working_copy
from opensapiens.curation.stages import blur, default_stages, file_facts, perceptual_hash, quality
from opensapiens.curation.text import TEXT, is_line
from opensapiens.storage.pictures import ImageError

from .conftest import encoded, noise_image


def picture(image: np.ndarray) -> Picture:
    return Picture(image, image.shape[:2])


def test_decoding() -> None:
    image = noise_image(0, 30, 50)
    data = encoded(image, "PNG")
    decoded = decode(data)
    assert (decoded.size, decoded.format, decoded.frames, decoded.data) == ((30, 50), "PNG", 1, data)
    assert np.array_equal(decoded.image, image)
    file = io.BytesIO()
    frames = [Image.fromarray(noise_image(seed)) for seed in (1, 2, 3)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert decode(file.getvalue()).frames == 3
    with pytest.raises(ImageError):
        decode(data[:100])


def test_a_working_copy_is_small_and_knows_its_scale() -> None:
    large = picture(np.zeros((1500, 3 * WORKING_SIDE, 3), np.uint8))
    copy = working_copy(large)
    assert copy.image.shape == (500, WORKING_SIDE, 3)
    assert (copy.size, copy.scale) == ((1500, 3 * WORKING_SIDE), 3.0)


def test_facts_of_a_file() -> None:
    data = encoded(noise_image(0, 30, 50), "PNG")
    scores = file_facts(decode(data))
    assert scores["sha256"] == hashlib.sha256(data).hexdigest()
    assert (scores["height"], scores["width"], scores["min_side"], scores["bytes"]) == (30, 50, 30, len(data))
    assert scores["aspect"] == pytest.approx(5 / 3)


def test_the_perceptual_hash_survives_scaling_and_compression() -> None:
    image = noise_image(1, 240, 320)
    small = cv2.resize(image, (160, 120), interpolation=cv2.INTER_AREA)
    bad = decode(encoded(image, quality=30)).image
    first, *others = [perceptual_hash(picture(i)) for i in (image, small, bad, noise_image(2))]
    assert [(first ^ other).bit_count() <= 4 for other in others] == [True, True, False]
    assert 0 <= first < 2**64


def test_quality() -> None:
    sharp = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    soft = cv2.GaussianBlur(sharp, (0, 0), 5)
    gray = cv2.cvtColor(cv2.cvtColor(sharp, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    dark = sharp // 16
    rows = [quality(picture(image)) for image in (sharp, soft, gray, dark, np.full_like(sharp, 255))]
    assert rows[0]["blur"] < 0.15 < 0.3 < rows[1]["blur"]
    assert rows[2]["chroma"] < 0.01 < 0.5 < rows[0]["chroma"]
    assert rows[3]["brightness"] < 0.1 < rows[0]["brightness"]
    assert rows[4]["clipped"] == 1 and rows[4]["blur"] == 1 and rows[4]["contrast"] == 0
    assert all(0 <= value <= 1 for row in rows for value in row.values())
    assert blur(np.zeros((1, 1), np.uint8)) == 0


def test_blur_in_one_direction_counts() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    moved = cv2.blur(gray, (15, 1))
    assert blur(moved) > blur(gray) + 0.1
    assert blur(moved) == pytest.approx(blur(np.ascontiguousarray(moved.T)), abs=0.02)


def test_a_drawing_is_told_from_a_photo() -> None:
    random = np.random.default_rng(0)
    drawing = np.full((200, 300, 3), 240, np.uint8)
    cv2.circle(drawing, (100, 100), 60, (200, 30, 30), -1)
    cv2.rectangle(drawing, (180, 40), (280, 180), (20, 60, 180), 4)
    rough = noise_image(3, 200, 300) + random.normal(0, 6, (200, 300, 3))
    flat, photo = (
        drawing_probability(picture(drawing)),
        drawing_probability(picture(rough.clip(0, 255).astype(np.uint8))),
    )
    assert flat > 0.5 > photo


def test_a_line_of_writing_is_lower_than_the_picture() -> None:
    size = (300, 600)
    line = np.array([[10, 10], [590, 10], [590, 80], [10, 80]], np.float32)
    turn = cv2.getRotationMatrix2D((300, 150), 25, 1)
    turned = cv2.transform(line[None] + [[0, 100]], turn)[0].astype(np.float32)
    whole = np.array([[0, 0], [599, 0], [599, 299], [0, 299]], np.float32)
    assert is_line(line, size) and is_line(turned, size) and is_line(line[:, ::-1].copy(), (600, 300))
    assert not is_line(whole, size)


def test_text_is_found() -> None:
    pytest.importorskip("rapidocr")
    plain = np.full((240, 480, 3), 250, np.uint8)
    written = plain.copy()
    cv2.putText(written, "SAMPLE", (60, 150), cv2.FONT_HERSHEY_SIMPLEX, 2, (0, 0, 0), 6)
    none, some = TEXT.make()([Picture(plain, (480, 960)), Picture(written, (480, 960))])
    assert none["text_area"] == 0 and none["text_boxes"] == []
    assert 0.08 < some["text_area"] < 0.4
    corners = np.array(some["text_boxes"]).reshape(-1, 4, 2)  # in the original, twice as large
    assert corners[..., 0].min() == pytest.approx(120, abs=60) and corners[..., 0].max() == pytest.approx(590, abs=70)


class TwoPeople:
    """A detector that finds a sure small one and a less sure large one in the working copy."""

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Their boxes and scores."""
        return np.array([[10, 0, 60, 90], [100, 50, 400, 500]], np.float32), np.array([0.97, 0.92], np.float32)


def test_the_main_person_is_the_best_of_the_large_ones() -> None:
    stage = person_stage(TwoPeople(), "7")
    small, large = (
        Picture(np.zeros((512, 512, 3), np.uint8), (512, 512)),
        Picture(np.zeros((512, 512, 3), np.uint8), (2048, 2048)),
    )
    first, second = stage.make()([small, large])
    assert (first["person_score"], first["person_min_side"]) == (pytest.approx(0.97), 50)  # nobody is above 300 pixels
    assert (second["person_score"], second["person_min_side"]) == (pytest.approx(0.92), 1200)
    assert second["person_boxes"][:4] == [40, 0, 240, 360]
    assert stage.version == "TwoPeople 7"


def test_nobody() -> None:
    class Nobody:
        def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.empty((0, 4), np.float32), np.empty(0, np.float32)

    (scores,) = person_stage(Nobody()).make()([picture(noise_image(0))])
    assert scores == {"person_score": 0.0, "person_min_side": 0.0, "person_scores": [], "person_boxes": []}


def test_embeddings_are_unit_vectors_and_alike_for_the_same_picture() -> None:
    image = noise_image(1, 96, 128)
    rows = embedding_stage().make()(
        [picture(image), picture(cv2.resize(image, (256, 192))), picture(255 - noise_image(2, 96, 128))]
    )
    one, same, other = [np.array(row["embedding"]) for row in rows]
    assert np.linalg.norm(one) == pytest.approx(1)
    assert one @ same > one @ other
    assert one @ same > 0.98


def test_the_embedded_models_weights_are_part_of_the_version() -> None:
    stages = {stage.name: stage for stage in default_stages()}
    assert len(stages) == 7
    for stage, models in (("person", ["detector", "nano"]), ("embedding", ["nano"])):
        parts = [part.split() for part in stages[stage].version.split(", ")]
        assert [name for name, _ in parts] == models and all(len(digest) == 12 for _, digest in parts)
