"""What a model can be taught, a file for each: labels, targets, losses, metric, decoding, drawing, saving."""

from collections.abc import Mapping

from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.tasks.task import HeadTask

TASKS: Mapping[str, type[HeadTask]] = {
    "pose": PoseTask,
    "segmentation": SegmentationTask,
    "depth": DepthTask,
    "normals": NormalsTask,
}
"""Name of a head -> its task, in the order of pictures and files."""
