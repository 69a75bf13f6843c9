"""Object keypoint similarity, and the share of heatmap peaks that are in place."""

from typing import NamedTuple

import torch
from torch import Tensor

from opensapiens.labels.keypoints import KeypointSet
from opensapiens.tasks.task import Targets


class PosePrediction(NamedTuple):
    """points (B, K, 2) x, y in crop pixels; scores (B, K), the heatmaps' maxima. On the CPU."""

    points: Tensor
    scores: Tensor


def oks(points_BK2: Tensor, truth_BK2: Tensor, visibility_BK: Tensor, area_B: Tensor, sigmas_K: Tensor) -> Tensor:
    """(B,) COCO's object keypoint similarity, averaged over points with visibility > 0; NaN where a person has none.

    exp(-d^2 / (2 area (2 sigma)^2)) per point, as in COCOeval. Points and truth in pixels, area in pixels squared.
    """
    squared_distance = (points_BK2.double() - truth_BK2.double()).square().sum(dim=-1)
    spread = (2 * sigmas_K.double()).square() * (area_B.double()[:, None] + torch.finfo(torch.float64).eps) * 2
    visible = visibility_BK > 0
    similarity = torch.where(visible, torch.exp(-squared_distance / spread), 0)
    return similarity.sum(dim=1) / visible.sum(dim=1)


def peak_accuracy(prediction_BKhw: Tensor, target_BKhw: Tensor, weights_BK: Tensor, threshold: float = 0.05) -> Tensor:
    """Scalar: the share of peaks closer to the target's than `threshold` of the heatmap, averaged over keypoints (PCK).

    As the published training log computes it (`acc_pose`): distances in x are divided by the height and in y by the
    width; the peak of a map without a positive value is at (-1, -1). Rough, but cheap enough for every step. 0 when
    nothing has weight.
    """
    height, width = prediction_BKhw.shape[-2:]
    offset = _peaks(prediction_BKhw) - _peaks(target_BKhw)
    near = (offset / offset.new_tensor([height, width])).norm(dim=-1) < threshold
    known = weights_BK > 0
    per_keypoint = (near & known).sum(dim=0) / known.sum(dim=0).clamp(min=1)
    return per_keypoint.sum() / known.any(dim=0).sum().clamp(min=1)


def _peaks(heatmaps_BKhw: Tensor) -> Tensor:
    """(B, K, 2) float32 x, y of the largest value; -1 where none is positive."""
    value, index = heatmaps_BKhw.flatten(2).max(dim=2)
    width = heatmaps_BKhw.shape[-1]
    peaks = torch.stack([index % width, index // width], dim=-1).float()
    return torch.where((value > 0)[..., None], peaks, -1.0)


class PoseMetric:
    """Mean OKS over persons, of all points and of each group of them ("oks_body", "oks_face", ...).

    Average precision over a data set needs detections and scores and is computed in the evaluation.
    """

    def __init__(self, keypoint_set: KeypointSet) -> None:
        self.sigmas = torch.from_numpy(keypoint_set.sigmas)
        self.channels = {"oks": torch.arange(len(keypoint_set))}
        groups = list(dict.fromkeys(keypoint_set.groups))
        if len(groups) > 1:
            self.channels |= {f"oks_{group}": torch.from_numpy(keypoint_set.group(group)) for group in groups}
        self.totals = torch.zeros(len(self.channels), 2, dtype=torch.float64)  # per figure: sum of OKS, persons

    def update(self, prediction: PosePrediction, targets: Targets) -> None:
        """Add a decoded batch; a person without labelled points or without a known area is left out."""
        points, truth = prediction.points.cpu(), targets["points"].cpu()
        weights, area = targets["weights"].cpu(), targets["area"].cpu()
        for row, channels in enumerate(self.channels.values()):
            values = oks(points[:, channels], truth[:, channels], weights[:, channels], area, self.sigmas[channels])
            measured = values.isfinite()
            self.totals[row] += torch.stack([values[measured].sum(), measured.sum()])

    def compute(self) -> dict[str, float]:
        """Figures in 0-1; NaN where no person has points of a group."""
        return {name: float(total / persons) for name, (total, persons) in zip(self.channels, self.totals, strict=True)}
