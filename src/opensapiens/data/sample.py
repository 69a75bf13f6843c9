"""One labeled person: what every reader of data yields and every task learns from."""

from dataclasses import dataclass, field

import numpy as np

from opensapiens.data.label_kinds import DEPTH, KINDS, MASK, NORMALS, PARTS, LabelKind
from opensapiens.geometry.location import whole_picture
from opensapiens.labels.keypoints import SAPIENS_308, KeypointSet
from opensapiens.labels.parts import SAPIENS_28, PartSet


@dataclass(eq=False)
class Sample:
    """One person in one image, with whatever labels are known.

    Labels describe only this person: other people in the picture are background in parts, NaN in depth and normals.
    """

    image: np.ndarray  # (H, W, 3) uint8, RGB
    key: str = ""  # names the sample in messages, for example "000003.tar/00000812#1"
    box: np.ndarray | None = None  # (4,) float32 xyxy, pixels
    keypoints: np.ndarray | None = None  # (K, 3) float32 x, y, visibility: 0 unlabeled, 1 labeled, hidden, 2 visible
    labels: dict[LabelKind, np.ndarray] = field(default_factory=dict)  # one value for every pixel of the image
    keypoint_set: KeypointSet = SAPIENS_308  # which points the rows of `keypoints` are
    part_set: PartSet = SAPIENS_28  # which classes the numbers of parts are
    picture: np.ndarray | None = None  # (3,) what `image` was cut out of, see `geometry.location`; None = nothing else

    @property
    def mask(self) -> np.ndarray | None:
        """(H, W) bool, the visible pixels of the person; None: not labeled."""
        return self.labels.get(MASK)

    @property
    def parts(self) -> np.ndarray | None:
        """(H, W) uint8 classes; None: not labeled."""
        return self.labels.get(PARTS)

    @property
    def depth(self) -> np.ndarray | None:
        """(H, W) float32; None: not labeled."""
        return self.labels.get(DEPTH)

    @property
    def normals(self) -> np.ndarray | None:
        """(H, W, 3) float32 unit vectors; None: not labeled."""
        return self.labels.get(NORMALS)

    def person(self) -> np.ndarray | None:
        """(H, W) bool: the person's pixels by the first kind of label that there is, in the order of KINDS."""
        known = [kind for kind in (*KINDS, *self.labels) if kind in self.labels]
        return known[0].known(self.labels[known[0]]) if known else None

    @property
    def surroundings(self) -> np.ndarray:
        """(3,) the picture that the image is of: `picture`, or without one the image itself."""
        return whole_picture(self.image.shape[:2]) if self.picture is None else self.picture
