"""One labelled person: what every reader of data yields and every task learns from."""

from dataclasses import dataclass

import numpy as np

from opensapiens.geometry.location import whole_picture
from opensapiens.labels.keypoints import SAPIENS_308, KeypointSet
from opensapiens.labels.parts import SAPIENS_28, PartSet


@dataclass(eq=False)
class Sample:
    """One person in one image, with whatever labels are known (None = this label does not exist for this sample).

    Labels describe only this person: other people in the picture are background in `parts`, NaN in `depth` and
    `normals`.
    """

    image: np.ndarray  # (H, W, 3) uint8, RGB
    key: str = ""  # names the sample in messages, for example "000003.tar/00000812#1"
    box: np.ndarray | None = None  # (4,) float32 xyxy, pixels
    keypoints: np.ndarray | None = None  # (K, 3) float32 x, y, visibility: 0 unlabelled, 1 labelled, hidden, 2 visible
    parts: np.ndarray | None = None  # (H, W) uint8 class of `part_set`; 255 = ignore
    depth: np.ndarray | None = None  # (H, W) float32, small = near; NaN outside the person or unknown
    normals: np.ndarray | None = None  # (H, W, 3) float32 unit vectors, +x right, +y up, +z to the camera; NaN outside
    mask: np.ndarray | None = None  # (H, W) bool, the visible pixels of this person
    keypoint_set: KeypointSet = SAPIENS_308  # which points the rows of `keypoints` are
    part_set: PartSet = SAPIENS_28  # which classes the numbers of `parts` are
    picture: np.ndarray | None = None  # (3,) what `image` was cut out of, see `geometry.location`; None = nothing else

    @property
    def surroundings(self) -> np.ndarray:
        """(3,) the picture that the image is of: `picture`, or without one the image itself."""
        return whole_picture(self.image.shape[:2]) if self.picture is None else self.picture
