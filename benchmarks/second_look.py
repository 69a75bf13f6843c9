"""Fits how `inference/second_look.py` scores a box, on pictures with everybody's box, and prints constants and figures.

python benchmarks/second_look.py --images PHOTOS --annotations PEOPLE.json

Photos without anybody belong among them, without annotations; so do small people: mosaics of two by two and of three by
three photos are added. Figures are of photos that the constants were not fitted on (five folds).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

import opensapiens
from opensapiens.data.sample import Sample
from opensapiens.evaluation.detection import read_coco_people
from opensapiens.geometry.boxes import box_iou, image_box
from opensapiens.inference.second_look import (
    CANDIDATE_SCORE,
    MOST_CANDIDATES,
    WHOLE_SCORE,
    SecondLook,
    distinct,
)
from opensapiens.tasks.detection import DetectionMetric

SIDE = 960  # pixels of a mosaic
MOSAICS = ((2, 20), (3, 8))  # photos along a side, and how many such mosaics
LEAST_SHARE = 0.4  # of a person's area in a mosaic: with less they may be missed
FOLDS = 5
THRESHOLDS = (0.2, 0.25, 0.3, 0.4, 0.5)
PENALTY = 0.3  # of squared weights of standardized features


def mosaic(samples: list[Sample], across: int, rng: np.random.Generator) -> Sample:
    """Squares of across x across photos, scaled to one picture."""
    cell = SIDE // across
    image = np.zeros((cell * across, cell * across, 3), np.uint8)
    people = []
    for index, sample in enumerate(samples):
        height, width = sample.image.shape[:2]
        side, row, column = min(height, width), index // across, index % across
        left, top = (width - side) // 2, int(rng.choice([0, (height - side) // 2]))
        square = cv2.resize(
            sample.image[top : top + side, left : left + side], (cell, cell), interpolation=cv2.INTER_AREA
        )
        image[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = square
        for *box, counted in sample.people:
            whole = (np.array(box) - (left, top, left, top)) * cell / side
            seen = whole.clip(0, cell)
            area = (seen[2:] - seen[:2]).prod()
            if area > 0:
                counted = counted and area > LEAST_SHARE * (whole[2:] - whole[:2]).prod()
                people.append([*(seen + np.array([column, row, column, row]) * cell), counted])
    return Sample(image=image, key=f"mosaic {across}", people=np.array(people, np.float32).reshape(-1, 5))


def fitted(features: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Bias and weights of a logistic regression, by Newton's method."""
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-9
    rows = np.column_stack([np.ones(len(features)), (features - mean) / spread])
    penalty = PENALTY * np.diag([0.0, *(1.0 for _ in mean)])
    weights = np.zeros(rows.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-rows @ weights))
        gradient = rows.T @ (right - chance) - penalty @ weights
        weights += np.linalg.solve((rows * (chance * (1 - chance))[:, None]).T @ rows + penalty, gradient)
    slopes = weights[1:] / spread
    return np.array([weights[0] - slopes @ mean, *slopes])


def main() -> None:
    """Print the constants, and figures of folds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    look = opensapiens.load(options.model, detector="auto").detector
    if not isinstance(look, SecondLook):
        parser.error("the detector of this model has no second look")
    photos = list(read_coco_people(options.annotations, options.images))
    shown = [sample for sample in photos if len(sample.people)]
    rng = np.random.default_rng(0)
    order = rng.permutation(len(shown))
    mosaics, start = [], 0
    for across, count in MOSAICS:
        for _ in range(count):
            picked = [shown[order[(start + k) % len(shown)]] for k in range(across**2)]
            start += across**2
            mosaics.append(mosaic(picked, across, rng))
    samples = photos + mosaics
    candidates = []
    for sample in samples:
        boxes, scores = look.first(sample.image)
        boxes = np.concatenate([boxes[:MOST_CANDIDATES], image_box(sample.image.shape[:2])[None]])
        candidates.append(look.features(sample.image, boxes, np.append(scores[:MOST_CANDIDATES], WHOLE_SCORE)))
    print(f"{len(samples)} pictures, {sum(len(boxes) for boxes, _ in candidates)} boxes from {CANDIDATE_SCORE} on")
    for columns, name in (([0, 1, 2], "WITH_POINTS"), ([0, 2], "WITHOUT_POINTS")):
        report(samples, len(photos), candidates, columns, name)


def report(
    samples: list[Sample], photos: int, candidates: list[tuple[np.ndarray, np.ndarray]], columns: list[int], name: str
) -> None:
    """Print one set of constants and the figures of the folds."""
    rows, right, fold = [], [], []
    for index, (sample, (boxes, features)) in enumerate(zip(samples, candidates, strict=True)):
        for box, row in zip(boxes, features, strict=True):
            overlap = box_iou(box[None], sample.people[:, :4])[0] if len(sample.people) else np.zeros(1)
            hit = overlap.max() >= 0.5
            if hit and not sample.people[int(overlap.argmax()), 4]:
                continue
            rows.append(row[columns])
            right.append(float(hit))
            fold.append(index % FOLDS)
    features, answers, folds = np.array(rows), np.array(right), np.array(fold)
    print(name, fitted(features, answers).round(2).tolist())
    for title, chosen in (("photos", range(photos)), ("mosaics", range(photos, len(samples)))):
        metrics = {threshold: DetectionMetric(threshold) for threshold in THRESHOLDS}
        for index in chosen:
            bias, *weights = fitted(features[folds != index % FOLDS], answers[folds != index % FOLDS])
            boxes, own = candidates[index]
            scores = 1 / (1 + np.exp(-(bias + own[:, columns] @ np.array(weights))))
            kept = distinct(boxes, scores)
            for metric in metrics.values():
                metric.update(np.column_stack([boxes, scores])[kept], samples[index])
        figures = {threshold: metric.report() for threshold, metric in metrics.items()}
        print(f"  {title}: AP50 {figures[THRESHOLDS[0]]['AP50']:.3f}, AP {figures[THRESHOLDS[0]]['AP']:.3f}")
        shown = ("recall", "precision", "wrong_boxes_per_picture_without_people")
        for threshold, row in figures.items():
            print(f"    from {threshold}:", ", ".join(f"{key} {row[key]:.2f}" for key in shown))


if __name__ == "__main__":
    main()
