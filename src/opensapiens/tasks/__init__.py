"""The tasks of a model, a file for each: labels, targets, losses, metric, decoding, drawing, saving."""

from collections.abc import Mapping

from opensapiens.tasks.albedo import AlbedoTask
from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.detection import DetectionTask
from opensapiens.tasks.matting import MattingTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pointmap import PointmapTask
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.tasks.task import HeadTask

TASKS: Mapping[str, type[HeadTask]] = {
    task.name: task
    for task in (
        PoseTask,
        SegmentationTask,
        DepthTask,
        NormalsTask,
        PointmapTask,
        MattingTask,
        AlbedoTask,
        DetectionTask,
    )
}
"""Name of a head -> its task, in the order of pictures and files."""
