"""One labeled person, the unit of all datasets and tasks."""

from dataclasses import dataclass, field

import numpy as np

from opensapiens.data.label_kinds import DEPTH, KINDS, MASK, NORMALS, PARTS, LabelKind
from opensapiens.geometry.location import whole_picture
from opensapiens.labels.keypoints import SAPIENS_308, KeypointSet
from opensapiens.labels.parts import SAPIENS_28, PartSet


@dataclass(eq=False)
class Sample:
    """One person in one image, with the known labels of this person only: other people are background or NaN."""

    image: np.ndarray  # (H, W, 3) uint8, RGB
    key: str = ""  # names the sample in messages, for example "000003.tar/00000812#1"
    box: np.ndarray | None = None  # (4,) float32 xyxy, pixels
    keypoints: np.ndarray | None = None  # (K, 3) float32 x, y, visibility: 0 unlabeled, 1 labeled, hidden, 2 visible
    labels: dict[LabelKind, np.ndarray] = field(default_factory=dict)  # dense labels
    keypoint_set: KeypointSet = SAPIENS_308  # which points the rows of `keypoints` are
    part_set: PartSet = SAPIENS_28  # which classes the numbers of parts are
    picture: np.ndarray | None = None  # (3,) what `image` was cut out of, see `geometry.location`; None = nothing else
    views: tuple[np.ndarray, ...] = ()  # further crops of the same picture, for self-distillation
    people: np.ndarray | None = None  # (N, 5) float32: everybody's box, and 1, or 0 for one who may be missed

    @property
    def mask(self) -> np.ndarray | None:
        """(H, W) bool, the visible pixels of the person, or None."""
        return self.labels.get(MASK)

    @property
    def parts(self) -> np.ndarray | None:
        """(H, W) uint8 classes, or None."""
        return self.labels.get(PARTS)

    @property
    def depth(self) -> np.ndarray | None:
        """(H, W) float32, or None."""
        return self.labels.get(DEPTH)

    @property
    def normals(self) -> np.ndarray | None:
        """(H, W, 3) float32 unit vectors, or None."""
        return self.labels.get(NORMALS)

    def person(self) -> np.ndarray | None:
        """(H, W) bool: the person's pixels by the first known kind of label, in the order of KINDS."""
        known = [kind for kind in (*KINDS, *self.labels) if kind in self.labels]
        return known[0].known(self.labels[known[0]]) if known else None

    @property
    def surroundings(self) -> np.ndarray:
        """(3,) the picture that the image is from: `picture`, or the image itself."""
        return whole_picture(self.image.shape[:2]) if self.picture is None else self.picture
