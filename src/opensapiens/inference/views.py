"""What a network sees of an image, and the way back: a person crop, or the whole image squashed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from opensapiens.geometry.boxes import center_and_scale
from opensapiens.geometry.person_crop import invert, udp_warp_matrix, unwarp, warp

STRIP_PIXELS = 1 << 18  # of a part map at a time: 28 channels of 4 bytes make 30 MB


@dataclass(frozen=True, eq=False)
class View:
    """One network input: which part of which image it shows.

    matrix: (2, 3) image pixels -> input pixels. input_size: (height, width). image_size: (height, width).
    center, scale: (2,) of the crop in image pixels. squashed: the whole image, stretched to the input size.
    window: x1, y1, x2, y2, the whole pixels of the image that the view covers (x2, y2 exclusive; may be empty).
    """

    matrix: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    input_size: tuple[int, int]
    image_size: tuple[int, int]
    window: tuple[int, int, int, int]
    squashed: bool = False

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """The network's input, height × width × 3 uint8, out of the H×W×3 uint8 image."""
        if self.squashed:
            height, width = self.input_size
            return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        return warp(image, self.matrix, self.input_size)

    def to_window(self, maps_CHW: np.ndarray) -> np.ndarray:
        """Float maps (C, h, w) of the network, at any stride of the input, over the view's window of the image: (H, W,
        C).

        Bilinear, in one step from the map to the image; NaN where the window reaches beyond the view.
        """
        left, top, right, bottom = self.window
        matrix = self._to_map(maps_CHW.shape[1:], top)
        return unwarp(maps_CHW.transpose(1, 2, 0), matrix, (bottom - top, right - left))

    def classes(self, logits_CHW: np.ndarray) -> np.ndarray:
        """The channel with the largest of the bilinear values at each pixel of the window, (H, W) uint8; 0 outside the
        view.

        In strips, since 28 channels of a large photo would fill the memory. And by cv2, several times faster than
        to_window: that it rounds positions to 1/32 of a map pixel would show in a depth map, but not in the outline of
        a part.
        """
        left, top, right, bottom = self.window
        maps_HWC = np.ascontiguousarray(logits_CHW.transpose(1, 2, 0))
        if (
            self.squashed
        ):  # its margin counts too: resizing repeats the outermost pixels, warping mixes them with the border
            maps_HWC = np.pad(maps_HWC, ((1, 1), (1, 1), (0, 0)), mode="edge")
        labels = np.zeros((bottom - top, right - left), np.uint8)
        rows = max(1, STRIP_PIXELS // max(1, right - left))
        for first in range(0, bottom - top, rows):
            last = min(first + rows, bottom - top)
            matrix = invert(self._to_map(logits_CHW.shape[1:], top + first, margin=int(self.squashed)))
            logits = warp(maps_HWC, matrix, (last - first, right - left), border=np.nan)
            logits[np.isnan(logits)] = 0  # outside the view: all alike, and the first of equals is the background
            labels[first:last] = torch.from_numpy(logits).argmax(dim=-1).numpy()
        return labels

    def _to_map(self, map_size: tuple[int, ...], first_row: int, margin: int = 0) -> np.ndarray:
        """(2, 3): pixels of the window, from row first_row of the image on, -> pixels of a map with a margin around."""
        # Map pixel k covers stride input pixels from k * stride on, as upsampling with align_corners=False has it.
        stride_y, stride_x = self.input_size[0] / map_size[0], self.input_size[1] / map_size[1]
        to_map = [[1 / stride_x, 0, 0.5 / stride_x - 0.5 + margin], [0, 1 / stride_y, 0.5 / stride_y - 0.5 + margin]]
        from_window = np.array([[1, 0, self.window[0]], [0, 1, first_row], [0, 0, 1]])
        return np.array(to_map) @ np.vstack([self.matrix, [0, 0, 1]]) @ from_window


def person_view(box: np.ndarray, image_size: tuple[int, int], input_size: tuple[int, int], padding: float) -> View:
    """The padded crop around an xyxy box, brought to the input's aspect by growing the shorter side."""
    center, scale = center_and_scale(box, aspect=input_size[1] / input_size[0], padding=padding)
    matrix = udp_warp_matrix(center, scale, input_size)
    first, last = np.floor(center - scale / 2), np.ceil(center + scale / 2) + 1
    height, width = image_size
    left, right = (int(np.clip(value, 0, width)) for value in (first[0], last[0]))
    top, bottom = (int(np.clip(value, 0, height)) for value in (first[1], last[1]))
    return View(matrix, center, scale, input_size, image_size, (left, top, right, bottom))


def squashed_view(image_size: tuple[int, int], input_size: tuple[int, int]) -> View:
    """The whole image, stretched without regard to its aspect, as the published dense models take it."""
    height, width = image_size
    ratio = np.array([input_size[1] / width, input_size[0] / height])
    matrix = np.array([[ratio[0], 0, (ratio[0] - 1) / 2], [0, ratio[1], (ratio[1] - 1) / 2]], np.float32)
    center, scale = np.array([width, height], np.float32) / 2, np.array([width, height], np.float32)
    return View(matrix, center, scale, input_size, image_size, (0, 0, width, height), squashed=True)
