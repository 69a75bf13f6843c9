"""Shards as folders of pictures with COCO annotation files, for tools that read those."""

from pathlib import Path
from typing import Any

import numpy as np

from opensapiens.data.coco import WHOLEBODY_FIELDS
from opensapiens.data.segmentations import run_lengths_of
from opensapiens.data.shards import ShardDataset
from opensapiens.labels.keypoint_maps import source_indices
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308, WHOLEBODY_133, KeypointSet
from opensapiens.storage.files import write_bytes, write_json
from opensapiens.storage.folders import claim
from opensapiens.storage.progress import progress

KEYPOINT_SETS = (COCO_17, WHOLEBODY_133, SAPIENS_308)
FOLDERS = {"jpg": "images", "json": "records"}
"""Other members go to a folder of their own name: instances, parts, depth, normals."""


def unpack(shards: Path | str, out: Path | str) -> Path:
    """Writes the frames of a folder of shards as images/KEY.jpg, instances/KEY.png, parts/KEY.png, depth/KEY.png,
    normals/KEY.png and records/KEY.json, byte for byte, and the persons as KEYPOINTS.json for each keypoint set.

    The files are COCO's: visibility 2 in sight, 1 hidden, 0 outside the frame, boxes and run lengths of the pixels in
    sight. Of the 133 points, those that the 308 do not have (the contour of the face and the hand roots) stay 0. Frames
    of scans have no points, and only their boxes are listed. Raises FolderError for an `out` that holds anything else.
    """
    dataset, out = ShardDataset(shards), Path(out)
    claim(out, "unpacked frames", {"shards": {path.name: path.stat().st_size for path in dataset.paths}})
    images: list[dict[str, Any]] = []
    annotations: dict[str, list[dict[str, Any]]] = {keypoints.name: [] for keypoints in KEYPOINT_SETS}
    for number, key in enumerate(progress(dataset.keys, str(out), unit="images")):
        for suffix, data in dataset.read_bytes(number).items():
            path = out / FOLDERS.get(suffix, suffix.partition(".")[0]) / f"{key}.{suffix.rpartition('.')[2]}"
            write_bytes(path, data)
        frame = dataset.read_frame(number)
        record = frame["json"]
        image = {"id": number, "file_name": f"{key}.jpg", "width": record["width"], "height": record["height"]}
        images.append(image)
        for person in record["persons"]:
            common = _annotation(number, person, frame["instances.png"] == person["id"])
            for keypoints in KEYPOINT_SETS:
                identity = len(annotations[keypoints.name]) + 1
                points = _points(person["keypoints"], keypoints)
                annotations[keypoints.name].append({"id": identity, **common, **points})
    for keypoints in KEYPOINT_SETS:
        content = {"images": images, "annotations": annotations[keypoints.name], "categories": [_category(keypoints)]}
        write_json(out / f"{keypoints.name}.json", content, indent=None)
    return out


def _annotation(image_id: int, person: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    left, top, right, bottom = person["box"]
    return {
        "image_id": image_id,
        "category_id": 1,
        "bbox": [left, top, right - left, bottom - top],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": run_lengths_of(mask),
    }


def _points(points: list[list[float]] | None, keypoints: KeypointSet) -> dict[str, Any]:
    if points is None:
        return {}
    indices = source_indices(SAPIENS_308, keypoints)
    chosen = np.where(indices[:, None] >= 0, np.array(points)[indices], 0.0)
    chosen[chosen[:, 2] == 0] = 0
    count = int((chosen[:, 2] > 0).sum())
    if keypoints is not WHOLEBODY_133:
        return {"keypoints": chosen.ravel().tolist(), "num_keypoints": count}
    fields, start = {}, 0
    for field, length in WHOLEBODY_FIELDS.items():
        fields[field] = chosen[start : start + length].ravel().tolist()
        start += length
    return {**fields, "num_keypoints": count}


def _category(keypoints: KeypointSet) -> dict[str, Any]:
    names = list(keypoints.names)[: WHOLEBODY_FIELDS["keypoints"]] if keypoints is WHOLEBODY_133 else keypoints.names
    return {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(names)}
