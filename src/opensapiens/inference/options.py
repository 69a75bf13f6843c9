"""The options of `opensapiens predict` and of `predict_files`. Imports no torch: --help reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Models = Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL")]
"""Names or folders; the command takes one for each --model."""
AUTO, EMBEDDED = "auto", "detector"
"""The detector that is chosen where none is named, and the one inside this package."""
DtypeName = Literal["float32", "bfloat16", "float16"]
RuntimeName = Literal["torch", "compiled", "openvino", "openvino-int8", "onnx"]
FormatName = Literal[
    "default", "json", "png", "npz", "overlay", "videos", "sheet", "cutout",
    "csv", "parquet", "openpose", "wholebody", "trc", "exr", "ply", "glb",
]  # fmt: skip
"""Each has a file in `inference/formats`; default stands for those that are written when none is named."""
OF_PHOTOS: tuple[FormatName, ...] = ("json", "png", "npz", "overlay", "sheet")
OF_VIDEOS: tuple[FormatName, ...] = ("json", "overlay")
SIDE_BY_SIDE = "side-by-side"
CLOUDS: tuple[FormatName, ...] = ("ply", "glb")


class OptionsError(ValueError):
    """Options that do not go together; the message names them as the command does."""


@dataclass(frozen=True)
class VideoOptions:
    """For videos only.

    Args:
        detect_every: look for people in every n-th frame, and at cuts; in between their boxes move in straight lines.
            By default in every frame; with a DETR in every tenth.
        smooth: take the jitter out of the keypoints (One-Euro filter).
        overlay: what NAME_overlay.mp4 shows: pose, segmentation, depth, normals, over each other, or side-by-side in
            panels; by default the first task of the model.
    """

    detect_every: int | None = None
    smooth: bool = False
    overlay: tuple[str, ...] = ()


@dataclass(frozen=True)
class PredictOptions:
    """How photos and videos are predicted, and what is saved.

    Args:
        model: the name or folder of a model; repeat the option for several. Each task is done by the first model that
            has a head for it; an image is read and searched for people once. Models that do not fit into memory
            together are loaded in turn.
        boxes: a JSON file with the people's boxes in photos, which are otherwise detected: a list of {"image": name,
            "bbox": [x, y, width, height]}, or {name: [[x1, y1, x2, y2], ...]}, or a COCO annotation file. A photo gets
            the boxes of the longest name that its path ends with.
        whole_image: take each image for one person who fills it.
        detector: what finds the people. auto: with the extra "detect" PekingU/rtdetr_v2_r18vd, if its weights are on
            this disk, else the detector inside this package, whose boxes nano looks at again. detector: that one alone.
            Also a model of your own (train
            detector), or a DETR: a name on the Hugging Face hub, for example PekingU/rtdetr_v2_r18vd or
            ustc-community/dfine-small-obj365 (both Apache-2.0), or a folder.
        box_threshold: the lowest score of a box, by default the detector's own.
        nms: overlap (intersection over union) above which the lower-scored of two boxes is dropped, by default the
            detector's own.
        flip: also predict the mirrored image and average: half the speed, slightly more accurate. By default as the
            weights ask for: the published pose models and nano do, other published models do not.
        resize: how models without a pose head see a photo: the whole image squashed to the input's size (squash: what
            the published ones were trained with), the whole image with its aspect ratio kept (letterbox: for tall or
            wide photos), or person by person (person_crop). By default as the weights ask for.
        input_size: height and width of the networks' input, multiples of the patch size, instead of the weights' own.
        device: cpu, cuda, cuda:1, mps; by default the GPU if there is one.
        devices: share the files out over several devices, for example cuda:0 cuda:1; the results are the same.
        threads: CPU threads of the networks; by default one per core.
        dtype: float32 as published; the others take half the memory and are faster on most GPUs.
        runtime: what runs the networks. auto: OpenVINO on a CPU (extra "export") and compiled PyTorch on an NVIDIA GPU
            where they are installed, else plain PyTorch. A conversion takes seconds and is cached. openvino-int8
            multiplies 8-bit integers: faster, less exact (see opensapiens bench).
        batch_size: views (people, or whole images) per forward pass, filled across photos and frames.
        format: which files are written, by default for photos json png npz overlay sheet, for videos json overlay; a
            list replaces that, unless default is in it. json: COCO keypoints. png, npz: maps, of a video those of
            every frame. overlay, sheet, cutout: pictures. videos: one of each map. csv, parquet: a table of points.
            openpose: one JSON per frame, as OpenPose writes it. wholebody: COCO-WholeBody results. trc: 2D points over
            time (videos). exr: depth and normals for compositing. ply, glb: point clouds (photos). See
            docs/formats.md.
        point_cloud: for point clouds of photos, by default a PLY. Depth is relative, so give the focal length in pixels
            and the distances of the nearest and the farthest point, for example 1200 2.0 2.6. Pointmaps need none.
        features: also save the backbone features of the first model, NAME_features.npz, of photos.
        resume: skip what is done, and go on with what is not.
        video: for videos only.

    Raises:
        OptionsError: options that exclude each other, or a number below 1.
    """

    model: Models = ("nano",)
    boxes: Path | None = None
    whole_image: bool = False
    detector: str = AUTO
    box_threshold: float | None = None
    nms: float | None = None
    flip: bool | None = None
    resize: Literal["squash", "letterbox", "zero_pad", "person_crop"] | None = None
    input_size: tuple[int, int] | None = None
    device: str | None = None
    devices: tuple[str, ...] = ()
    threads: int | None = None
    dtype: DtypeName = "float32"
    runtime: Literal["auto", RuntimeName] = "auto"
    batch_size: int = 8
    format: tuple[FormatName, ...] = ()
    point_cloud: tuple[float, float, float] | None = None
    features: bool = False
    resume: bool = False
    video: VideoOptions = VideoOptions()

    def __post_init__(self) -> None:
        named = self.detector != AUTO
        sources = {"--boxes": self.boxes, "--whole-image": self.whole_image, "--detector": named}
        given = [name for name, value in sources.items() if value]
        if len(given) > 1:
            raise OptionsError(f"{' and '.join(given)} exclude each other")
        if self.device is not None and self.devices:
            raise OptionsError("--device and --devices exclude each other")
        numbers = (self.batch_size, self.video.detect_every, self.threads)
        if any(number is not None and number < 1 for number in numbers):
            raise OptionsError("--batch-size, --detect-every and --threads are at least 1")

    def formats_of_photos(self) -> tuple[FormatName, ...]:
        """What is written for a photo; also a PLY if only the numbers of a point cloud are given."""
        names = resolved(self.format, OF_PHOTOS)
        asked = self.point_cloud is not None and not set(CLOUDS) & set(names)
        return (*names, CLOUDS[0]) if asked else names

    def formats_of_videos(self) -> tuple[FormatName, ...]:
        """What is written for a video."""
        return resolved(self.format, OF_VIDEOS)


def resolved(names: Sequence[FormatName], usual: tuple[FormatName, ...]) -> tuple[FormatName, ...]:
    """The names without repetition, those of `usual` in place of none and of "default"."""
    spelled = [one for name in names or usual for one in (usual if name == "default" else (name,))]
    return tuple(dict.fromkeys(spelled))
