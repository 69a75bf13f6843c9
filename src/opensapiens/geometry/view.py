"""What a network sees of an image, and the way back: a person crop, or the whole image squashed or with borders.

Axes: C channels, H W pixels of the image or of a window of it, h w those of the network's input or of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from opensapiens.geometry.boxes import center_and_scale, image_box
from opensapiens.geometry.limits import LARGEST_SIDE
from opensapiens.geometry.person_crop import udp_warp_matrix, warp

IMAGE_MEAN = (123.675, 116.28, 103.53)
IMAGE_STD = (58.395, 57.12, 57.375)
"""Mean and standard deviation of 0-255 RGB for the published weights and ours."""

OUTLINE_PIXELS = 1 << 16  # of a part map at a time: 28 channels of 4 bytes, five times, are 37 MB

Box = tuple[int, int, int, int]
Resize = Literal["person_crop", "squash", "letterbox", "zero_pad"]
Interpolation = Literal["linear", "bicubic", "area_cubic", "area_linear"]


@dataclass(frozen=True)
class Preprocessing:
    """How the network's input is made from an image. It belongs to the weights.

    input_size: (height, width). mean, std: of 0-255 RGB. resize: "person_crop" (a padded box warped to the input's
    aspect), "squash" (the whole image, aspect not kept), "letterbox" (the whole image, aspect kept, borders in the
    mean color) or "zero_pad" (the same with black borders, and sides rounded down, as Sapiens2 takes images whose
    proportions matter). box_padding: factor on the person's box. flip_test: average with the mirrored image, as the
    published pose models do. interpolation: "linear" and, of a whole image, "bicubic" are OpenCV's and Pillow's, for
    Sapiens; "area_cubic" and "area_linear" are for Sapiens2: OpenCV's means over areas where an image shrinks in width,
    cubic or linear where it grows. (A person crop that shrinks is interpolated linearly: OpenCV warps no areas.)
    Raises ValueError for an invalid number.
    """

    input_size: tuple[int, int]
    mean: tuple[float, float, float] = IMAGE_MEAN
    std: tuple[float, float, float] = IMAGE_STD
    resize: Resize = "person_crop"
    box_padding: float = 1.25
    flip_test: bool = False
    interpolation: Interpolation = "linear"

    def __post_init__(self) -> None:
        for name, valid in (
            ("input_size", 0 < min(self.input_size) <= max(self.input_size) <= LARGEST_SIDE),
            ("std", min(self.std) > 0),
            ("box_padding", self.box_padding > 0),
        ):
            if not valid:
                raise ValueError(f"{name} cannot be {getattr(self, name)!r}")

    @property
    def takes_people(self) -> bool:
        """Whether the network sees one person's crop rather than the whole image."""
        return self.resize == "person_crop"

    def view(self, box: np.ndarray | None, image_size: tuple[int, int]) -> View:
        """The network's view of an image of (height, width) for an xyxy box; None = the whole image.

        Raises ValueError for a person box that is not finite or is empty.
        """
        if self.takes_people:
            shown = image_box(image_size) if box is None else box
            return person_view(shown, image_size, self.input_size, self.box_padding, self.interpolation)
        if self.resize == "zero_pad":
            return whole_image_view(image_size, self.input_size, True, (0, 0, 0), self.interpolation, np.floor)
        keep_aspect = self.resize == "letterbox"
        return whole_image_view(image_size, self.input_size, keep_aspect, self.mean, self.interpolation)

    def views(self, boxes: np.ndarray, image_size: tuple[int, int]) -> list[View]:
        """One view per xyxy box (N, 4), or a single one if the network sees whole images."""
        return [self.view(box, image_size) for box in boxes] if self.takes_people else [self.view(None, image_size)]

    def normalize(self, images_B3HW: Tensor) -> Tensor:
        """0-255 RGB images as float32 (x - mean) / std, on their device."""
        mean_3 = torch.tensor(self.mean, device=images_B3HW.device).view(3, 1, 1)
        std_3 = torch.tensor(self.std, device=images_B3HW.device).view(3, 1, 1)
        return (images_B3HW.float() - mean_3) / std_3


@dataclass(frozen=True, eq=False)
class View:
    """The part of an image that one network input shows.

    matrix: (2, 3) image pixels -> input pixels, without rotation. input_size, image_size: (height, width). center,
    scale: (2,) of the crop in image pixels. window: x1, y1, x2, y2, the whole pixels of the image that the view covers
    (x2, y2 exclusive; may be empty). placed: for a whole image, the rectangle (x1, y1, x2, y2) of the input that it is
    resized to; None for a person crop. border: RGB around it. interpolation: of resizing.
    """

    matrix: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    input_size: tuple[int, int]
    image_size: tuple[int, int]
    window: Box
    placed: Box | None = None
    border: tuple[int, ...] = (0, 0, 0)
    interpolation: Interpolation = "linear"

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """The network's input, h × w × 3 uint8, from the H×W×3 uint8 image."""
        if self.placed is None:
            grows = self.matrix[0, 0] >= 1 and self.matrix[1, 1] >= 1
            cubic = self.interpolation == "area_cubic" and grows
            return warp(image, self.matrix, self.input_size, "cubic" if cubic else "linear")
        left, top, right, bottom = self.placed
        size = (right - left, bottom - top)
        if self.interpolation == "bicubic":
            resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        else:
            resized = cv2.resize(image, size, interpolation=self._cv2_flag(size[0] < image.shape[1]))
        return self._letterboxed(resized, self.border)

    def _cv2_flag(self, shrinks: bool) -> int:
        if self.interpolation == "linear":
            return cv2.INTER_LINEAR
        if shrinks:
            return cv2.INTER_AREA
        return cv2.INTER_CUBIC if self.interpolation == "area_cubic" else cv2.INTER_LINEAR

    @property
    def enlarges(self) -> bool:
        """Whether maps of the input's size become larger in the image."""
        return bool(self.matrix[0, 0] < 1 or self.matrix[1, 1] < 1)

    def labels(self, values: np.ndarray, outside: float, blended: bool = False) -> np.ndarray:
        """A label map of the image, (H, W) or (H, W, C), at the network's input: nearest pixels, or, blended, linear
        between them; `outside` beyond the image."""
        if self.placed is None:
            method: Literal["linear", "nearest"] = "linear" if blended else "nearest"
            return warp(values, self.matrix, self.input_size, interpolation=method, border=outside)
        left, top, right, bottom = self.placed
        return self._letterboxed(resized_labels(values, (bottom - top, right - left), blended), outside)

    def _letterboxed(self, resized: np.ndarray, border: float | tuple[int, ...]) -> np.ndarray:
        if self.placed is None or resized.shape[:2] == self.input_size:
            return resized
        left, top, right, bottom = self.placed
        canvas = np.full((*self.input_size, *resized.shape[2:]), border, resized.dtype)
        canvas[top:bottom, left:right] = resized
        return canvas

    def to_window(self, maps_Chw: Tensor, between: Callable[[Tensor], Tensor] | None = None) -> np.ndarray:
        """Float maps of the network, at any stride, over the view's window of the image: (H, W, C).

        Bilinear, first to the input's size and then to the image, as published; NaN outside the view.

        between: changes the maps (C, h, w) at the input's size, without borders, before they go to the image.
        """
        # Views are not rotated, so columns and rows can be interpolated separately; columns first, since there are few
        # rows. For a whole image this equals resizing with align_corners=False. cv2 would round positions to 1/32.
        maps_hwC = self._at_input_size(maps_Chw)
        if between is not None:
            maps_hwC = between(maps_hwC.permute(2, 0, 1)).permute(1, 2, 0)
        columns = _interpolate(maps_hwC, self._positions(0), dim=1)
        values = _interpolate(columns, self._positions(1), dim=0).cpu().numpy()
        self._fill_outside(values, np.nan)
        return values

    def classes(self, logits_Chw: Tensor) -> np.ndarray:
        """The channel with the largest value of `to_window`, (H, W) uint8; 0 outside the view.

        If the four values around a position have the same largest channel, so has everything between them: only the
        outlines of parts are interpolated, some pixels at a time, since 28 channels of a large photo need much memory.
        """
        logits_hwC = self._at_input_size(logits_Chw)
        here = logits_hwC.argmax(dim=-1)
        right = torch.cat([here[:, 1:], here[:, -1:]], dim=1)
        alike = here == right
        alike &= torch.cat([alike[1:], alike[-1:]]) & (here == torch.cat([here[1:], here[-1:]]))
        low_x, high_x, weight_x = _neighbors(self._positions(0), logits_hwC.shape[1], logits_hwC.device)
        low_y, high_y, weight_y = _neighbors(self._positions(1), logits_hwC.shape[0], logits_hwC.device)
        labels = here.to(torch.uint8)[:, low_x][low_y]
        outline = (~alike)[:, low_x][low_y].nonzero()
        for y, x in (pixels.unbind(dim=1) for pixels in outline.split(OUTLINE_PIXELS)):
            left, right_hand = (
                torch.lerp(logits_hwC[low_y[y], columns], logits_hwC[high_y[y], columns], weight_y[y, None])
                for columns in (low_x[x], high_x[x])
            )
            labels[y, x] = torch.lerp(left, right_hand, weight_x[x, None]).argmax(dim=-1).to(torch.uint8)
        classes = labels.cpu().numpy()
        self._fill_outside(classes, 0)
        return classes

    def _at_input_size(self, maps_Chw: Tensor) -> Tensor:
        """Maps at the input's size, cropped to the image: (h, w, C)."""
        maps = resize_maps(maps_Chw[None], self.input_size)[0]
        if self.placed is not None:
            left, top, right, bottom = self.placed
            maps = maps[:, top:bottom, left:right]
        return maps.permute(1, 2, 0).contiguous()

    def _positions(self, axis: int) -> np.ndarray:
        """Positions of the window's columns (axis 0) or rows (axis 1) in pixels of _at_input_size."""
        first, last = self.window[axis], self.window[axis + 2]
        origin = self.placed[axis] if self.placed is not None else 0
        return np.arange(first, last) * float(self.matrix[axis, axis]) + float(self.matrix[axis, 2]) - origin

    def _fill_outside(self, values: np.ndarray, value: float) -> None:
        """Sets, in place, the rows and columns of the window (H, W, …) that are outside the view."""
        if self.placed is None:
            height, width = self.input_size
            x, y = self._positions(0), self._positions(1)
            values[(y < -0.5) | (y >= height - 0.5)] = value
            values[:, (x < -0.5) | (x >= width - 0.5)] = value


def _interpolate(maps: Tensor, positions: np.ndarray, dim: int) -> Tensor:
    """Linear interpolation of maps along a dimension, at positions in pixels that are clipped to it."""
    low, high, weight = _neighbors(positions, maps.shape[dim], maps.device)
    shape = [-1 if axis == dim else 1 for axis in range(maps.dim())]
    return torch.lerp(maps.index_select(dim, low), maps.index_select(dim, high), weight.view(shape))


def _neighbors(positions: np.ndarray, length: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The two of `length` pixels around each position, and the weight of the second."""
    clipped = positions.clip(0, length - 1)
    low = np.floor(clipped).astype(np.int64)
    high, weight = np.minimum(low + 1, length - 1), (clipped - low).astype(np.float32)
    return tuple(torch.from_numpy(values).to(device) for values in (low, high, weight))  # type: ignore[return-value]


def resize_maps(maps_BChw: Tensor, size_hw: Sequence[int] | None) -> Tensor:
    """Maps in float32, resized bilinearly (align_corners=False); None keeps their size."""
    maps = maps_BChw.float()
    if size_hw is None or tuple(maps.shape[-2:]) == tuple(size_hw):
        return maps
    return functional.interpolate(maps, size=tuple(size_hw), mode="bilinear", align_corners=False)


def person_view(
    box: np.ndarray,
    image_size: tuple[int, int],
    input_size: tuple[int, int],
    padding: float,
    interpolation: Interpolation = "linear",
) -> View:
    """The padded crop around an xyxy box, enlarged to the input's aspect."""
    center, scale = center_and_scale(box, aspect=input_size[1] / input_size[0], padding=padding)
    matrix = udp_warp_matrix(center, scale, input_size)
    first, last = np.floor(center - scale / 2), np.ceil(center + scale / 2) + 1
    height, width = image_size
    left, right = (int(np.clip(value, 0, width)) for value in (first[0], last[0]))
    top, bottom = (int(np.clip(value, 0, height)) for value in (first[1], last[1]))
    return View(matrix, center, scale, input_size, image_size, (left, top, right, bottom), interpolation=interpolation)


def whole_image_view(
    image_size: tuple[int, int],
    input_size: tuple[int, int],
    keep_aspect: bool = False,
    border: Sequence[float] = (0, 0, 0),
    interpolation: Interpolation = "linear",
    rounded: Callable[[np.ndarray], np.ndarray] = np.round,
) -> View:
    """The whole image: stretched to the input, as for the published dense models, or with borders.

    keep_aspect: as large as it fits, centered, on the color `border` (RGB 0-255); its sides are `rounded`.
    """
    height, width = image_size
    size = np.array([input_size[1], input_size[0]])
    if keep_aspect:
        zoom = min(size[0] / width, size[1] / height)
        size = np.clip(rounded(np.array([width, height]) * zoom).astype(int), 1, size)
    left, top = (np.array([input_size[1], input_size[0]]) - size) // 2
    ratio = size / np.array([width, height])
    # Half-pixel centers, as in cv2.resize and torch's interpolate.
    offset = (ratio - 1) / 2 + [left, top]
    matrix = np.array([[ratio[0], 0, offset[0]], [0, ratio[1], offset[1]]])
    center, scale = np.array([width, height], np.float32) / 2, np.array([width, height], np.float32)
    placed = (int(left), int(top), int(left + size[0]), int(top + size[1]))
    color = tuple(round(value) for value in border)
    return View(matrix, center, scale, input_size, image_size, (0, 0, width, height), placed, color, interpolation)


def resized_labels(values: np.ndarray, size_hw: tuple[int, int], blended: bool = False) -> np.ndarray:
    """A label map (H, W) or (H, W, C) at another size: nearest pixels, or, blended, means over areas where it shrinks
    and linear where it grows."""
    height, width = size_hw
    smooth = cv2.INTER_AREA if width < values.shape[1] else cv2.INTER_LINEAR
    return cv2.resize(values, (width, height), interpolation=smooth if blended else cv2.INTER_NEAREST)


def crop_view(size_hw: tuple[int, int]) -> View:
    """A view of an existing crop, so that results are in the crop's pixels."""
    height, width = size_hw
    last = np.array([width - 1, height - 1], np.float32)
    return View(np.eye(2, 3, dtype=np.float32), last / 2, last, size_hw, size_hw, (0, 0, width, height))
