"""Reads frames of untrusted videos, or raises an error if a file holds fewer than it claims."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from opensapiens.storage.files import check_regular_file
from opensapiens.storage.pictures import MAX_PIXELS, ImageError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

VIDEO_ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
# FFmpeg detects formats by content, and some of them are lists of other files and URLs to read.
CONTAINERS = "mov,matroska,avi"
SIDES = (16, 16384)  # pixels; H.264, in which overlays are written, has no more
RATES = (Fraction(1, 100), Fraction(1000))  # plausible frames per second
USUAL_RATE = Fraction(25)


class VideoError(ImageError):
    """A video that cannot be read to its end; the message says which and why."""


def read_frames(path: str | Path) -> Iterator[tuple[np.ndarray, float]]:
    """Frames of a video, H×W×3 uint8 RGB, upright, with their time in seconds.

    For a video that is damaged or ends early, raises VideoError after the readable frames.
    """
    av = pyav()
    progress = _Progress()
    with open_video(path) as container:
        stream = _video_stream(container, path)
        rate = _rate(stream)
        try:
            for packet in container.demux():
                progress.see(packet)
                if packet.stream is not stream:
                    continue
                for frame in stream.decode(packet):
                    _check_sides(frame.width, frame.height, path)
                    seconds = float(progress.frames / rate) if frame.time is None else float(frame.time)
                    progress.count(frame)
                    turns = round(getattr(frame, "rotation", 0) / 90) % 4
                    yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns)), seconds
        except av.FFmpegError as error:
            progress.reason = f" ({error.strerror})"
        if problem := progress.problem(container, stream, rate):
            raise VideoError(f"{path}: {problem}")


def frame_count_and_rate(path: str | Path) -> tuple[int | None, Fraction]:
    """The number of frames that a video claims, if any, and frames per second. Raises VideoError."""
    with open_video(path) as container:
        stream = _video_stream(container, path)
        return stream.frames or None, _rate(stream)


def open_video(path: str | Path) -> InputContainer:
    """A container for reading, only from a file. Raises VideoError."""
    av = pyav()
    # Without the prefix a file named "http:..." would be a URL; titles have any encoding.
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        check_regular_file(path, 1 << 62)
        return av.open(f"file:{path}", options=options, metadata_errors="replace")
    except av.ArgumentError as error:
        raise VideoError(f"{path}: not a video in a format that can be read (MP4, MOV, MKV, WebM, AVI)") from error
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: not a readable video ({error.strerror or error})") from error


def open_for_writing(path: Path, kind: str = "mp4") -> Any:
    """A container for writing to a file."""
    return pyav().open(f"file:{path}", "w", format=kind)


def pyav() -> ModuleType:
    """PyAV. Raises ModuleNotFoundError that says how to install it."""
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("reading videos needs PyAV: pip install opensapiens[video]", name="av") from error
    return av


def _video_stream(container: InputContainer, path: str | Path) -> VideoStream:
    if not container.streams.video:
        raise VideoError(f"{path}: there is no picture in this file; copy it again if it was cut off")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise VideoError(f"{path}: its pictures are in a coding that this FFmpeg does not know")
    _check_sides(stream.codec_context.width, stream.codec_context.height, path)
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    stream.thread_type = "AUTO"
    return stream


def _check_sides(width: int, height: int, path: str | Path) -> None:
    if not SIDES[0] <= min(width, height) <= max(width, height) <= SIDES[1] or width * height > MAX_PIXELS:
        raise VideoError(f"{path}: {width}x{height} pixels; sides of {SIDES[0]} to {SIDES[1]} can be read")


def _rate(stream: VideoStream) -> Fraction:
    rate = Fraction(stream.average_rate or USUAL_RATE)
    return rate.limit_denominator(1 << 16) if RATES[0] <= rate <= RATES[1] else USUAL_RATE


class _Progress:
    """How much of a video was read, and how much of it is damaged."""

    def __init__(self) -> None:
        self.frames, self.damaged, self.seconds, self.reason = 0, 0, 0.0, ""

    def see(self, packet: Any) -> None:
        """Counts packets of any stream, since sound may continue after the last frame."""
        if packet.pts is not None:
            self.seconds = max(self.seconds, float((packet.pts + (packet.duration or 0)) * packet.time_base))

    def count(self, frame: Any) -> None:
        self.frames += 1
        # Those before the first intact frame are from cutting within a group of pictures, as editors do.
        self.damaged += bool(frame.is_corrupt) and self.damaged < self.frames - 1

    def problem(self, container: InputContainer, stream: VideoStream, rate: Fraction) -> str | None:
        """What is wrong with a video that was read to its end or to an error, if anything."""
        promised = self._promised(container, stream, rate)
        if self.seconds < promised - max(0.2, 2.5 / float(rate)) or self.reason:
            total = stream.frames or round(promised * rate)
            return (
                f"ends early{self.reason}: {self.frames} of {total} frames could be read "
                f"({float(self.frames / rate):.1f} of {promised:.1f} seconds)"
            )
        return f"{self.damaged} of {self.frames} frames are damaged" if self.damaged else None

    @staticmethod
    def _promised(container: InputContainer, stream: VideoStream, rate: Fraction) -> float:
        """The claimed end of a video in seconds, or 0."""
        if container.format.name == "avi":  # FFmpeg derives its duration from the file size
            return float(stream.frames / rate)
        if stream.duration is not None and stream.time_base is not None:
            return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
        return ((container.start_time or 0) + (container.duration or 0)) / 1e6
