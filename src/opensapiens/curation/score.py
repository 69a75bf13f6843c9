"""`curate score`: every image through every stage, and one row of the manifest for each."""

from __future__ import annotations

import functools
import hashlib
import logging
import pickle
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from opensapiens.curation.engine import Pool, gpus_available, ray_running, run_pieces
from opensapiens.curation.manifest import (
    BLOCKED,
    INCOMPLETE,
    OK,
    OPTED_OUT,
    PART,
    UNREADABLE,
    check_modules,
    columns_of,
    part_path,
    read_inputs,
    read_run,
    schema,
    write_inputs,
    write_table,
)
from opensapiens.curation.picture import Picture, decode, working_copy
from opensapiens.curation.privacy import BlockList, OptOutList
from opensapiens.curation.sources import Item, SourceError, find_items, read_item
from opensapiens.curation.stage import Score, Stage
from opensapiens.curation.stages import default_stages
from opensapiens.curation.tries import GIVEN_UP, Tries
from opensapiens.curation.whole import finish_manifest
from opensapiens.storage.files import write_json
from opensapiens.storage.folders import check_output, claim, clear
from opensapiens.storage.listing import counted
from opensapiens.storage.pictures import ImageError
from opensapiens.storage.progress import progress
from opensapiens.storage.tars import TarError

SCORED = "scored images"  # the kind of the folder
INPUTS = "a list of inputs"
PARTS = "parts of a manifest"

Seconds = defaultdict[str, float]  # by stage

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """What every worker needs to know. out: the folder of the run, the same path on every machine."""

    out: Path
    stages: Sequence[Stage]
    blocked: BlockList
    opted_out: OptOutList


@dataclass
class ScoreSummary:
    """What a run did. statuses: rows of the whole manifest by status. images, seconds (by stage): of this call alone.
    failures: a sentence for each image without complete scores. passed_over: files in the source folders that are not
    images, by kind."""

    statuses: dict[str, int]
    failures: list[str] = field(default_factory=list)
    images: int = 0
    seconds: Seconds = field(default_factory=lambda: defaultdict(float))
    passed_over: Counter[str] = field(default_factory=Counter)


def score(
    sources: Sequence[str | Path],
    out: str | Path,
    stages: Sequence[Stage] | None = None,
    workers: int | None = None,
    address: str | None = None,
    block: Sequence[Path] = (),
    opt_out: Sequence[Path] = (),
    evaluation: Sequence[Path] = (),
) -> ScoreSummary:
    """Score all images of the sources into out/manifest.parquet.

    A run that was stopped resumes and gives the same manifest. stages: by default `default_stages()`. workers:
    processes. address: of a Ray cluster whose machines all see the sources and `out` under the same paths. block,
    opt_out: lists as `BlockList` and `OptOutList` read them; images that they name are not scored. evaluation: sources
    whose images must not be trained on; every row gets its distance to them.

    Raises SourceError for a source without images, FolderError for an `out` that belongs to another run, holds anything
    else, or is, holds or lies in a source.
    """
    check_modules("pyarrow", "ray", "imagehash", "rapidocr", "onnxruntime")
    out = Path(out)
    # The manifest is read from other folders, and on a cluster the workers are in one of their own.
    sources, evaluation = [Path(path).absolute() for path in sources], [Path(path).absolute() for path in evaluation]
    stages = list(default_stages() if stages is None else stages)
    check_output(out, [*sources, *evaluation, *block, *opt_out], inside=False)
    identity = {
        "sources": [str(source) for source in sources],
        "stages": {stage.name: stage.version for stage in stages},
        "lists": {str(path.absolute()): hashlib.sha256(path.read_bytes()).hexdigest() for path in (*block, *opt_out)},
        "evaluation": [str(path) for path in evaluation],
    }
    run = _prepared(out, sources, identity)
    summary = ScoreSummary(run.get("statuses", {}), passed_over=Counter(run.get("passed_over", {})))
    if not (out / "manifest.parquet").exists():
        work = Work(out, stages, BlockList.read(block), OptOutList.read(opt_out))
        _score_parts(work, run["inputs"], workers, address, summary)
        summary.statuses = finish_manifest(out, stages, run["inputs"], evaluation)
        work.opted_out.log_unmatched(_matched_lines(out / "manifest.parquet", work.opted_out))
        write_json(out / "run.json", {**run, "statuses": summary.statuses})
    else:
        _warn_of_changes(sources, out, run["inputs"])
    clear(out / "parts", PARTS)
    summary.failures = [*run.get("left_out", []), *_failures(out / "manifest.parquet")]
    return summary


def _prepared(out: Path, sources: Sequence[str | Path], identity: dict[str, Any]) -> dict[str, Any]:
    """The record of the run; the first call writes it, with the list of inputs."""
    claim(out, SCORED, identity)
    if (out / "run.json").exists():
        claim(out / "parts", PARTS)
        return read_run(out / "manifest.parquet")
    clear(out / "inputs", INPUTS)  # of a first call that was stopped while listing
    claim(out / "inputs", INPUTS)
    claim(out / "parts", PARTS)
    passed_over: Counter[str] = Counter()
    left_out: list[str] = []
    bar = progress(find_items(sources, passed_over, left_out), "listing", unit="images")
    inputs = write_inputs(out / "inputs", bar)
    run = {**identity, "inputs": inputs, "part": PART, "passed_over": dict(passed_over), "left_out": left_out}
    write_json(out / "run.json", run)
    return run


def _warn_of_changes(sources: Sequence[str | Path], out: Path, scored: int) -> None:
    """Warn where the sources of a finished run hold more or fewer images than it scored."""
    with suppress(SourceError, TarError):  # they may be gone
        count = sum(1 for _ in progress(find_items(sources), "listing", unit="images"))
        if count != scored:
            logger.warning(
                "%s has the scores of %s, but now there are %d: score them into another folder",
                out, counted(scored, "image"), count,
            )  # fmt: skip


def _matched_lines(manifest: Path, opted_out: OptOutList) -> set[str]:
    """The lines of the opt-out lists that named an image of a manifest."""
    matched: set[str] = set()
    for row in _rows_of(manifest, ["file", "member", "url"], OPTED_OUT):
        matched |= opted_out.lines_for(Item(row["file"], row["member"], url=row["url"]))
    return matched


def _failures(manifest: Path) -> list[str]:
    """A sentence for each image of a manifest that could not be read or scored."""
    failures = []
    for row in _rows_of(manifest, ["file", "member", "error"], UNREADABLE, INCOMPLETE):
        error = row["error"].removeprefix("the image data: ")
        named = error.startswith(row["file"])
        failures.append(error if named else f"{Item(row['file'], row['member']).source}: {error}")
    return failures


def _rows_of(manifest: Path, columns: list[str], *statuses: str) -> Iterator[dict[str, Any]]:
    """The rows of a manifest with one of some statuses."""
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    for batch in ds.dataset(manifest).scanner(columns=columns, filter=pc.field("status").isin(statuses)).to_batches():
        yield from batch.to_pylist()


def _score_parts(work: Work, inputs: int, workers: int | None, address: str | None, summary: ScoreSummary) -> None:
    """Score the parts that are missing; adds their images and seconds to the summary."""
    parts = -(-inputs // PART)
    done = sum(1 for _ in (work.out / "parts").glob("*/*.parquet"))
    if done == parts:
        return
    counts: Counter[str] = Counter()
    with (
        ray_running(workers, address) as count,
        progress(None, "scoring", inputs, "images", initial=min(done * PART, inputs)) as bar,
    ):
        for row in run_pieces(parts, score_pools(work, gpus_available()), count):
            if row["images"]:  # none: the part was done before
                facts = pickle.loads(row["facts"])
                for name, spent in facts["seconds"].items():
                    summary.seconds[name] += spent
                counts.update(facts["statuses"])
                bar.update(int(row["images"]))
                bar.set_postfix({name: number for name, number in counts.items() if name != OK})
                summary.images += int(row["images"])


def score_pools(work: Work, gpu: bool) -> list[Pool]:
    """One pool that does everything, or with GPUs two: what needs none, then what is faster on one."""
    groups = [[stage for stage in work.stages if stage.gpu == on_gpu] for on_gpu in (False, True)]
    groups = [group for group in groups if group] if gpu else [list(work.stages)]
    last = len(groups) - 1
    return [
        Pool(functools.partial(PartScorer, work, group, number == 0, number == last), gpu=gpu and group[0].gpu)
        for number, group in enumerate(groups)
    ]


class PartScorer:
    """Runs some of the stages on the images of a part, given its number or the result of the previous pool."""

    def __init__(self, work: Work, stages: Sequence[Stage], first: bool, last: bool) -> None:
        self.work, self.first, self.last = work, first, last
        self.stages = [(stage, stage.make()) for stage in stages]

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One row in, one out. The last pool writes the part."""
        part = int(batch["id"][0])
        path = part_path(self.work.out, part)
        if path.exists() or not (self.first or batch["images"][0]):
            return _row(part, 0)
        seconds: Seconds = defaultdict(float)
        rows: list[dict[str, Any]]
        if self.first:
            items = read_inputs(self.work.out / "inputs", part)
            rows = [{**vars(item), "index": index, "status": OK, "error": ""}
                    for index, item in enumerate(items, part * PART)]  # fmt: skip
            pictures: list[Picture | None] = [None] * len(rows)
        else:
            rows, packed, seconds = pickle.loads(batch["facts"][0])
            pictures = [_unpacked(picture) for picture in packed]
        tries = Tries(path.with_suffix(".first" if self.first else ".second"))
        for places in tries.groups(len(rows)):
            for place in places:
                if tries.given_up(place):
                    rows[place] |= {"status": INCOMPLETE, "error": GIVEN_UP}
                    pictures[place] = None
                elif self.first:
                    pictures[place] = self._opened(items[place], rows[place], seconds)
            group = slice(places.start, places.stop)
            for stage, score in self.stages:
                if not stage.full_size:
                    _run(stage, score, rows[group], pictures[group], seconds)
        if self.last:
            statuses = self._write(path, rows)
            result = _row(part, len(rows), {"seconds": seconds, "statuses": statuses})
        else:
            result = _row(part, len(rows), (rows, [_packed(picture) for picture in pictures], seconds))
        tries.done()
        return result

    def _opened(self, item: Item, row: dict[str, Any], seconds: Seconds) -> Picture | None:
        """Reads and decodes an image, and runs the stages that must see every pixel."""
        start = time.perf_counter()
        picture = self._decoded(item, row)
        seconds["decode"] += time.perf_counter() - start
        if picture is None:
            return None
        for stage, score in self.stages:
            if stage.full_size:
                _run(stage, score, [row], [picture], seconds)
        return working_copy(picture)

    def _decoded(self, item: Item, row: dict[str, Any]) -> Picture | None:
        if self.work.opted_out.names(item):
            row["status"] = OPTED_OUT
            return None
        try:
            data = read_item(item)
            sha256 = hashlib.sha256(data).hexdigest()
            if sha256 in self.work.blocked.sha256:
                row.update(status=BLOCKED, sha256=sha256)
                return None
            return decode(data)
        except ImageError as error:
            row.update(status=UNREADABLE, error=str(error))
            return None

    def _write(self, path: Path, rows: list[dict[str, Any]]) -> Counter[str]:
        import pyarrow as pa

        columns = columns_of(self.work.stages)
        for place, row in enumerate(rows):
            if row.get("phash") is not None and self.work.blocked.near(row["phash"]):
                kept = ("index", *Item.__dataclass_fields__, "error", "sha256")
                rows[place] = {name: row[name] for name in kept if name in row} | {"status": BLOCKED}
        filled = [{name: row.get(name) for name in columns} for row in rows]
        write_table(path, pa.Table.from_pylist(filled, schema(columns)))
        return Counter(row["status"] for row in rows)


def _run(
    stage: Stage, score: Score, rows: list[dict[str, Any]], pictures: Sequence[Picture | None], seconds: Seconds
) -> None:
    """Add a stage's scores to the rows; if it fails, image by image, so that only those it fails on lack them."""
    pairs = [(row, picture) for row, picture in zip(rows, pictures, strict=True) if picture is not None]
    if not pairs:
        return
    start = time.perf_counter()
    try:
        stage_scores = score([picture for _, picture in pairs])
    except Exception as error:
        if len(pairs) > 1:
            for row, picture in pairs:
                _run(stage, score, [row], [picture], seconds)
            return
        row = pairs[0][0]
        row["status"] = INCOMPLETE
        row["error"] = "; ".join(filter(None, [row["error"], f"{stage.name}: {type(error).__name__}: {error}"]))
        return
    seconds[stage.name] += time.perf_counter() - start
    for (row, _), scores in zip(pairs, stage_scores, strict=True):
        row.update({name: scores[name] for name in stage.columns})


def _row(part: int, images: int, facts: object = None) -> dict[str, Any]:
    return {"id": np.array([part]), "images": np.array([images]), "facts": np.array([pickle.dumps(facts)], object)}


Packed = tuple[bytes, tuple[int, int], str, int]
"""A PNG, and the fields of its Picture."""


def _packed(picture: Picture | None) -> Packed | None:
    """A picture as it travels between pools: compressed, without loss."""
    if picture is None:
        return None
    png = cv2.imencode(".png", picture.image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    return (png, picture.size, picture.format, picture.frames)


def _unpacked(packed: Packed | None) -> Picture | None:
    if packed is None:
        return None
    png, size, kind, frames = packed
    image = np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR))
    return Picture(np.ascontiguousarray(image[..., ::-1]), size, b"", kind, frames)
