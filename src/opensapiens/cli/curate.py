"""`opensapiens curate`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from opensapiens.cli.arguments import CONFIG, call
from opensapiens.cli.failures import exit_code
from opensapiens.inference.options import AUTO, OptionsError

Preset = Literal["humans-300m", "readable"]

DESCRIPTION = """From a pile of images to pretraining shards.

$ opensapiens curate score photos/ --out scored
$ opensapiens curate report scored --preset humans-300m --out report.html
$ opensapiens curate select scored --preset humans-300m --out selected
$ opensapiens curate pack selected --out shards
$ opensapiens curate remove shards --block hashes.txt

Needs the extra "curate": pip install opensapiens[curate]"""


def score(
    sources: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE [SOURCE ...]")],
    /,
    out: Path,
    detector: str = AUTO,
    skip: tuple[str, ...] = (),
    workers: int | None = None,
    cluster: str | None = None,
    block: tuple[Path, ...] = (),
    opt_out: tuple[Path, ...] = (),
    evaluation: tuple[Path, ...] = (),
) -> int:
    """Score every image: writes a manifest with one row per image. Nothing is dropped here.

    A run that was stopped resumes. An image that cannot be read, that a stage fails on, or that kills the process that
    scores it gets a row that says so; the first ten are named at the end, and the exit code is 1.

    For example:
    $ opensapiens curate score photos/ shards/ list.txt --out scored
    $ opensapiens curate score photos/ --out scored --skip text --workers 8
    $ opensapiens curate score /shared/photos --out /shared/scored --cluster auto

    Args:
        sources: folders, tar shards, Parquet files with images or paths, lists of files (.txt), images.
        out: the folder to write the manifest to.
        detector: what finds people: by default the one inside this package, whose boxes nano checks, or another, see
            opensapiens predict --help; each needs its own threshold.
        skip: stages to leave out: perceptual_hash, quality, drawing, embedding, person, text.
        workers: processes; by default one per core.
        cluster: the address of a Ray cluster, or "auto" for the one that this machine belongs to; all its machines must
            see the sources and the output folder under the same paths.
        block: files with hashes of images that must not be used.
        opt_out: files with sources, addresses or domains that must not be used.
        evaluation: folders or shards of evaluation sets: each row gets its distance from them.
    """
    from opensapiens.curation.score import score as run
    from opensapiens.curation.stages import default_stages
    from opensapiens.storage.listing import counted, passed_over_sentence

    if not sources:
        raise OptionsError("name at least one folder, shard, Parquet file or list (see --help)")
    stages = default_stages(detector)
    optional = [stage.name for stage in stages[1:]]
    unknown = sorted(set(skip) - set(optional))
    if unknown:
        raise OptionsError(f"--skip: there is no stage {', '.join(unknown)}; there are {', '.join(optional)}")
    kept = [stage for stage in stages if stage.name not in skip]
    summary = run(sources, out, kept, workers, cluster, block, opt_out, evaluation)
    for name, seconds in summary.seconds.items():
        print(f"{name:16} {summary.images / max(seconds, 1e-9):10.1f} images a second in one worker")
    print(", ".join(f"{count} {status}" for status, count in sorted(summary.statuses.items())) + f"; see {out}")
    if summary.passed_over:
        print(passed_over_sentence(summary.passed_over))
    count = f"{counted(len(summary.failures), 'image')} could not be scored"
    return exit_code(summary.failures, count, out / "manifest.parquet")


def select(
    source: Annotated[Path, tyro.conf.Positional],
    /,
    out: Path,
    where: str | None = None,
    preset: Preset | None = None,
) -> int:
    """Apply thresholds to the scores. Fast: nothing is computed again.

    For example:
    $ opensapiens curate select scored --out selected --preset humans-300m
    $ opensapiens curate select scored --out selected --where "person_score > 0.5 and person_min_side > 300"
    $ opensapiens curate select selected --out fewer --where "not (blur > 0.6) and format in ['JPEG', 'PNG']"

    Args:
        source: a folder that score wrote, or one that select wrote.
        out: the folder for the selection.
        where: a condition on the manifest's columns; with --preset both must hold.
        preset: humans-300m (the paper's person filter) or readable (anything usable).
    """
    from opensapiens.curation.select import select as run
    from opensapiens.storage.listing import counted

    summary = run(source, out, _condition(source, where, preset))
    print(f"{'rows':>12}  {'alone drops':>12}")
    for step in summary.steps:
        print(f"{step['left']:>12}  {step['dropped_by_it_alone']:>12}  after {step['condition']}")
    print(f"{summary.kept} of {counted(summary.rows, 'row')}; see {out}")
    return 0


def pack(
    selection: Annotated[Path, tyro.conf.Positional],
    /,
    out: Path,
    count: int | None = None,
    side: int = 2048,
    shard_size: int = 1000,
    seed: int = 0,
    blur_faces: bool = False,
    workers: int | None = None,
    cluster: str | None = None,
    block: tuple[Path, ...] = (),
    opt_out: tuple[Path, ...] = (),
) -> int:
    """Write the selected images as shuffled tar shards for pretraining, with a data card.

    Images become upright RGB JPEG files without EXIF. The same selection and options give the same bytes. A run that
    was stopped resumes with the missing shards. If images can no longer be read, the exit code is 1 and the output says
    which files name them.

    For example:
    $ opensapiens curate pack selected --out shards
    $ opensapiens curate pack selected --out shards --count 100000 --blur-faces

    Args:
        selection: a folder that select or score wrote.
        out: the folder for the shards.
        count: how many images, drawn as evenly as possible over the clusters of similar ones; by default all.
        side: longest side of the images in pixels; larger ones are scaled down.
        shard_size: images per shard.
        seed: another seed, another order.
        blur_faces: make the faces unrecognizable that the built-in model finds.
        workers: processes; by default one per core.
        cluster: the address of a Ray cluster, or "auto".
        block: files with hashes of images that must not be used.
        opt_out: files with sources, addresses or domains that must not be used.
    """
    from opensapiens.curation.pack import Packing
    from opensapiens.curation.pack import pack as run

    packing = Packing(side, shard_size, seed, count, "nano" if blur_faces else "")
    fates = run(selection, out, packing, workers, cluster, block, opt_out)
    print(", ".join(f"{number} {fate}" for fate, number in sorted(fates.items())) + f"; see {out / 'README.md'}")
    if fates.get("unreadable"):
        print(f"images that could not be read are named in {out / 'plan'}/*.json", file=sys.stderr)
    return 1 if fates.get("unreadable") else 0


def remove(
    shards: Annotated[Path, tyro.conf.Positional],
    /,
    block: tuple[Path, ...] = (),
    opt_out: tuple[Path, ...] = (),
) -> int:
    """Take images out of packed shards, by the hash of their file, by perceptual hash, or by source.

    For example:
    $ opensapiens curate remove shards --block hashes.txt --opt-out domains.txt

    Args:
        shards: a folder that pack wrote.
        block: text files with one hash a line: SHA-256 (64 digits) or perceptual hash (16 digits).
        opt_out: text files with one file, address or domain a line.
    """
    from opensapiens.curation.remove import remove as run
    from opensapiens.storage.listing import counted

    if not block and not opt_out:
        raise OptionsError("give --block or --opt-out, or both")
    print(f"{counted(len(run(shards, block, opt_out)), 'image')} removed from {shards}")
    return 0


def report(
    source: Annotated[Path, tyro.conf.Positional],
    /,
    out: Path,
    where: str | None = None,
    preset: Preset | None = None,
    examples: int = 8,
    seed: int = 0,
) -> int:
    """An HTML page with examples of what each threshold keeps and drops.

    For example:
    $ opensapiens curate report scored --preset humans-300m --out report.html
    $ opensapiens curate report scored --where "blur < 0.5 and text_area < 0.02" --out report.html

    Args:
        source: a folder that score or select wrote.
        out: the page to write; the images are inside it.
        where: a condition as for select.
        preset: a preset as for select.
        examples: images in each row.
        seed: another seed, other examples.
    """
    from opensapiens.curation.report import report as run

    print(f"see {run(source, out, _condition(source, where, preset), examples, seed)}")
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "score": score,
    "select": select,
    "pack": pack,
    "report": report,
    "remove": remove,
}


def curate(arguments: Sequence[str]) -> int:
    """From a pile of images to pretraining shards.

    Takes the arguments after `opensapiens curate`; returns the exit code. Raises OptionsError.
    """
    if arguments and arguments[0] in COMMANDS:
        return call(COMMANDS[arguments[0]], arguments[1:], prog=f"opensapiens curate {arguments[0]}")
    code = tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="opensapiens curate", description=DESCRIPTION, args=list(arguments), config=CONFIG
    )
    return int(code or 0)


def _condition(source: Path, where: str | None, preset: Preset | None) -> str:
    from opensapiens.curation.manifest import manifest_path, read_run
    from opensapiens.curation.select import preset_condition

    if preset is None and where is None:
        raise OptionsError("give --where or --preset")
    conditions = [] if preset is None else [preset_condition(preset, read_run(manifest_path(source)))]
    if where is not None:
        conditions.append(f"({where})" if conditions else where)
    return " and ".join(conditions)
