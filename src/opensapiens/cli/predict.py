"""`opensapiens predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

Models = tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]]


def predict(
    inputs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT [INPUT ...]")],
    /,
    output: Path,
    model: Annotated[Models, tyro.conf.arg(metavar="NAME [NAME ...]")] = (),
    boxes: Path | None = None,
    whole_image: bool = False,
    detector: str | None = None,
    box_threshold: float | None = None,
    nms: float | None = None,
    flip: bool = False,
    no_flip: bool = False,
    resize: Literal["squash", "letterbox", "person_crop"] | None = None,
    input_size: tuple[int, int] | None = None,
    device: str | None = None,
    devices: tuple[str, ...] = (),
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    runtime: Literal["auto", "torch", "compiled", "openvino", "openvino-int8", "onnx"] = "auto",
    batch_size: int = 8,
    table: Literal["csv", "parquet"] | None = None,
    point_cloud: tuple[float, float, float] | None = None,
    features: bool = False,
    detect_every: int = 10,
    smooth: bool = False,
    video_maps: Literal["png", "npz"] | None = None,
    resume: bool = False,
) -> int:
    """Find the people in photos and videos and save keypoints, body parts, depth and normals.

    Of each photo NAME the output folder gets:
      NAME_keypoints.json                  COCO keypoints, with a score per point
      NAME_parts.png                       indexed PNG: pixel = class id
      NAME_depth.png, NAME_depth.npz       16 bits, 0 = nobody, 1 = nearest; and the raw values
      NAME_normals.png, NAME_normals.npz   to look at; and the unit vectors
      NAME_pose.jpg, ..., NAME_sheet.jpg   an overlay per task, and all of them on one sheet

    Of each video NAME: NAME_overlay.mp4 and NAME_keypoints.json, in which people keep a "person_id".
    Only what the models can do is written. Axes, units and polarity: docs/conventions.md.

    A file that cannot be read does not stop the others: it is named at the end, and the exit code is 1. What is stopped
    goes on with --resume: what is done with the same models and options is skipped, a video continues where it was.
    Files in the output folder that this command did not write are never replaced.

    For example:
    $ opensapiens predict photo.jpg --output out
    $ opensapiens predict holiday/ clip.mp4 --output out --resume
    $ opensapiens predict photo.jpg --output out --model sapiens-1b-pose308 --model sapiens-1b-seg28
    $ opensapiens predict photo.jpg --output out --boxes boxes.json
    $ opensapiens predict crowd.jpg --output out --detector PekingU/rtdetr_v2_r18vd
    $ opensapiens predict clip.mp4 --output out --smooth --table csv --video-maps npz
    $ opensapiens predict photos/ --output out --devices cuda:0 cuda:1 --dtype bfloat16
    $ torchrun --nproc-per-node 8 -m opensapiens predict photos/ --output out

    Args:
        inputs: photos, videos (with the extra "video"), and folders of them.
        output: the folder to write to; made if missing.
        model: names or folders of models, "nano" by default; each task is done by the first that can, and an image is
            read and searched for people once. Models that do not fit into memory together are read in turn.
        boxes: JSON with the people's boxes in photos, by default they are looked for: a list of {"image": name, "bbox":
            [x, y, width, height]}, or {name: [[x1, y1, x2, y2], ...]}, or a COCO annotation file. A photo has the boxes
            of the longest name that its path ends with.
        whole_image: take each image for one person who fills it.
        detector: a DETR that finds the people: a name on the Hugging Face hub, for example PekingU/rtdetr_v2_r18vd or
            ustc-community/dfine-small-obj365 (both Apache-2.0), or a folder; needs the extra "detect". By default
            people are found in the body parts, good enough for a few large ones.
        box_threshold: the least score of a box, 0.5 by default with --detector.
        nms: overlap (intersection over union) above which the lower-scored of two boxes goes, 0.7 with --detector.
        flip: also predict the mirrored image and average: half the speed, a little more accuracy. By default what the
            weights ask for: the published pose models and nano do, other published models do not.
        no_flip: never do that.
        resize: how models without a pose head see a photo: as a whole without regard to its aspect (squash: what the
            published ones were made for), as a whole with its aspect kept (letterbox: tall or wide photos), or person
            by person (person_crop). By default as the weights ask for.
        input_size: height and width of the networks' input, multiples of 16, instead of their own.
        device: cpu, cuda, cuda:1, mps; by default the GPU if there is one.
        devices: share the files out over several, for example cuda:0 cuda:1; the results are the same.
        dtype: float32 as published; the others take half the memory and are faster on most GPUs.
        runtime: what runs the networks. auto: OpenVINO on a CPU (extra "export") and compiled PyTorch on an NVIDIA GPU
            where they are installed, else plain PyTorch. A conversion takes seconds, once, and is kept.
            openvino-int8 multiplies 8-bit integers: faster, less exact (see opensapiens bench).
        batch_size: views (people, or whole images) per forward pass, filled across photos and frames.
        table: also the keypoints as a table, one row per point; parquet needs pyarrow.
        point_cloud: photos' depth as NAME_points.ply, under the assumption of a focal length in pixels and of the
            distances of the nearest and the farthest point, for example 1200 2.0 2.6: depth is relative, it has none.
        features: also the backbone's features of the first model, NAME_features.npz.
        detect_every: in videos, look for people at every so many frames (and at cuts); in between boxes move along.
        smooth: in videos, take the jitter out of the keypoints (One-Euro filter).
        video_maps: in videos, also the maps of every frame, in NAME_maps/.
        resume: leave out what is done, and go on with what is not.
    """
    exclusive = [(boxes is not None, "--boxes"), (whole_image, "--whole-image"), (detector is not None, "--detector")]
    given = [flag for is_given, flag in exclusive if is_given]
    if not inputs:
        return _misuse("name at least one photo, video or folder, before the options (see --help)")
    if len(given) > 1:
        return _misuse(f"{' and '.join(given)} exclude each other")
    if flip and no_flip:
        return _misuse("--flip and --no-flip exclude each other")
    if device is not None and devices:
        return _misuse("--device and --devices exclude each other")
    if batch_size < 1 or detect_every < 1:
        return _misuse("--batch-size and --detect-every are at least 1")
    from opensapiens.inference.files import find_inputs
    from opensapiens.inference.job import Job, run_on_devices
    from opensapiens.inference.output import output_names, without_own
    from opensapiens.inference.recording import VideoSettings
    from opensapiens.storage.listing import passed_over_sentence

    listing = find_inputs(inputs)
    files = without_own(listing.files, inputs)
    if len(files) < len(listing.files):
        print(f"{len(listing.files) - len(files)} pictures and videos that an earlier run has written are left out")
    outcome = run_on_devices(
        Job(
            files=tuple(files),
            names=tuple(output_names(files)),
            output=output,
            models=tuple(name for names in model for name in names) or ("nano",),
            device=device,
            dtype=dtype,
            runtime=runtime,
            batch_size=batch_size,
            resize=resize,
            input_size=input_size,
            boxes=boxes,
            detector="whole-image" if whole_image else detector or "auto",
            box_threshold=box_threshold,
            nms=nms,
            video=VideoSettings(
                flip=True if flip else False if no_flip else None,
                detect_every=detect_every,
                smooth=smooth,
                maps=video_maps,
                table=table,
            ),
            features=features,
            point_cloud=point_cloud,
            resume=resume,
        ),
        devices,
    )
    counts = {"photos": outcome.photos, "videos": outcome.videos, "people": outcome.people}
    counts["done before"] = outcome.skipped
    done = ", ".join(f"{count} {word}" for word, count in counts.items() if count or word == "photos")
    print(f"{done}; results are in {output}")
    if listing.passed_over:
        print(passed_over_sentence(listing.passed_over))
    if outcome.failures:
        print(f"{len(outcome.failures)} of {len(files)} files could not be processed:", file=sys.stderr)
        print("\n".join(f"  {sentence}" for _, sentence in outcome.failures), file=sys.stderr)
    return 1 if outcome.failures else 0


def _misuse(sentence: str) -> int:
    print(f"opensapiens predict: {sentence}", file=sys.stderr)
    return 2
