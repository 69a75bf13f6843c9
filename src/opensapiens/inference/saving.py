"""A result as files: COCO JSON, indexed PNG, 16-bit PNG, NPZ and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from opensapiens.drawing import normal_colors

if TYPE_CHECKING:
    from opensapiens.inference.results import Depth, Parts, Result

MINIMUM_SCORE = 0.05  # a point below it is written with visibility 0, as the COCO format asks for points not found


def save_result(result: Result, folder: Path, name: str) -> list[Path]:
    """Write every part of a result into a folder, made if missing; returns the files in the order written.

    NAME_keypoints.json     COCO keypoint JSON (images, annotations, categories) with a score per point in
    "keypoint_scores" NAME_parts.png          indexed PNG: pixel = class id, palette = the part colours
    NAME_depth.png          16-bit PNG: 0 = nobody, 1 (nearest) … 65535 (farthest), linear between
    NAME_depth.npz          "depth" float32, the raw values, NaN where nobody is
    NAME_normals.npz        "normals" float16 unit vectors, NaN where nobody is
    NAME_normals.png        8-bit view of them, (n + 1) / 2
    NAME_pose.jpg, NAME_segmentation.jpg, …   one overlay per task; NAME_sheet.jpg   all of them on one sheet

    Only what was predicted is written. Raises OSError if a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []

    def path(ending: str) -> Path:
        written.append(folder / f"{name}_{ending}")
        return written[-1]

    path("keypoints.json").write_text(json.dumps(coco_keypoints(result, name), separators=(",", ":")) + "\n")
    if result.parts is not None:
        _save_parts(result.parts, path("parts.png"))
    if result.depth is not None:
        Image.fromarray(depth_to_16_bits(result.depth)).save(path("depth.png"))
        np.savez_compressed(path("depth.npz"), depth=result.depth.values)
    if result.normals is not None:
        np.savez_compressed(path("normals.npz"), normals=result.normals.values.astype(np.float16))
        Image.fromarray(normal_colors(result.normals.values)).save(path("normals.png"))
    pictures = result.overlays()
    for task, picture in pictures.items():
        Image.fromarray(picture).save(path(f"{task}.jpg"), quality=92)
    Image.fromarray(result.sheet(pictures)).save(path("sheet.jpg"), quality=92)
    return written


def coco_keypoints(result: Result, name: str) -> dict[str, Any]:
    """One image's people as a COCO keypoint dictionary; points are x, y, v with v 2 where found and 0 where not.

    Without a pose head the annotations carry boxes only.
    """
    height, width = result.image.shape[:2]
    keypoint_set = result.keypoint_set
    category: dict[str, Any] = {"id": 1, "name": "person", "supercategory": "person"}
    if keypoint_set is not None:
        category |= {"keypoints": list(keypoint_set.names), "skeleton": (keypoint_set.limbs + 1).tolist()}
    annotations = []
    for person in result.persons:
        x1, y1, x2, y2 = (round(float(value), 2) for value in person.box)
        annotation: dict[str, Any] = {
            "id": person.id,
            "image_id": 1,
            "category_id": 1,
            "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
            "area": int(person.mask.sum()),
            "iscrowd": 0,
            "score": round(float(person.score), 4),
        }
        if keypoint_set is not None:
            found = person.scores >= MINIMUM_SCORE
            points = np.column_stack([np.round(person.keypoints, 2), np.where(found, 2, 0)])
            annotation |= {
                "keypoints": [round(float(value), 2) for value in points.ravel()],
                "num_keypoints": int(found.sum()),
                "keypoint_scores": [round(float(score), 4) for score in person.scores],
            }
        annotations.append(annotation)
    file_name = result.source.name if result.source else name
    image = {"id": 1, "file_name": file_name, "width": width, "height": height}
    return {"images": [image], "annotations": annotations, "categories": [category]}


def depth_to_16_bits(depth: Depth) -> np.ndarray:
    """H×W uint16: 0 where there is no depth, else 1 (nearest) to 65535 (farthest)."""
    normalized = depth.normalized()
    valid = np.isfinite(normalized)
    return np.where(valid, 1 + np.round(np.where(valid, normalized, 0) * 65534), 0).astype(np.uint16)


def _save_parts(parts: Parts, path: Path) -> None:
    picture = Image.fromarray(parts.labels)  # mode L; the palette turns it into an indexed PNG with the same values
    picture.putpalette(parts.part_set.colors.astype(np.uint8).tobytes())
    picture.save(path)
