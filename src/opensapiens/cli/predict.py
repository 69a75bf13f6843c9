"""`opensapiens predict`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tqdm import tqdm

if TYPE_CHECKING:
    import numpy as np

    from opensapiens.inference.pipeline import People
    from opensapiens.inference.results import Result


def predict(
    inputs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT [INPUT ...]")],
    /,
    output: Path,
    model: tuple[str, ...] = ("nano",),
    boxes: Path | None = None,
    whole_image: bool = False,
    flip: bool = False,
    device: str | None = None,
    batch_size: int = 8,
) -> int:
    """Find the people in photos and videos and save keypoints, body parts, depth and normals.

    For each photo NAME the output folder gets NAME_keypoints.json (COCO format), NAME_parts.png, NAME_depth.png and
    .npz, NAME_normals.png and .npz, one overlay per task, and NAME_sheet.jpg with all of them.
    A file that cannot be read does not stop the others: it is named at the end, and the exit code is 1.

    For example:
    $ opensapiens predict photo.jpg --output out
    $ opensapiens predict holiday/ clip.mp4 --output out
    $ opensapiens predict photo.jpg --output out --boxes boxes.json
    $ opensapiens predict photo.jpg --output out --model nano my_model/

    Args:
        inputs: photos, videos (with the extra "video"), and folders of them.
        output: the folder to write to; made if missing.
        model: names or folders of models; each task is done by the first that can.
        boxes: JSON with the people's boxes, by default they are looked for: a list of {"image": name, "bbox": [x, y,
        width, height]},
            or {name: [[x1, y1, x2, y2], ...]}, or a COCO annotation file.
        whole_image: take each image for one person who fills it.
        flip: also predict the mirrored image and average: half the speed, a little more accuracy.
        device: cpu, cuda, cuda:1, mps; by default the GPU if there is one.
        batch_size: people per forward pass.
    """
    if not inputs:
        print(
            "opensapiens predict: name at least one photo, video or folder, before the options (see --help)",
            file=sys.stderr,
        )
        return 2
    if boxes is not None and whole_image:
        print("opensapiens predict: --boxes and --whole-image exclude each other", file=sys.stderr)
        return 2
    from opensapiens.inference.boxes import read_boxes
    from opensapiens.inference.detection import WholeImage
    from opensapiens.inference.files import find_inputs, is_video, output_names
    from opensapiens.inference.loading import load

    files = find_inputs(inputs)
    given = None if boxes is None else read_boxes(boxes)
    people = load(model, device=device, detector=WholeImage() if whole_image else None, batch_size=batch_size)
    counts = {"photos": 0, "videos": 0, "people": 0}
    failures: list[str] = []
    bar = tqdm(
        list(zip(files, output_names(files), strict=True)), unit=" files", disable=None if len(files) > 1 else True
    )
    for file, name in bar:
        if is_video(file):
            failures += _predict_video(people, file, output, name, flip, counts)
        else:
            failures += _predict_photo(people, file, output, name, flip, given, counts)
    found = ", ".join(f"{count} {word}" for word, count in counts.items() if count or word == "photos")
    print(f"{found}; results are in {output}")
    if failures:
        print(f"{len(failures)} of {len(files)} files could not be processed:", file=sys.stderr)
        print("\n".join(f"  {failure}" for failure in failures), file=sys.stderr)
    return 1 if failures else 0


def _predict_photo(
    people: People,
    file: Path,
    output: Path,
    name: str,
    flip: bool,
    boxes: dict[str, np.ndarray] | None,
    counts: dict[str, int],
) -> list[str]:
    """Save one photo's result; returns what went wrong."""
    from opensapiens.data.reading import ImageError
    from opensapiens.inference.boxes import BoxesError

    if boxes is not None and file.name not in boxes:
        return [f"{file}: no boxes for it in the file of boxes"]
    try:
        result = people.predict_image(file, None if boxes is None else boxes[file.name], flip)
    except (ImageError, BoxesError) as error:
        return [str(error) if str(file) in str(error) else f"{file}: {error}"]
    result.save(output, name)
    counts["photos"] += 1
    counts["people"] += len(result.persons)
    return []


def _predict_video(
    people: People, file: Path, output: Path, name: str, flip: bool, counts: dict[str, int]
) -> list[str]:
    from opensapiens.inference.video import VideoError, frame_count_and_rate, predict_video, save_video

    seen: set[int] = set()
    try:
        frames, rate = frame_count_and_rate(file)
        bar = tqdm(
            predict_video(people, file, flip), total=frames, desc=file.name, unit=" frames", leave=False, disable=None
        )
        save_video(_counted(bar, seen), output, name, rate)
    except VideoError as error:
        return [str(error)]
    counts["videos"] += 1
    counts["people"] += len(seen)
    return []


def _counted(results: Iterable[Result], seen: set[int]) -> Iterator[Result]:
    """The results, with the ids of their people noted on the way."""
    for result in results:
        seen.update(person.id for person in result.persons)
        yield result
