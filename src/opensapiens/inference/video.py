"""Videos: frames in, one result per frame, people keep their numbers; an overlay video and a JSON of keypoints out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from opensapiens.data.reading import ImageError
from opensapiens.geometry.boxes import box_iou
from opensapiens.inference.pipeline import People, boxes_around
from opensapiens.inference.results import Person, Result
from opensapiens.inference.saving import coco_keypoints

LOOK_AGAIN = 10  # frames after which the detector looks for people anew
SAME_PERSON = 0.3  # intersection over union from which a box continues one of the frame before


class VideoError(ImageError):
    """A video that cannot be read; the message says which and why."""


def predict_video(people: People, path: str | Path, flip: bool = False) -> Iterator[Result]:
    """One result per frame, in order.

    Between looks of the detector (every 10th frame, and whenever nobody is there) people are looked for where their
    masks were one frame before. A person keeps its id as long as its box overlaps that of the frame before. Raises
    VideoError for a file that is not a readable video, ModuleNotFoundError without the extra "video".
    """
    before: list[Person] = []
    next_id = 1
    for number, frame in enumerate(read_frames(path)):
        boxes = boxes_around(before) if number % LOOK_AGAIN else np.empty((0, 4), np.float32)
        result = people.predict_image(frame, boxes if len(boxes) else None, flip)
        next_id = keep_ids(before, result.persons, next_id)
        result.source = Path(path)
        before = result.persons
        yield result


def keep_ids(before: list[Person], now: list[Person], next_id: int) -> int:
    """Give the people of this frame the ids of those of the frame before whose boxes they overlap most; new ones count
    up.

    Changes the ids in `now`; returns the next free id.
    """
    overlaps = box_iou(
        np.array([person.box for person in before]).reshape(-1, 4),
        np.array([person.box for person in now]).reshape(-1, 4),
    )
    matched: dict[int, int] = {}
    while overlaps.size and overlaps.max() >= SAME_PERSON:
        old, new = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
        matched[int(new)] = before[int(old)].id
        overlaps[old], overlaps[:, new] = 0, 0
    for index, person in enumerate(now):
        if index in matched:
            person.id = matched[index]
        else:
            person.id, next_id = next_id, next_id + 1
    return next_id


def read_frames(path: str | Path) -> Iterator[np.ndarray]:
    """Frames of a video, H×W×3 uint8 RGB, turned upright. Raises VideoError."""
    av = _av()
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: there is no picture in this file")
            container.streams.video[0].thread_type = "AUTO"
            for frame in container.decode(video=0):
                turns = round(getattr(frame, "rotation", 0) / 90) % 4
                yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
    except av.FFmpegError as error:
        raise VideoError(f"{path}: not a readable video ({error.strerror})") from error


def frame_count_and_rate(path: str | Path) -> tuple[int | None, Fraction]:
    """The number of frames that a video says it has (None: it does not), and frames per second. Raises VideoError."""
    av = _av()
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: there is no picture in this file")
            stream = container.streams.video[0]
            return stream.frames or None, Fraction(stream.average_rate or 25)
    except av.FFmpegError as error:
        raise VideoError(f"{path}: not a readable video ({error.strerror})") from error


def save_video(results: Iterator[Result], folder: Path, name: str, rate: Fraction) -> list[Path]:
    """Write NAME_overlay.mp4 (pose, or else the first task there is) and NAME_keypoints.json as the results come.

    The JSON is a list with, per frame, its number from 0 and the COCO annotations of its people. What came before an
    error is written all the same. Returns the files.
    """
    av = _av()
    folder.mkdir(parents=True, exist_ok=True)
    video_path, json_path = folder / f"{name}_overlay.mp4", folder / f"{name}_keypoints.json"
    frames: list[dict[str, Any]] = []
    with av.open(str(video_path), "w") as container:
        stream: Any = None
        try:
            for number, result in enumerate(results):
                picture = next(iter(result.overlays().values()), result.image)
                height, width = (size - size % 2 for size in picture.shape[:2])  # the encoder takes even sizes only
                if stream is None:
                    stream = container.add_stream("h264", rate=rate, options={"crf": "20"})
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
                container.mux(stream.encode(frame))
                frames.append({"frame": number, "annotations": coco_keypoints(result, name)["annotations"]})
        finally:
            if stream is not None:
                container.mux(stream.encode())
            json_path.write_text(json.dumps(frames, separators=(",", ":")) + "\n")
    return [video_path, json_path]


def _av() -> ModuleType:
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("reading videos needs PyAV: pip install opensapiens[video]", name="av") from error
    return av
