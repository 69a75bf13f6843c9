"""Precision and recall of every filter on a collection with known truth.

$ python benchmarks/curation_collection.py --photos photos.csv --people shards --out collection
$ opensapiens curate score collection/images --out scored
$ python benchmarks/curation_accuracy.py --truth collection/truth.csv --scored scored

Prints one line per filter, with how many positives and negatives are untouched real photos and how many are made, and
beside it the same for the real photos alone. Several folders may be given to --scored: each adds the columns of its
stages to the images that it has; scoring a list of some of them (.txt) is one way to save what takes long. --fit prints
the weights of the drawing classifier, fitted on the images that stem from every other source image; its lines in the
table count only the rest, all others count everything.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from opensapiens.curation.drawings import image_features
from opensapiens.curation.duplicates import near_pairs
from opensapiens.curation.sources import Item, read_item
from opensapiens.storage.pictures import read_image

Row = dict[str, Any]
Test = Callable[[Row], bool | None]


def above(column: str, threshold: float) -> Test:
    """Whether a score is above a threshold; None without a score."""
    return lambda row: None if row.get(column) is None else row[column] > threshold


def below(column: str, threshold: float) -> Test:
    """Whether a score is below a threshold; None without a score."""
    return lambda row: None if row.get(column) is None else row[column] < threshold


FILTERS: list[tuple[str, str, Test]] = [
    ("corrupt", "status == 'unreadable'", lambda row: row["status"] == "unreadable"),
    ("animated", "frames > 1", above("frames", 1)),
    ("small", "min_side < 65", below("min_side", 65)),
    ("long", "aspect > 4", above("aspect", 4)),
    *(("blurred", f"blur > {t}", above("blur", t)) for t in (0.4, 0.5, 0.6)),
    *(("gray", f"chroma < {t}", below("chroma", t)) for t in (0.02, 0.05)),
    *(("dark", f"brightness < {t}", below("brightness", t)) for t in (0.05, 0.1)),
    *(("drawing", f"drawing > {t}", above("drawing", t)) for t in (0.5, 0.8)),
    *(("text", f"text_area > {t}", above("text_area", t)) for t in (0.005, 0.02, 0.05)),
    *(("person", f"person_score > {t}", above("person_score", t)) for t in (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)),
]

FITTED = ("drawing",)  # by --fit, on half of the collection


def joined(truth: Path, scored: Sequence[Path]) -> list[Row]:
    """One row per image of the collection that was scored: its truth, under "is", and its scores."""
    import pyarrow.parquet as pq

    with open(truth, newline="") as file:
        known = {row["file"]: {k: int(v) if v.isdigit() and k not in ("file", "base") else v for k, v in row.items()}
                 for row in csv.DictReader(file)}  # fmt: skip
    rows: dict[str, Row] = {}
    for folder in scored:
        for row in pq.read_table(folder / "manifest.parquet").to_pylist():
            name = Path(row["file"]).name
            if name in known:
                rows.setdefault(name, {"is": known[name]}).update(row)
    return [rows[name] for name in sorted(rows)]


def line(rows: Sequence[Row], what: str, condition: str, test: Test) -> str:
    """A line of the table."""
    sides: dict[tuple[int, int], list[bool]] = {(p, r): [] for p in (0, 1) for r in (0, 1)}
    for row in rows:
        flagged = test(row)
        if flagged is not None:
            sides[row["is"][what], row["is"]["real"]].append(flagged)

    def rates(reals: Sequence[int]) -> str:
        hits = sum(sum(sides[1, r]) for r in reals)
        positives = sum(len(sides[1, r]) for r in reals)
        false = sum(sum(sides[0, r]) for r in reals)
        precision = f"{hits / (hits + false):.2f}" if hits + false else "–"
        return f"{precision} | {hits / positives:.2f}" if positives else f"{precision} | –"

    false_alarms = f"{sum(sides[0, 1])} of {len(sides[0, 1])}"
    counts = [f"{len(sides[p, 1])} / {len(sides[p, 0])}" for p in (1, 0)]
    return f"| {what} | `{condition}` | {counts[0]} | {counts[1]} | {rates((0, 1))} | {rates((1,))} | {false_alarms} |"


def print_filters(rows: Sequence[Row], unseen: Sequence[Row]) -> None:
    """The table of filters; unseen: the rows that no filter was fitted on."""
    print("| filter | flags where | positives real / made | negatives real / made | precision | recall "
          "| precision, real only | recall, real only | real images flagged wrongly |")  # fmt: skip
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for what, condition, test in FILTERS:
        if any(test(row) is not None for row in rows):
            print(line(unseen if what in FITTED else rows, what, condition, test))


def print_duplicates(rows: Sequence[Row]) -> None:
    """Recall of duplicates by how they were made, and the precision of the pairs found."""
    rows = [row for row in rows if row.get("phash") is not None]
    by_name = {row["is"]["file"]: row for row in rows}
    kinds = [
        how for how in dict.fromkeys(row["is"]["how"] for row in rows) if how.startswith(("re-", "scaled", "crop"))
    ]
    print("\n| bits of the perceptual hash | pairs found | of these the same picture | " + " | ".join(kinds) + " |")
    print("|--:|--:|--:|" + "--:|" * len(kinds))
    i, j, bits = near_pairs(np.array([row["phash"] for row in rows], np.uint64))
    bases = np.array([row["is"]["base"] for row in rows])
    same = bases[i] == bases[j]
    for limit in (0, 2, 4, 6, 8, 10):
        found = bits <= limit
        cells = []
        for how in kinds:
            pairs = [(row, by_name[row["is"]["base"]]) for row in rows if row["is"]["how"] == how]
            cells.append(np.mean([(row["phash"] ^ base["phash"]).bit_count() <= limit for row, base in pairs]))
        shares = " | ".join(f"{cell:.2f}" for cell in cells)
        print(f"| {limit} | {found.sum()} | {same[found].mean() if found.any() else 0:.3f} | {shares} |")
    if "embedding" in rows[0]:
        print(
            "\n| cosine of the embeddings to the original above | pairs at random above | " + " | ".join(kinds) + " |"
        )
        print("|--:|--:|" + "--:|" * len(kinds))
        random = np.random.default_rng(0)
        one, two = random.integers(0, len(rows), (2, 20000))
        vectors = np.array([row["embedding"] for row in rows], np.float32)
        chance = (vectors[one] * vectors[two]).sum(1)[bases[one] != bases[two]]
        for limit in (0.95, 0.98, 0.99, 0.995):
            cells = []
            for how in kinds:
                pairs = [(row, by_name[row["is"]["base"]]) for row in rows if row["is"]["how"] == how]
                cells.append(np.mean([np.dot(row["embedding"], base["embedding"]) > limit for row, base in pairs]))
            print(f"| {limit} | {(chance > limit).mean():.4f} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")


def fit_drawings(rows: Sequence[Row]) -> np.ndarray:
    """Weights (3, 10) of photo, drawing and rendering by logistic regression; each, real and made, weighs the same."""
    rows = [row for row in rows if row["status"] == "ok" and row["is"]["how"] in ("original", "re-encoded", "cartoon")]
    features, labels = [], []
    for row in rows:
        image = read_image(read_item(Item(row["file"], row["member"], row["offset"], row["size"])))
        features.append(np.append(image_features(image), 1.0))
        labels.append(1 if row["is"]["drawing"] else 2 if row["is"]["render"] else 0)
    x, y = torch.tensor(np.array(features)), torch.tensor(labels)
    cell = 2 * y + torch.tensor([row["is"]["real"] for row in rows])
    share = (1 / torch.bincount(cell, minlength=6).clamp(min=1).to(x.dtype))[cell]
    weights = torch.zeros(3, x.shape[1], dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        losses = torch.nn.functional.cross_entropy(x @ weights.T, y, reduction="none")
        loss = (losses * share).sum() / share.sum() + 3e-4 * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach().numpy().round(2)


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, required=True, help="truth.csv of the collection")
    parser.add_argument("--scored", type=Path, nargs="+", required=True, help="folders of opensapiens curate score")
    parser.add_argument("--fit", action="store_true", help="fit the drawing classifier")
    arguments = parser.parse_args()
    rows = joined(arguments.truth, arguments.scored)
    bases = {base: number for number, base in enumerate(sorted({row["is"]["base"] for row in rows}))}
    if arguments.fit:
        print(fit_drawings([row for row in rows if bases[row["is"]["base"]] % 2 == 0]).tolist())
        return
    print_filters(rows, [row for row in rows if bases[row["is"]["base"]] % 2 == 1])
    print_duplicates(rows)


if __name__ == "__main__":
    main()
