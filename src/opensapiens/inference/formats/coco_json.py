"""`json`: the people as COCO keypoints, with a score per point and "person_id"."""

from __future__ import annotations

import json
from pathlib import Path

from opensapiens.data.coco import coco_category
from opensapiens.inference.formats.format import Files, Format, Photo, VideoPeople
from opensapiens.storage.files import write_json, written

ENDING = "keypoints.json"


def _of_photo(photo: Photo) -> Files:
    return {ENDING: lambda path: write_json(path, photo.result.to_coco(photo.file_name), indent=None)}


def _of_video(video: VideoPeople) -> Files:
    """One image per frame; written piece by piece."""
    info = {
        "video": video.file_name, "frames_per_second": float(video.rate), "detector": video.detector,
        "complete": video.complete,
    }  # fmt: skip
    head = {"info": info, "categories": [coco_category(video.keypoint_set)]}

    def write(path: Path) -> None:
        with written(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(head, separators=(",", ":"))[:-1])
            for key in ("images", "annotations"):
                file.write(f',"{key}":[')
                separator = ""
                for content in video.contents():
                    for entry in content[key]:
                        file.write(separator + json.dumps(entry, separators=(",", ":")))
                        separator = ",\n"
                file.write("]")
            file.write("}\n")

    return {ENDING: write}


COCO_JSON = Format(_of_photo, video=_of_video, endings=(ENDING,))
