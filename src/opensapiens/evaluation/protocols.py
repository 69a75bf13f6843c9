"""The points, pictures and boxes of each benchmark. Every report has the name and the note of its protocol."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from opensapiens.labels.keypoint_maps import SHARED_114
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308, WHOLEBODY_133, KeypointSet
from opensapiens.tasks.albedo import AlbedoTask
from opensapiens.tasks.matting import MattingTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pointmap import PointmapTask
from opensapiens.tasks.segmentation import SegmentationTask


@dataclass(frozen=True)
class PoseProtocol:
    """A benchmark of keypoints by COCO's average precision.

    parts: name -> the points (indices) that are scored together, beside all of them. sources: the sets that an
    annotation file may be labeled with. note: what readers of the figures must know.
    """

    name: str
    keypoint_set: KeypointSet
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    sources: tuple[KeypointSet, ...] = ()
    note: str = ""

    @property
    def size_points(self) -> np.ndarray:
        """The points whose extent decides the size class of a detection: the body's, as in the published evaluation."""
        return self.parts.get("body", np.arange(len(self.keypoint_set)))


def _groups(keypoints: KeypointSet, names: dict[str, str]) -> dict[str, np.ndarray]:
    return {part: keypoints.group(group) for part, group in names.items()}


GROUPS = {"body": "body", "feet": "foot", "face": "face", "left_hand": "left_hand", "right_hand": "right_hand"}
HANDS = "AP_hands and AR_hands are the means of both hands."
POSE_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        PoseProtocol("coco", COCO_17, sources=(COCO_17,)),
        PoseProtocol("wholebody", WHOLEBODY_133, _groups(WHOLEBODY_133, GROUPS), (WHOLEBODY_133,), HANDS),
        PoseProtocol(
            "sapiens308",
            SAPIENS_308,
            _groups(SAPIENS_308, GROUPS),
            (SAPIENS_308,),
            HANDS + " The published scores of 308 points are on test data that are not public.",
        ),
        PoseProtocol(
            "shared114",
            SHARED_114,
            _groups(SHARED_114, GROUPS),
            (WHOLEBODY_133, SAPIENS_308),
            HANDS + " The 114 points are a table of our own (17 body, 6 feet, 40 fingers, 51 inner face, placed by the"
            " body mesh), since the published list is not public: not comparable to the paper's figures.",
        ),
    )
}


def own_protocol(keypoints: KeypointSet) -> PoseProtocol:
    """All points of a user's own set, and each of its groups where there are several."""
    groups = dict.fromkeys(keypoints.groups)
    parts = {group: keypoints.group(group) for group in groups if group} if len(groups) > 1 else {}
    return PoseProtocol(keypoints.name, keypoints, parts, (keypoints,), "Points and sigmas are the model's own.")


@dataclass(frozen=True)
class DenseProtocol:
    """A benchmark of dense tasks on folders of pictures.

    pattern: names of the pictures that count, below the folder; frames: how many there should be. whole_image: the
    network sees the whole picture, not the person's box. subsets: folders that are scored on their own as well.
    notes: the tasks that it measures, and what readers of their figures must know; empty: all tasks.
    """

    name: str
    whole_image: bool
    pattern: str = ""
    frames: int | None = None
    subsets: tuple[str, ...] = ()
    note: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)

    def measures(self, task: str) -> bool:
        """Whether it is a benchmark of a task."""
        return not self.notes or task in self.notes

    def note_for(self, task: str) -> str:
        """What readers of a task's figures must know."""
        return f"{self.note} {self.notes.get(task, '')}".strip()

    def selected(self, names: Iterable[str]) -> list[int]:
        """Which of the pictures' names (paths below the folder, without endings) belong to the benchmark."""
        return [number for number, name in enumerate(names) if re.search(self.pattern, name)]


DENSE_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        DenseProtocol(
            "hi4d",
            whole_image=True,
            pattern=r"(^|/)pair(28|32|37)(/.*)?/4/[^/]+$",
            frames=1195,
            note="Hi4D: pairs 28, 32 and 37, camera 4, whole frames (as the authors said in their issue 194); depth is"
            " fitted by scale and shift on the people's mask, per image, then averaged over images.",
        ),
        DenseProtocol(
            "thuman2",
            whole_image=True,
            subsets=("face", "upper_body", "full_body"),
            note="THuman2.0 from virtual cameras of one's own: the published renders and cameras were never released,"
            " so the figures are not comparable to the paper's.",
        ),
        DenseProtocol(
            "sapiens2",
            whole_image=True,
            note="As the published evaluation of Sapiens2: whole pictures, over all pixels of the mask, at the size of"
            " the labels. Its test sets are not public.",
            notes={
                SegmentationTask.name: "Published are mIoU_all, mAcc_all and aAcc, times 100: classes that occur"
                " nowhere count as 0.",
                NormalsTask.name: "Published shares are percent, the median the middle of a bin of half a degree.",
                PointmapTask.name: "Published distances are those of points before the division by the scale; these are"
                " in meters. The paper's table is after an optimization of the scale, which it does not describe:"
                " scaled_ figures are after the best factor for each picture's points.",
                AlbedoTask.name: "",
                MattingTask.name: "",
            },
        ),
    )
}
