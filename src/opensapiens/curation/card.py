"""The data card of a packed set: counts at every step, people per image, sizes, licences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from opensapiens.curation.manifest import detector_of_run
from opensapiens.data.shards import shard_paths
from opensapiens.storage.files import write_text
from opensapiens.storage.json_files import read_json
from opensapiens.storage.tars import contents

PEOPLE_ABOVE = 0.4
PAPER_PEOPLE = {"1": 0.17, "2": 0.14, "3": 0.13, "4 or more": 0.56}  # Humans-300M, arXiv 2408.12569, section 3.1


def write_card(out: Path, run: dict[str, Any], packing: dict[str, Any], fates: Counter[str]) -> dict[str, Any]:
    """Write out/README.md from the shards themselves; returns the counts for the manifest.json beside it."""
    people: Counter[str] = Counter()
    sides: list[int] = []
    licences: Counter[str] = Counter()
    for facts in packed_facts(out):
        number = facts["people"]
        people["0" if number == 0 else str(number) if number < 4 else "4 or more"] += 1
        sides.append(min(facts["height"], facts["width"]))
        licences[facts["licence"] or "unknown"] += 1
    facts = {"fates": dict(fates), "people_per_image": dict(people), "licences": dict(licences)}
    write_text(out / "README.md", _card(run, packing, facts, sides))
    return facts


def packed_facts(out: Path) -> Iterator[dict[str, Any]]:
    """The KEY.json of every image of a folder of shards, one after the other."""
    for path in shard_paths(out):
        yield from (read_json(data, f"{path}, {member.name}") for member, data in contents(path, ".json"))


def _card(run: dict[str, Any], packing: dict[str, Any], facts: dict[str, Any], sides: list[int]) -> str:
    total = max(1, sum(facts["people_per_image"].values()))
    lines = ["# Data card", "", "## From inputs to shards", "", "| step | images |", "|---|--:|"]
    lines.append(f"| inputs | {run['inputs']} |")
    lines += [f"| of these: {name} | {number} |" for name, number in sorted(run.get("statuses", {}).items())]
    for selection in run.get("selections", []):
        for step in selection["steps"]:
            condition = step["condition"].replace("|", "\\|")
            lines.append(
                f"| left after `{condition}` (it alone drops {step['dropped_by_it_alone']}) | {step['left']} |"
            )
    if packing["count"] is not None:
        lines.append(f"| balanced over clusters | {packing['count']} |")
    lines += [f"| {fate} | {number} |" for fate, number in sorted(facts["fates"].items())]
    lines += ["", "## People per image", "", f"People with a detection score above {PEOPLE_ABOVE}.", ""]
    lines += ["| people | images | share | the paper's Humans-300M |", "|---|--:|--:|--:|"]
    for name in ("0", "1", "2", "3", "4 or more"):
        number = facts["people_per_image"].get(name, 0)
        paper = f"{PAPER_PEOPLE[name]:.0%}" if name in PAPER_PEOPLE else ""
        lines.append(f"| {name} | {number} | {number / total:.0%} | {paper} |")
    quantiles = np.percentile(sides, [0, 25, 50, 75, 100]).round().astype(int).tolist() if sides else []
    lines += [
        "",
        "## Sizes",
        "",
        "Shorter side in pixels: least, quartiles, largest: " + ", ".join(map(str, quantiles)),
    ]
    lines += ["", "## Licences", "", "| licence | images |", "|---|--:|"]
    lines += [f"| {name} | {number} |" for name, number in sorted(facts["licences"].items())]
    lines += ["", "## How it was made", "", f"Detector: {detector_of_run(run) or 'none'}.", ""]
    lines += [f"- stage `{name}`, version {version}" for name, version in run["stages"].items()]
    blurred = f"faces blurred by {packing['blur']}" if packing["blur"] else "faces not blurred"
    lines += [
        "",
        f"Longest side {packing['side']}, shards of {packing['shard_size']}, seed {packing['seed']}, {blurred}.",
    ]
    return "\n".join(lines) + "\n"
