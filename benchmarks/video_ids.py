"""Whether people keep their ids in videos: IDF1 and HOTA (pip install trackers) on pans over annotated pictures.

    python benchmarks/video_ids.py --annotations COCO.json --images FOLDER     # photos with boxes
    python benchmarks/video_ids.py --shards FOLDER                            # synthetic frames

Each picture with people becomes a clip: a window of seven tenths of it moves across and zooms in slowly. A row has the
clip's people, the ids given to them, IDF1 and HOTA; the last row is the mean over the clips. With --every N people are
detected in every N-th frame only.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np
from trackers.eval.hota import compute_hota_metrics
from trackers.eval.identity import compute_identity_metrics

import opensapiens
from opensapiens.data.sample import Sample
from opensapiens.data.scenes import FrameDataset
from opensapiens.evaluation.detection import read_coco_people
from opensapiens.geometry.boxes import box_iou

WINDOW, ZOOM = 0.7, 1.15  # share of the picture; of the last frame
LONGER_SIDE = 640
VISIBLE = 0.5  # of a box, for a person to count in a frame


def pan(sample: Sample, count: int) -> tuple[list[np.ndarray], list[tuple[np.ndarray, np.ndarray]]]:
    """The frames of a clip, and for each the numbers and boxes of the people in it."""
    height, width = sample.image.shape[:2]
    frames, truth = [], []
    assert sample.people is not None
    people = sample.people[sample.people[:, 4] == 1, :4]
    for step in np.linspace(0, 1, count):
        side = WINDOW / (1 + (ZOOM - 1) * step)
        size = np.array([width, height]) * side
        corner = (np.array([width, height]) - size) * [step, 0.5]
        scale = LONGER_SIDE / size.max()
        shape = (size * scale).astype(int) // 2 * 2
        matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]], np.float32)
        frames.append(cv2.warpAffine(sample.image, matrix, shape.tolist(), flags=cv2.INTER_AREA))
        moved = (people - np.tile(corner, 2)) * scale
        seen = moved.clip(0, np.tile(shape, 2))
        share = (seen[:, 2:] - seen[:, :2]).prod(1) / (moved[:, 2:] - moved[:, :2]).prod(1)
        numbers = np.flatnonzero(share >= VISIBLE)
        truth.append((numbers, seen[numbers]))
    return frames, truth


def write_clip(path: Path, frames: list[np.ndarray]) -> None:
    """The frames as a video of 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 6_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(cv2.resize(frame, (stream.width, stream.height)))))
        container.mux(stream.encode())


def main() -> None:
    """Print a row for each clip, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--every", type=int)
    options = parser.parse_args()
    dataset = None if options.shards is None else FrameDataset(options.shards)
    samples: Iterable[Sample] = (
        read_coco_people(options.annotations, options.images)
        if dataset is None
        else (dataset[number] for number in range(len(dataset)))
    )
    people = opensapiens.load(options.model, runtime="auto")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for sample in samples:
            if sample.people is None or not (sample.people[:, 4] == 1).any() or len(rows) == options.clips:
                continue
            frames, truth = pan(sample, options.frames)
            clip = Path(folder) / "clip.mp4"
            write_clip(clip, frames)
            results = list(opensapiens.predict_video(people, clip, detect_every=options.every))
            rows.append(scored(truth, results))
            print(f"{sample.key}: {described(rows[-1])}", flush=True)
    print(f"mean of {len(rows)} clips: {described(np.mean(rows, axis=0))}")


def scored(truth: list[tuple[np.ndarray, np.ndarray]], results: list[opensapiens.Result]) -> list[float]:
    """People, ids, IDF1, HOTA and its association accuracy of a clip."""
    real = [numbers for numbers, _ in truth]
    given = [np.array([person.id for person in result.persons], int) for result in results]
    boxes = [np.array([person.box for person in result.persons]).reshape(-1, 4) for result in results]
    overlaps = [box_iou(a, b) for (_, a), b in zip(truth, boxes, strict=True)]
    known = np.unique(np.concatenate(given))
    counted = [np.searchsorted(known, numbers) for numbers in given]  # HOTA's tables need ids that count up from 0
    hota, identity = (measure(real, counted, overlaps) for measure in (compute_hota_metrics, compute_identity_metrics))
    people = len(np.unique(np.concatenate(real)))
    return [people, len(known), identity["IDF1"], hota["HOTA"], hota["AssA"]]


def described(row: list[float] | np.ndarray) -> str:
    """The figures of `scored` in words."""
    people, ids, idf1, hota, association = row
    return f"{people:.3g} people, {ids:.3g} ids, IDF1 {idf1:.3f}, HOTA {hota:.3f}, association {association:.3f}"


if __name__ == "__main__":
    main()
