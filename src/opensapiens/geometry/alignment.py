"""Alignment of a relative depth map to a reference."""

from __future__ import annotations

import numpy as np


def scale_shift_fit(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """The (scale, shift) with the least squared error of scale * prediction + shift against `target` inside `mask`.

    All arrays have one shape. A constant prediction gets scale 0. ValueError if the mask is empty or a value inside is
    not finite. Source: the affine-invariant evaluation of relative depth (Ranftl et al., TPAMI 2022).
    """
    mask = mask.astype(bool)
    predicted, wanted = prediction[mask].astype(np.float64), target[mask].astype(np.float64)
    if not len(predicted):
        raise ValueError("scale_shift_fit: the mask is empty")
    if not (np.isfinite(predicted).all() and np.isfinite(wanted).all()):
        raise ValueError("scale_shift_fit: values inside the mask are not finite")
    centered = predicted - predicted.mean()
    variance = centered @ centered
    scale = float(centered @ (wanted - wanted.mean()) / variance) if variance > 0 else 0.0
    return scale, float(wanted.mean() - scale * predicted.mean())
