"""Evaluates frozen features by a linear probe or nearest neighbors, on classes of pictures or on body parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from opensapiens.data.crop import view_sample
from opensapiens.data.sample import Sample
from opensapiens.data.shards import ShardDataset
from opensapiens.evaluation.people import EvaluationError
from opensapiens.geometry.view import resize_maps, whole_image_view
from opensapiens.inference.features import encode_views
from opensapiens.inference.forward import LoadedModel
from opensapiens.labels.parts import IGNORED
from opensapiens.storage.listing import list_files
from opensapiens.storage.pictures import IMAGE_ENDINGS, ImageError, read_image
from opensapiens.storage.progress import progress
from opensapiens.tasks.segmentation import SegmentationTask

Method = Literal["probe", "knn"]
NEIGHBORS, TEMPERATURE = 20, 0.07  # the protocol of DINO (Caron et al., ICCV 2021)
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the probe's weight penalty; a fifth of the training set picks one of them."""
PATCHES_PER_PERSON = 64  # of the dense methods, drawn at random from each person of the training set


@dataclass(frozen=True, eq=False)
class Labeled:
    """Features (N, D) float32 with their classes (N,) int64."""

    features: Tensor
    classes: Tensor


def evaluate_frozen(
    method: Method,
    loaded: LoadedModel,
    train: str | Path,
    test: str | Path,
    limit: int | None = None,
    seed: int = 0,
    failures: list[str] | None = None,
) -> dict[str, Any]:
    """How well classes can be told from the features of a backbone that is not trained on them.

    train, test: two folders of the same kind. With a subfolder of pictures per class: the picture's features are the
    mean over its patches, of the whole picture squashed; figures are accuracy and mean_class_accuracy, beside
    "largest_class_", the answer that is always the commonest class. With synthetic shards: body parts, one class per
    patch; figures are mIoU, mAcc and aAcc at the pixels of the crops, beside "background_aAcc".

    probe: logistic regression on standardized features; the strength of its penalty is picked on a fifth of the
    training set. knn: 20 nearest by cosine, each voting by exp(similarity / 0.07). limit: at most so many pictures of a
    class, or people, of either folder. failures: a list to which a sentence is added for each picture that cannot be
    read; without it they raise ImageError. Raises EvaluationError for folders that are neither, or whose classes
    differ.
    """
    for folder in (train, test):
        if not Path(folder).is_dir():
            raise EvaluationError(f"no folder {folder}")
    dense = any(Path(train).glob("*.tar"))
    if dense:
        figures = _dense(method, loaded, Path(train), Path(test), limit, seed)
    else:
        figures = _pictures(method, loaded, Path(train), Path(test), limit, seed, failures)
    width = loaded.description.backbone.embed_dim
    about = {"task": method, "model": loaded.description.name, "of": "body parts" if dense else "pictures"}
    return {**about, "data": str(test), "train": str(train), "features": width, **figures}


def _pictures(
    method: Method,
    loaded: LoadedModel,
    train: Path,
    test: Path,
    limit: int | None,
    seed: int,
    failures: list[str] | None,
) -> dict[str, Any]:
    names, test_names = _class_names(train), _class_names(test)
    unknown = [name for name in test_names if name not in names]
    if len(names) < 2 or unknown:
        reason = f"; {', '.join(unknown)} are only in {test}" if unknown else ""
        raise EvaluationError(f"{train} needs a subfolder of pictures for each of two or more classes{reason}")
    known, asked = (_picture_features(loaded, folder, names, limit, failures) for folder in (train, test))
    predicted = _classify(method, known, asked.features, len(names), seed)
    right = (predicted == asked.classes).double()
    per_class = [float(right[asked.classes == number].mean()) for number in asked.classes.unique().tolist()]
    commonest = int(known.classes.bincount().argmax())
    return {
        "images": len(asked.classes),
        "train_images": len(known.classes),
        "classes": len(names),
        "accuracy": float(right.mean()),
        "mean_class_accuracy": float(np.mean(per_class)),
        "largest_class_accuracy": float((asked.classes == commonest).double().mean()),
        "largest_class_mean_class_accuracy": 1 / len(per_class),
    }


def _class_names(folder: Path) -> list[str]:
    return sorted(below.name for below in folder.iterdir() if below.is_dir() and _images_in(below))


def _images_in(folder: Path) -> list[Path]:
    return list_files(folder, IMAGE_ENDINGS).files


def _picture_features(
    loaded: LoadedModel, folder: Path, names: Sequence[str], limit: int | None, failures: list[str] | None
) -> Labeled:
    files = [(path, number) for number, name in enumerate(names) for path in _images_in(folder / name)[:limit]]
    rows, classes = [], []
    for path, number in progress(files, f"features of {folder.name}", unit="images"):
        try:
            image = read_image(path)
        except ImageError as error:
            if failures is None:
                raise
            failures.append(str(error))
            continue
        # Squashed, as in the published feature extraction, even for weights trained on person crops.
        view = whole_image_view(image.shape[:2], loaded.input_size)
        rows.append(encode_views(loaded, [(image, view)]).pooled[0])
        classes.append(number)
    if not rows:
        raise EvaluationError(f"{folder} holds no pictures that can be read")
    return Labeled(torch.from_numpy(np.stack(rows)), torch.tensor(classes))


def _dense(
    method: Method, loaded: LoadedModel, train: Path, test: Path, limit: int | None, seed: int
) -> dict[str, Any]:
    if not any(test.glob("*.tar")):
        raise EvaluationError(f"{train} holds shards (*.tar), {test} does not")
    generator = np.random.default_rng(seed)
    part_set, features, classes = None, [], []
    for sample, tokens, grid in _crops(loaded, train, limit):
        part_set = sample.part_set
        of_patch = patch_classes(sample, grid, len(part_set))
        labeled = np.flatnonzero(of_patch != IGNORED)
        chosen = generator.permutation(labeled)[:PATCHES_PER_PERSON]
        features.append(tokens[chosen])
        classes.append(of_patch[chosen].astype(np.int64))
    if part_set is None:
        raise EvaluationError(f"{train} holds no people")
    known = Labeled(torch.from_numpy(np.concatenate(features)), torch.from_numpy(np.concatenate(classes)))
    scores = _scorer(method, known, len(part_set), seed)
    metric, people = SegmentationTask(part_set).new_metric(), 0
    for sample, tokens, grid in _crops(loaded, test, limit):
        maps = scores(torch.from_numpy(tokens)).T.reshape(1, -1, *grid)
        predicted = resize_maps(maps, sample.image.shape[:2])[0].argmax(dim=0)
        metric.update(predicted.numpy(), sample)
        people += 1
    report = metric.report()
    figures = {name: report[name] for name in ("mIoU", "mAcc", "aAcc", "background_aAcc")}
    return {"people": people, "train_patches": len(known.classes), **figures}


def _crops(
    loaded: LoadedModel, folder: Path, limit: int | None
) -> Iterable[tuple[Sample, np.ndarray, tuple[int, int]]]:
    """For each person the crop that the network sees, its patch features (N, D) and their grid."""
    people = ShardDataset(folder)
    preprocessing = replace(loaded.description.preprocessing, resize="person_crop")
    count = len(people) if limit is None else min(limit, len(people))
    samples = (people[index] for index in islice(range(len(people)), limit))
    for sample in progress(samples, f"features of {folder.name}", count, "people"):
        view = preprocessing.view(sample.box, sample.image.shape[:2])
        features = encode_views(loaded, [(sample.image, view)])
        crop = view_sample(sample, view)
        yield crop, features.tokens[0], features.grid


def patch_classes(sample: Sample, grid: tuple[int, int], classes: int) -> np.ndarray:
    """(rows * columns,) uint8: the commonest class among the labeled pixels of each patch, 255 where there is none."""
    assert sample.parts is not None
    rows, columns = grid
    height, width = sample.parts.shape
    patches = sample.parts.reshape(rows, height // rows, columns, width // columns).swapaxes(1, 2)
    blocks = patches.reshape(rows * columns, -1)
    counts = np.stack([(blocks == number).sum(axis=1) for number in range(classes)], axis=1)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), IGNORED).astype(np.uint8)


def _classify(method: Method, known: Labeled, asked: Tensor, classes: int, seed: int) -> Tensor:
    return _scorer(method, known, classes, seed)(asked).argmax(dim=1)


def _scorer(method: Method, known: Labeled, classes: int, seed: int) -> Any:
    """A function from features (M, D) to scores (M, classes)."""
    if method == "knn":
        return lambda asked: neighbor_votes(known, asked, classes)
    mean, spread = known.features.mean(dim=0), known.features.std(dim=0).clamp(min=1e-6)
    standard = Labeled((known.features - mean) / spread, known.classes)
    weights = fit_probe(standard, classes, _best_strength(standard, classes, seed))
    return lambda asked: F.linear((asked - mean) / spread, weights[:, :-1], weights[:, -1])


def neighbor_votes(known: Labeled, asked: Tensor, classes: int) -> Tensor:
    """(M, classes): the sums of exp(cosine / 0.07) over the 20 nearest of the known features."""
    library = F.normalize(known.features, dim=1)
    votes = torch.zeros(len(asked), classes)
    count = min(NEIGHBORS, len(library))
    for start in range(0, len(asked), 256):
        nearest = (F.normalize(asked[start : start + 256], dim=1) @ library.T).topk(count, dim=1)
        # Minus the largest, so that the exponential stays in range; that does not change the order.
        weights = ((nearest.values - nearest.values[:, :1]) / TEMPERATURE).exp()
        votes[start : start + 256].scatter_add_(1, known.classes[nearest.indices], weights)
    return votes


def fit_probe(known: Labeled, classes: int, strength: float) -> Tensor:
    """Weights and bias (classes, D + 1) of a logistic regression with penalty strength * |weights|^2 / 2, by L-BFGS."""
    weights = torch.zeros(classes, known.features.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, tolerance_grad=1e-5, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = F.linear(known.features, weights[:, :-1], weights[:, -1])
        value = F.cross_entropy(logits, known.classes) + strength * weights[:, :-1].square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    return weights.detach()


def _best_strength(known: Labeled, classes: int, seed: int) -> float:
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(known.classes)))
    held_out, fitted = order[: len(order) // 5], order[len(order) // 5 :]
    if len(held_out) == 0:
        return STRENGTHS[len(STRENGTHS) // 2]
    training = Labeled(known.features[fitted], known.classes[fitted])

    def accuracy(strength: float) -> float:
        weights = fit_probe(training, classes, strength)
        predicted = F.linear(known.features[held_out], weights[:, :-1], weights[:, -1]).argmax(dim=1)
        return float((predicted == known.classes[held_out]).double().mean())

    return max(STRENGTHS, key=accuracy)
