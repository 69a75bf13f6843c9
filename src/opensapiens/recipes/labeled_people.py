"""Where recipes find labeled people: our shards, COCO files, and folders with the published names."""

from pathlib import Path

from opensapiens.data.coco import CocoDataset, read_coco_persons
from opensapiens.data.folders import FolderDataset
from opensapiens.data.label_kinds import MASK, LabelKind
from opensapiens.data.mixture import Mixture, Source
from opensapiens.data.shards import ShardDataset
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import SAPIENS_28, PartSet

IMAGE_FOLDERS = ("images", "rgb")
MIN_POINTS = {"wholebody_133": 8, "sapiens_308": 8}
"""Fewest labeled points of a person that is trained on, as published; 3 for all other sets."""


def people_with_keypoints(data: Path, images: Path | None, keypoints: KeypointSet) -> CocoDataset | Mixture:
    """People with keypoints: from a COCO-style JSON file and its folder of images, or from a folder of our shards.

    The 308 points of our shards are converted to the requested set.

    Raises:
        ValueError: a JSON file without its images.
    """
    if data.suffix.lower() != ".json":
        return Mixture([Source(ShardDataset(data, kinds=()))], keypoint_set=keypoints)
    if images is None:
        raise ValueError(f"{data} needs the folder of its pictures: --images DIR")
    least = min(MIN_POINTS.get(keypoints.name, 3), len(keypoints))
    return CocoDataset(read_coco_persons(data, images, keypoints), least)


def people_with_maps(data: Path, kind: LabelKind, parts: PartSet = SAPIENS_28) -> FolderDataset | Mixture:
    """People with a dense label: a folder of our shards, or one with the folders images and parts, depths or normals.

    The published names "rgb", "mask", "depth" and "normal" work as well; masks are used if there are any.

    Raises:
        ValueError: a folder without either, or without these labels.
    """
    if next(iter(data.glob("*.tar")), None) is not None:
        shards = ShardDataset(data, kinds=(kind,))
        if not shards.holds(kind):
            raise ValueError(
                f"the shards in {data} hold no {kind.name}: opensapiens synthesize --all-labels makes such"
            )
        return Mixture([Source(shards)], part_set=parts)
    pictures = _one_of(data, IMAGE_FOLDERS)
    labels = {known: folder for known in (kind, MASK) if (folder := _one_of(data, known.folders)) is not None}
    if pictures is None or kind not in labels:
        wanted = " or ".join(kind.folders)
        raise ValueError(f"{data} holds neither *.tar shards nor the folders images and {wanted}")
    return FolderDataset(pictures, labels, parts)


def _one_of(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)
