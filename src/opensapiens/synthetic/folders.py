"""Shards as folders of pictures with COCO annotation files, for tools that read those."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from opensapiens.data.coco import WHOLEBODY_FIELDS, coco_category, coco_person
from opensapiens.data.segmentations import FIELD, run_lengths_of
from opensapiens.data.shards import ShardDataset
from opensapiens.labels.keypoint_maps import source_indices
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308, WHOLEBODY_133, KeypointSet
from opensapiens.storage.files import write_bytes, write_json
from opensapiens.storage.folders import claim
from opensapiens.storage.progress import progress

KEYPOINT_SETS = (COCO_17, WHOLEBODY_133, SAPIENS_308)
FOLDERS = {"jpg": "images", "json": "records"}
"""Folders of members; the others go to folders of their own names: instances, parts, depth, normals, alpha, …"""


def unpack(shards: Path | str, out: Path | str) -> Path:
    """Writes the frames in a folder of shards as images/KEY.jpg, instances/KEY.png, parts/KEY.png, depth/KEY.png,
    normals/KEY.png, records/KEY.json and, where there are any, points/KEY.npz, alpha/KEY.png and albedo/KEY.png, byte
    for byte, and the persons as KEYPOINTS.json for each keypoint set.

    The annotations are in COCO's format: visibility 2 is visible, 1 hidden, 0 outside the frame; boxes and run lengths
    cover the visible pixels. Those of the 133 points that the 308 lack (the contour of the face and the hand roots) are
    0. Scans have boxes but no points. Raises FolderError if `out` holds anything else.
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
            mask = frame["instances.png"] == person["id"]
            for keypoints in KEYPOINT_SETS:
                ids = {"id": len(annotations[keypoints.name]) + 1, "image_id": number}
                annotations[keypoints.name].append(ids | _annotation(person, mask, keypoints))
    for keypoints in KEYPOINT_SETS:
        category = coco_category(COCO_17 if keypoints is WHOLEBODY_133 else keypoints)  # the other fields have no names
        content = {"images": images, "annotations": annotations[keypoints.name], "categories": [category]}
        write_json(out / f"{keypoints.name}.json", content, indent=None)
    return out


def _annotation(person: dict[str, Any], mask: np.ndarray, keypoints: KeypointSet) -> dict[str, Any]:
    chosen = None
    if person["keypoints"] is not None:
        indices = source_indices(SAPIENS_308, keypoints)
        chosen = np.where(indices[:, None] >= 0, np.array(person["keypoints"])[indices], 0.0)
        chosen[chosen[:, 2] == 0] = 0
    annotation = coco_person(person["box"], int(mask.sum()), chosen)
    if chosen is not None and keypoints is WHOLEBODY_133:
        numbers = iter(annotation["keypoints"])
        annotation |= {field: list(islice(numbers, 3 * count)) for field, count in WHOLEBODY_FIELDS.items()}
    return {**annotation, FIELD: run_lengths_of(mask)}
