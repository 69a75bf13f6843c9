"""Fine-tuning for 2D pose (the paper's section 4.1)."""

from pathlib import Path

from opensapiens.labels.own_labels import find_keypoint_set
from opensapiens.recipes.finetuning import SAPIENS, FineTuning, one_task_run
from opensapiens.recipes.labeled_people import people_with_keypoints
from opensapiens.recipes.nano import nano_pose_task
from opensapiens.recipes.published_schedules import HARDEST_POINTS, published_pose_schedule
from opensapiens.recipes.sizes import is_sapiens2
from opensapiens.tasks.pose import PoseTask
from opensapiens.training.run import Run


def pose(
    data: Path,
    output: Path,
    training: FineTuning = SAPIENS,
    keypoints: str = "sapiens_308",
    images: Path | None = None,
    validation: Path | None = None,
    validation_images: Path | None = None,
) -> Run:
    """2D pose by heatmaps, from a pretrained backbone and a fresh head.

    Command: `torchrun --nproc-per-node 8 -m opensapiens train pose --size 0.3b --pretrained sapiens-0.3b-pretrain
    --keypoints coco_17 --data annotations/person_keypoints_train2017.json --images train2017 --output runs/pose
    --precision bfloat16`. Hardware of the published scripts: 8 to 16 A100.
    Result: published for 1024x768 with flip test and the published detections: AP 79.6 / 81.2 / 82.1 / 82.2 on COCO for
    0.3b / 0.6b / 1b / 2b. Not reproduced here yet.

    Args:
        data: a COCO-style JSON file, with --images, or a folder of synthetic shards, whose 308 points are converted to
            the requested set.
        output: folder for log, checkpoints, pictures and the trained model.
        keypoints: the set of points: sapiens_308, wholebody_133, coco_17, or your own in a CSV file or a JSON with
            categories.
        images: the folder of the pictures of a COCO-style file.
        validation: as data, to validate on.
        validation_images: the folder of the pictures of --validation, if not --images.
    """
    points = find_keypoint_set(keypoints)
    size = training.size
    hardest = HARDEST_POINTS.get((points.name, size)) if training.schedule == "published" else None
    task = PoseTask(points, hardest=hardest, mse_weight=10.0 if is_sapiens2(size) else 1.0)
    return one_task_run(
        nano_pose_task(points) if size == "nano" else task,
        people_with_keypoints(data, images, points),
        output,
        training,
        None if validation is None else people_with_keypoints(validation, validation_images or images, points),
        released=published_pose_schedule(size, points.name),
    )
