"""The data card of a packed set: counts at every step, people per image, sizes, licenses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from opensapiens.curation.manifest import detector_of_run
from opensapiens.data.shards import shard_records
from opensapiens.storage.files import write_text

PEOPLE_ABOVE = 0.4
PAPER_PEOPLE = {"1": 0.17, "2": 0.14, "3": 0.13, "4 or more": 0.56}  # Humans-300M, arXiv 2408.12569, section 3.1


def write_card(out: Path, run: Mapping[str, Any], packing: Mapping[str, Any], fates: Counter[str]) -> dict[str, Any]:
    """Write out/README.md from the shards themselves; returns the counts for the manifest.json beside it."""
    people: Counter[str] = Counter()
    sides: list[int] = []
    licenses: Counter[str] = Counter()
    for facts in shard_records(out):
        number = facts["people"]
        people[str(number) if number < 4 else "4 or more"] += 1
        sides.append(min(facts["height"], facts["width"]))
        licenses[facts["license"] or "unknown"] += 1
    facts = {"fates": dict(fates), "people_per_image": dict(people), "licenses": dict(licenses)}
    write_text(out / "README.md", _card(run, packing, facts, sides))
    return facts


def _card(run: Mapping[str, Any], packing: Mapping[str, Any], facts: Mapping[str, Any], sides: list[int]) -> str:
    steps: list[tuple[object, ...]] = [("inputs", run["inputs"])]
    steps += [(f"of these: {name}", number) for name, number in sorted(run.get("statuses", {}).items())]
    for step in (step for selection in run.get("selections", []) for step in selection["steps"]):
        condition, alone = step["condition"].replace("|", "\\|"), step["dropped_by_it_alone"]
        steps.append((f"left after `{condition}` (it alone drops {alone})", step["left"]))
    steps += [] if packing["count"] is None else [("balanced over clusters", packing["count"])]
    steps += sorted(facts["fates"].items())
    people, total = facts["people_per_image"], max(1, len(sides))
    shares = [
        (name, people.get(name, 0), f"{people.get(name, 0) / total:.0%}",
         f"{PAPER_PEOPLE[name]:.0%}" if name in PAPER_PEOPLE else "")
        for name in ("0", *PAPER_PEOPLE)
    ]  # fmt: skip
    quantiles = np.percentile(sides, [0, 25, 50, 75, 100]).round().astype(int).tolist() if sides else []
    lines = ["# Data card", "", "## From inputs to shards", "", *_table(("step", "images"), steps)]
    lines += ["", "## People per image", "", f"People with a detection score above {PEOPLE_ABOVE}.", ""]
    lines += _table(("people", "images", "share", "the paper's Humans-300M"), shares)
    listed = ", ".join(map(str, quantiles))
    lines += ["", "## Sizes", "", f"Shorter side in pixels: least, quartiles, largest: {listed}"]
    licenses = [(_plain(name), number) for name, number in sorted(facts["licenses"].items())]
    lines += ["", "## Licenses", "", *_table(("license", "images"), licenses)]
    lines += ["", "## How it was made", "", f"Detector: {_plain(detector_of_run(run) or 'none')}.", ""]
    lines += [f"- stage `{name}`, version {_plain(version)}" for name, version in run["stages"].items()]
    faces = f"faces blurred by {packing['blur']}" if packing["blur"] else "faces not blurred"
    settings = f"Longest side {packing['side']}, shards of {packing['shard_size']}, seed {packing['seed']}, {faces}."
    return "\n".join([*lines, "", settings, ""])


def _table(names: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> list[str]:
    """The lines of a Markdown table whose first column is text and the others numbers."""
    head = [f"| {' | '.join(names)} |", f"|---|{'--:|' * (len(names) - 1)}"]
    return head + [f"| {' | '.join(map(str, row))} |" for row in rows]


def _plain(text: str) -> str:
    """Untrusted text on one line, escaped for Markdown: no markup, links or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>()#!|&~])", r"\\\1", " ".join(text.split())[:200])
