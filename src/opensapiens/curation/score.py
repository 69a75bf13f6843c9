"""`curate score`: every image through every stage, and one row of the manifest for each."""

from __future__ import annotations

import functools
import hashlib
import pickle
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
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
from opensapiens.curation.sources import Item, find_items, read_item
from opensapiens.curation.stages import Stage, default_stages
from opensapiens.curation.whole import finish_manifest
from opensapiens.storage.files import write_json
from opensapiens.storage.folders import check_output, claim, clear
from opensapiens.storage.pictures import ImageError
from opensapiens.storage.progress import progress

SCORED = "scored images"  # the kind of the folder
INPUTS = "a list of inputs"
PARTS = "parts of a manifest"


@dataclass
class ScoreSummary:
    """What a run did: rows by status in the whole manifest, and for this sitting alone seconds by stage and images.
    passed_over: files of the sources' folders that were not taken, by what they are."""

    statuses: dict[str, int]
    images: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
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

    A run that was stopped goes on where it was, and gives the manifest that it would have given. stages: by default
    `default_stages()`. workers: processes. address: of a Ray cluster, whose machines all see the sources and `out`
    under the same paths. block, opt_out: lists as `BlockList` and `OptOutList` read them; what they name is not scored.
    evaluation: sources whose images must not be trained on; every row gets its distance from them.

    Raises SourceError for a source without images, FolderError for an `out` that belongs to another run, holds anything
    else, or is, holds or lies in a source.
    """
    out = Path(out)
    # The manifest is read from other folders, and on a cluster the workers are in one of their own.
    sources, evaluation = [Path(path).absolute() for path in sources], [Path(path).absolute() for path in evaluation]
    stages = list(default_stages() if stages is None else stages)
    check_output(out, [*sources, *evaluation, *block, *opt_out], inside=False)
    run = _prepared(out, sources, _identity(sources, stages, block, opt_out, evaluation))
    passed_over = Counter(run.get("passed_over", {}))
    if not (out / "manifest.parquet").exists():
        opted_out = OptOutList.read(opt_out)
        summary = _score_parts(out, stages, run["inputs"], workers, address, BlockList.read(block), opted_out)
        statuses = finish_manifest(out, stages, run["inputs"], evaluation)
        opted_out.log_unmatched(_matched_lines(out / "manifest.parquet", opted_out))
        write_json(out / "run.json", {**run, "statuses": statuses})
        clear(out / "parts", PARTS)
        return ScoreSummary(statuses, summary.images, summary.seconds, passed_over)
    clear(out / "parts", PARTS)
    return ScoreSummary(run.get("statuses", {}), passed_over=passed_over)


def _identity(
    sources: Sequence[str | Path],
    stages: Sequence[Stage],
    block: Sequence[Path],
    opt_out: Sequence[Path],
    evaluation: Sequence[Path],
) -> dict[str, Any]:
    lists = {
        str(Path(path).absolute()): hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in (*block, *opt_out)
    }
    return {
        "sources": [str(source) for source in sources],
        "stages": {stage.name: stage.version for stage in stages},
        "lists": lists,
        "evaluation": [str(path) for path in evaluation],
    }


def _prepared(out: Path, sources: Sequence[str | Path], identity: dict[str, Any]) -> dict[str, Any]:
    """The record of the run, made with the list of inputs if this is its first sitting."""
    claim(out, SCORED, identity)
    if (out / "run.json").exists():
        claim(out / "parts", PARTS)
        return read_run(out / "manifest.parquet")
    clear(out / "inputs", INPUTS)  # of a first sitting that was stopped while listing
    claim(out / "inputs", INPUTS)
    claim(out / "parts", PARTS)
    passed_over: Counter[str] = Counter()
    bar = progress(find_items(sources, passed_over), "listing", unit="images")
    run = {**identity, "inputs": write_inputs(out / "inputs", bar), "part": PART, "passed_over": dict(passed_over)}
    write_json(out / "run.json", run)
    return run


def _matched_lines(manifest: Path, opted_out: OptOutList) -> set[str]:
    """The lines of the opt-out lists that named an image of a manifest."""
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    matched: set[str] = set()
    rows = ds.dataset(manifest).scanner(columns=["file", "member", "url"], filter=pc.field("status") == OPTED_OUT)
    for batch in rows.to_batches():
        for row in batch.to_pylist():
            matched |= opted_out.lines_for(Item(row["file"], row["member"], url=row["url"]))
    return matched


def _score_parts(
    out: Path,
    stages: Sequence[Stage],
    inputs: int,
    workers: int | None,
    address: str | None,
    blocked: BlockList,
    opted_out: OptOutList,
) -> ScoreSummary:
    parts = -(-inputs // PART)
    done = sum(1 for _ in (out / "parts").glob("*/*.parquet"))
    summary = ScoreSummary({})
    if done == parts:
        return summary
    seconds: defaultdict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    with (
        ray_running(workers, address) as count,
        progress(None, "scoring", inputs, "images", initial=min(done * PART, inputs)) as bar,
    ):
        for row in run_pieces(parts, score_pools(out, stages, blocked, opted_out, gpus_available()), count):
            if row["images"]:  # none: the part was done before
                facts = pickle.loads(row["facts"])
                for name, spent in facts["seconds"].items():
                    seconds[name] += spent
                counts.update(facts["statuses"])
                bar.update(int(row["images"]))
                bar.set_postfix({name: number for name, number in counts.items() if name != OK})
                summary.images += int(row["images"])
    summary.seconds = dict(seconds)
    return summary


def score_pools(out: Path, stages: Sequence[Stage], blocked: BlockList, opted_out: OptOutList, gpu: bool) -> list[Pool]:
    """One pool that does everything, or with GPUs two: what needs none, then what gains from one."""
    groups = (
        [[stage for stage in stages if not stage.gpu], [stage for stage in stages if stage.gpu]] if gpu else [stages]
    )
    groups = [list(group) for group in groups if group]
    columns = columns_of(stages)
    return [
        Pool(
            functools.partial(
                PartScorer, out, group, columns, blocked, opted_out, number == 0, number == len(groups) - 1
            ),
            gpu=gpu and group[0].gpu,
        )
        for number, group in enumerate(groups)
    ]


class PartScorer:
    """Takes the number of a part, or what the pool before made of it, and runs some of the stages on its images."""

    def __init__(
        self,
        out: Path,
        stages: Sequence[Stage],
        columns: dict[str, str],
        blocked: BlockList,
        opted_out: OptOutList,
        first: bool,
        last: bool,
    ) -> None:
        self.out, self.stages, self.columns, self.first, self.last = out, stages, columns, first, last
        self.blocked, self.opted_out = blocked, opted_out
        for stage in stages:
            if hasattr(stage, "prepare"):
                stage.prepare()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One row in, one out. The last pool writes the part."""
        part = int(batch["id"][0])
        seconds: defaultdict[str, float] = defaultdict(float)
        if part_path(self.out, part).exists():
            return _row(part, 0)
        if self.first:
            rows, pictures = self._opened(part, seconds)
        else:
            if not batch["images"][0]:
                return _row(part, 0)
            rows, encoded, before = pickle.loads(batch["facts"][0])
            seconds |= before
            pictures = [_unpacked(one) for one in encoded]
        for stage in self.stages:
            if not stage.full_size:
                start = time.perf_counter()
                _run(stage, rows, pictures)
                seconds[stage.name] += time.perf_counter() - start
        if not self.last:
            return _row(part, len(rows), (rows, [_packed(one) for one in pictures], dict(seconds)))
        statuses = self._write(part, rows)
        return _row(part, len(rows), {"seconds": dict(seconds), "statuses": dict(statuses)})

    def _opened(self, part: int, seconds: defaultdict[str, float]) -> tuple[list[dict[str, Any]], list[Picture | None]]:
        """Reads and decodes the part's images, and runs the stages that must see every pixel, one image at a time."""
        rows: list[dict[str, Any]] = []
        pictures: list[Picture | None] = []
        for offset, item in enumerate(read_inputs(self.out / "inputs", part)):
            row = {**vars(item), "index": part * PART + offset, "status": OK, "error": ""}
            start = time.perf_counter()
            picture = self._decoded(item, row)
            seconds["decode"] += time.perf_counter() - start
            if picture is not None:
                for stage in self.stages:
                    if stage.full_size:
                        start = time.perf_counter()
                        _run(stage, [row], [picture])
                        seconds[stage.name] += time.perf_counter() - start
                picture = working_copy(picture)
            rows.append(row)
            pictures.append(picture)
        return rows, pictures

    def _decoded(self, item: Item, row: dict[str, Any]) -> Picture | None:
        if self.opted_out.names(item):
            row["status"] = OPTED_OUT
            return None
        try:
            data = read_item(item)
            sha256 = hashlib.sha256(data).hexdigest()
            if sha256 in self.blocked.sha256:
                row.update(status=BLOCKED, sha256=sha256)
                return None
            return decode(data)
        except ImageError as error:
            row.update(status=UNREADABLE, error=str(error))
            return None

    def _write(self, part: int, rows: list[dict[str, Any]]) -> Counter[str]:
        import pyarrow as pa

        for row in rows:
            if row.get("phash") is not None and self.blocked.near(row["phash"]):
                kept = {
                    name: row[name] for name in ("index", *Item.__dataclass_fields__, "error", "sha256") if name in row
                }
                row.clear()
                row.update(kept, status=BLOCKED)
        filled = [{name: row.get(name) for name in self.columns} for row in rows]
        write_table(part_path(self.out, part), pa.Table.from_pylist(filled, schema(self.columns)))
        return Counter(row["status"] for row in rows)


def _run(stage: Stage, rows: list[dict[str, Any]], pictures: Sequence[Picture | None]) -> None:
    """Adds a stage's scores to the rows; an image that it fails on is noted, and the others get theirs."""
    places = [place for place, picture in enumerate(pictures) if picture is not None]
    shown = [picture for picture in pictures if picture is not None]
    if not shown:
        return
    try:
        found = stage(shown)
    except Exception as error:
        if len(shown) > 1:
            for place in places:
                _run(stage, rows[place : place + 1], pictures[place : place + 1])
            return
        row = rows[places[0]]
        row["status"] = INCOMPLETE
        row["error"] = "; ".join(filter(None, [row["error"], f"{stage.name}: {type(error).__name__}: {error}"]))
        return
    for place, scores in zip(places, found, strict=True):
        rows[place].update({name: scores[name] for name in stage.columns})


def _row(part: int, images: int, facts: object = None) -> dict[str, Any]:
    return {"id": np.array([part]), "images": np.array([images]), "facts": np.array([pickle.dumps(facts)], object)}


def _packed(picture: Picture | None) -> Any:
    """A picture as it travels between pools: compressed, without loss."""
    if picture is None:
        return None
    png = cv2.imencode(".png", picture.image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    return (png, picture.size, picture.format, picture.frames)


def _unpacked(packed: Any) -> Picture | None:
    if packed is None:
        return None
    png, size, kind, frames = packed
    image = np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR))
    return Picture(np.ascontiguousarray(image[..., ::-1]), size, b"", kind, frames)
