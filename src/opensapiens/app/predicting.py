"""Uploaded files, one after the other, through the pipeline: each gives something to look at or a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import cv2
import numpy as np

from opensapiens.app.options import LONGEST_SIDE, LONGEST_VIDEO, MOST_FILES
from opensapiens.inference.composing import ImagePredictions
from opensapiens.inference.files import is_video
from opensapiens.inference.options import PredictOptions, VideoOptions
from opensapiens.inference.output import output_names
from opensapiens.inference.pipeline import People, SourceImage
from opensapiens.inference.recording import record_video
from opensapiens.inference.results import Result, people_in_words
from opensapiens.inference.video import PredictedFrame
from opensapiens.storage.listing import ADVICE, counted
from opensapiens.storage.pictures import ImageError, read_image
from opensapiens.storage.videos import frame_count_and_rate

Report = Callable[[float, str], None]
"""Is told the share of the work that is done, and what is going on."""


class Stopped(Exception):
    """A video is stopped before its end; the message says why."""


@dataclass(eq=False)
class PredictedPhoto:
    """A photo. name: the visitor's, without ending and distinct. note: what was done to it, if anything."""

    name: str
    predictions: ImagePredictions
    note: str = ""

    def result(self, least_score: float = 0.0) -> Result:
        """The people whose detection scores that much at least, composed anew; everybody keeps their number."""
        assert self.predictions.scores is not None
        kept = np.flatnonzero(self.predictions.scores >= least_score)
        result = self.predictions.of_people(kept).result()
        for person, index in zip(result.persons, kept, strict=True):
            person.id = int(index) + 1
        return result


@dataclass(eq=False)
class PredictedVideo:
    """A video. files: what was written for it; overlay: the one to play. about: how many frames, and who is in them.
    note: why it ends early, if it does."""

    name: str
    files: list[Path]
    overlay: Path
    about: str = ""
    note: str = ""


Predicted = PredictedPhoto | PredictedVideo


def predict_uploads(
    people: People, uploads: Sequence[Path], folder: Path, overlay: str, stop: Event, report: Report
) -> Iterator[Predicted | str]:
    """What comes of each upload, in order: its prediction, or a sentence that says what is wrong with it.

    folder: for the files of videos. overlay: what is drawn over videos, see VideoOptions. stop: when it is set, a video
    ends at this frame, and what comes after is left out.
    """
    taken = uploads[:MOST_FILES]
    for number, (upload, name) in enumerate(zip(taken, output_names([path.name for path in taken]), strict=True)):
        if stop.is_set():
            yield f"stopped: {counted(len(taken) - number, 'file')} not predicted"
            return

        def tell(share: float, words: str, number: int = number) -> None:
            report((number + share) / len(taken), words)

        tell(0, f"{upload.name} ({number + 1} of {len(taken)})" if len(taken) > 1 else upload.name)
        try:
            if is_video(upload):
                yield _predict_video(people, upload, name, folder, overlay, stop, tell)
            else:
                yield _predict_photo(people, upload, name)
        except (ImageError, Stopped, OSError, ModuleNotFoundError) as error:
            yield sentence(error, upload)
    if len(uploads) > len(taken):
        yield f"{counted(len(uploads) - len(taken), 'file')} left out: the page takes {MOST_FILES} at a time"


def sentence(error: Exception, upload: Path) -> str:
    """What is wrong, naming the file as the visitor does, not where it lies on this computer."""
    said = str(error).replace(f"{upload}: ", "").replace(str(upload), upload.name)
    advice = ADVICE.get(upload.suffix.lower())
    return f"{upload.name}: {said}" if advice is None else f"{upload.name}: {advice}"


def _predict_photo(people: People, upload: Path, name: str) -> PredictedPhoto:
    image = read_image(upload)
    height, width = image.shape[:2]
    factor = LONGEST_SIDE / max(height, width)
    note = ""
    if factor < 1:
        size = max(1, round(width * factor)), max(1, round(height * factor))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        note = f"{upload.name}: scaled from {width}×{height} to {size[0]}×{size[1]} pixels"
    (predictions,) = people.predictions([SourceImage(image, source=Path(upload.name))])
    return PredictedPhoto(name, predictions, note)


def _predict_video(
    people: People, upload: Path, name: str, folder: Path, overlay: str, stop: Event, tell: Report
) -> PredictedVideo:
    claimed, rate = frame_count_and_rate(upload)
    seconds = float((claimed or 0) / rate)
    if seconds > LONGEST_VIDEO:
        raise Stopped(
            f"{seconds:.0f} seconds are too long for this page, which takes {LONGEST_VIDEO:.0f}; "
            "cut it, or use the command opensapiens predict"
        )
    began = time.monotonic()

    def on_frame(frame: PredictedFrame) -> None:
        done = frame.number + 1
        if stop.is_set():
            raise Stopped(f"stopped after {counted(done, 'frame')}, which are shown")
        if frame.seconds > LONGEST_VIDEO:
            raise Stopped(f"only its first {LONGEST_VIDEO:.0f} seconds are predicted")
        if claimed is None:
            return tell(0.5, f"{upload.name}: frame {done}")
        left = (time.monotonic() - began) / done * (claimed - done)
        tell(min(done / claimed, 1.0), f"{upload.name}: frame {done} of {claimed}, about {left:.0f} s to go")

    options = PredictOptions(video=VideoOptions(overlay=(overlay,)))
    own = folder / name
    played = own / f"{name}_overlay.mp4"
    try:
        made = record_video(people, upload, own, name, options, upload.name, on_frame)
    except (ImageError, Stopped) as error:
        if not played.exists():
            raise
        files = sorted(path for path in own.iterdir() if path.is_file())
        return PredictedVideo(name, files, played, note=sentence(error, upload))
    return PredictedVideo(name, made.files, played, f"{counted(made.frames, 'frame')}, {people_in_words(made.people)}")
