"""Pictures into H.264 videos with the times of their frames, and pieces of videos into one with the sound of another.

Without B-frames a packet's order is its time, so pieces can be put one after the other whatever their frame rates are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from opensapiens.storage.files import written
from opensapiens.storage.videos import open_for_writing, open_video, pyav

QUALITY = {"crf": "20", "bf": "0"}
TICKS = Fraction(1, 90_000)  # of a second
logger = logging.getLogger(__name__)
IN_MP4 = {"aac", "mp3", "ac3", "eac3", "opus", "alac"}
"""Codings of sound that an MP4 file can hold, and players of it understand; others are encoded as AAC."""


class Encoder:
    """One video while it is written. size: its height and width, both even; other pictures are scaled to it."""

    def __init__(self, path: Path, size: tuple[int, int], rate: Fraction) -> None:
        self.size, self.last = size, -1
        self.container = open_for_writing(path)
        self.stream = self.container.add_stream("h264", rate=rate, options=QUALITY)
        self.stream.height, self.stream.width = size
        self.stream.pix_fmt = "yuv420p"
        self.stream.codec_context.time_base = TICKS

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Encode an H×W×3 uint8 RGB picture that is shown from this time on."""
        height, width = self.size
        if picture.shape[0] - height not in (0, 1) or picture.shape[1] - width not in (0, 1):
            picture = cv2.resize(picture, (width, height))  # the frames of the video change size
        frame = pyav().VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
        self.last = max(round(seconds / TICKS), self.last + 1)  # times of damaged videos stand still
        frame.pts, frame.time_base = self.last, TICKS
        self.container.mux(self.stream.encode(frame))

    def close(self) -> None:
        """Write the last frames."""
        self.container.mux(self.stream.encode())
        self.container.close()


def even(picture: np.ndarray) -> tuple[int, int]:
    """Height and width of a picture without an odd last row and column, which H.264 cannot have."""
    height, width = picture.shape[:2]
    return height - height % 2, width - width % 2


def join_videos(parts: Sequence[tuple[Path, float]], path: Path, source: Path) -> None:
    """Videos of one size in one file, without encoding them again, and with the sound of `source` up to their end.

    parts: files with the time in seconds at which each begins in `source`.
    """
    origin = parts[0][1]
    with written(path) as unfinished, closing(open_for_writing(unfinished)) as joined, open_video(source) as original:
        with open_video(parts[0][0]) as first:
            target = joined.add_stream_from_template(first.streams.video[0])
        sound = _Sound(joined, original, origin, source)
        last = -1
        for part, begin in parts:
            with open_video(part) as container:
                stream: Any = container.streams.video[0]
                for packet in container.demux(stream):
                    if packet.dts is None:  # the empty one that ends the stream
                        continue
                    last = max(packet.pts + round((begin - origin) / stream.time_base), last + 1)
                    packet.pts = packet.dts = last
                    packet.stream = target
                    sound.copy(float(last * stream.time_base))
                    joined.mux(packet)
                    end = float((last + (packet.duration or 0)) * stream.time_base)
        sound.copy(end)
        sound.finish()


class _Sound:
    """The first sound of a video on its way into another one, to its end or to where it is damaged, which is logged.

    origin: seconds of the source that are 0 in the other. path: of the source.
    """

    def __init__(self, joined: Any, source: Any, origin: float, path: Path) -> None:
        self.joined, self.origin, self.path = joined, origin, path
        self.target: Any = None
        self.copied = False
        self.packets: Iterator[Any] = iter(())
        self.next: Any = None
        streams = [stream for stream in source.streams.audio if stream.codec_context is not None]
        if not streams:
            return
        self.copied = streams[0].codec_context.name in IN_MP4
        if self.copied:
            self.target = joined.add_stream_from_template(streams[0])
        else:
            self.target = joined.add_stream("aac", rate=streams[0].codec_context.sample_rate)
        self.packets = self._wanted(source.demux(streams[0]))
        self.next = self._following()

    def copy(self, end: float) -> None:
        """Write what sounds before this time, in seconds of the joined video."""
        while self.next is not None and self._seconds(self.next) < end:
            try:
                self._write(self.next)
            except pyav().FFmpegError as error:
                self._stop(error)
            else:
                self.next = self._following()

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self.target is not None and not self.copied:
            self.joined.mux(self.target.encode())

    def _write(self, packet: Any) -> None:
        if self.copied:
            shift = round(self.origin / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, self.target
            self.joined.mux(packet)
            return
        for frame in packet.decode():
            frame.pts = None  # counted by the encoder
            self.joined.mux(self.target.encode(frame))

    def _following(self) -> Any:
        try:
            return next(self.packets, None)
        except pyav().FFmpegError as error:
            self._stop(error)

    def _stop(self, error: Exception) -> None:
        logger.warning("%s: its sound could not be kept to its end (%s)", self.path, error)
        self.next, self.packets = None, iter(())

    def _wanted(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Those from the origin on."""
        for packet in packets:
            if packet.pts is not None and packet.dts is not None and self._seconds(packet) >= 0:
                yield packet

    def _seconds(self, packet: Any) -> float:
        return float(packet.pts * packet.time_base) - self.origin
