"""`curate pack`: a selection as tar shards for pretraining, with a card that says what is in them."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from opensapiens.curation.card import PEOPLE_ABOVE, write_card
from opensapiens.curation.clusters import balanced_choice
from opensapiens.curation.engine import Pool, ray_running, run_pieces
from opensapiens.curation.manifest import check_modules, item_of_row, manifest_path, read_run, write_table
from opensapiens.curation.picture import shrink
from opensapiens.curation.privacy import BlockList, OptOutList, blur_faces
from opensapiens.curation.sources import read_item
from opensapiens.curation.tries import GIVEN_UP, Tries
from opensapiens.data.shards import write_manifest, write_shard
from opensapiens.storage.files import write_json
from opensapiens.storage.folders import claim
from opensapiens.storage.json_files import read_json
from opensapiens.storage.listing import counted
from opensapiens.storage.pictures import ImageError, read_image
from opensapiens.storage.progress import progress

if TYPE_CHECKING:
    import pyarrow as pa

    from opensapiens.inference.forward import LoadedModel

SHARDS = "packed shards"  # the kind of the folder
QUALITY = 95  # of the JPEG files
BLUR_ABOVE = 0.4  # person_score: whose face is blurred; better a face too many
KEPT_COLUMNS = ("sha256", "phash", "url", "license", "person_scores", "person_boxes", "cluster")


class PackError(ValueError):
    """A selection that cannot be packed; the message says why."""


@dataclass(frozen=True)
class Packing:
    """How images are written. side: longest side in pixels. blur: the model that finds faces to blur, or empty."""

    side: int = 2048
    shard_size: int = 1000
    seed: int = 0
    count: int | None = None
    blur: str = ""


def pack(
    selection: Path,
    out: Path,
    packing: Packing | None = None,
    workers: int | None = None,
    address: str | None = None,
    block: tuple[Path, ...] = (),
    opt_out: tuple[Path, ...] = (),
) -> dict[str, int]:
    """Write the images of a selection to out as shuffled shards, a manifest.json and a card; returns counts by fate.

    Each image is an upright 8-bit RGB JPEG without EXIF or other metadata, KEY.jpg, with its facts in KEY.json, by
    which `curate remove` finds it; KEY is the beginning of its SHA-256 and its place. The same selection, packing and
    lists give the same bytes with any number of workers. A run that was stopped resumes with the missing shards.

    Raises PackError for an empty selection, FolderError for a folder that holds another packing or anything else.
    """
    check_modules("pyarrow", "ray")
    packing = packing or Packing()
    manifest = manifest_path(selection)
    run = read_run(manifest)
    identity = _identity(manifest, packing, (*block, *opt_out))
    claim(out, SHARDS, identity)
    if not (out / "plan" / "done.json").exists() and not (out / "manifest.json").exists():
        _write_plan(manifest, out / "plan", packing)
    if not (out / "manifest.json").exists():
        shards = read_json(out / "plan" / "done.json")["shards"]
        lists = BlockList.read(block), OptOutList.read(opt_out)
        fates, matched = _write_shards(out, shards, packing, lists, workers, address)
        lists[1].log_unmatched(matched)
        facts = write_card(out, run, identity, fates)
        write_manifest(out, {**identity, **facts, "shards": [f"{number:06d}.tar" for number in range(shards)]})
    return read_json(out / "manifest.json")["fates"]


def _identity(manifest: Path, packing: Packing, lists: tuple[Path, ...]) -> dict[str, Any]:
    with open(manifest, "rb") as file:
        digest = hashlib.sha256(hashlib.file_digest(file, "sha256").digest())
    for path in lists:
        digest.update(path.read_bytes())
    return {"selection": digest.hexdigest(), **vars(packing)}


def _write_plan(manifest: Path, plan: Path, packing: Packing) -> None:
    """One small file for each shard: which rows of the selection it holds, in order."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(manifest)
    names = file.schema_arrow.names
    wanted = ["file", "member", "offset", "size", *(name for name in KEPT_COLUMNS if name in names)]
    table: pa.Table = file.read(columns=wanted)
    if len(table) == 0:
        raise PackError(f"{manifest} has no rows: nothing to pack")
    if "sha256" not in names:
        raise PackError(f'{manifest} has no column sha256: score again with the stage "file"')
    rows = np.arange(len(table))
    if packing.count is not None:
        if "cluster" not in names:
            raise PackError('a balanced count needs the column cluster: score again with the stage "embedding"')
        labels = table["cluster"].fill_null(-1).to_numpy()
        if packing.count > len(labels):
            raise PackError(f"asked for {counted(packing.count, 'image')}, but the selection has {len(labels)}")
        rows = balanced_choice(labels, packing.count, packing.seed)
    rows = np.random.default_rng((packing.seed, 8)).permutation(rows)
    starts = range(0, len(rows), packing.shard_size)
    for shard, start in enumerate(starts):
        write_table(plan / f"{shard:06d}.parquet", table.take(rows[start : start + packing.shard_size]))
    write_json(plan / "done.json", {"shards": len(starts)})


def _write_shards(
    out: Path,
    shards: int,
    packing: Packing,
    lists: tuple[BlockList, OptOutList],
    workers: int | None,
    address: str | None,
) -> tuple[Counter[str], set[str]]:
    """The images by fate, and the lines of the opt-out lists that named one."""
    with ray_running(workers, address) as count, progress(None, "packing", shards, "shards") as bar:
        for _ in run_pieces(shards, [Pool(functools.partial(ShardPacker, out, packing, *lists))], count):
            bar.update()
    fates: Counter[str] = Counter()
    matched: set[str] = set()
    for shard in range(shards):
        record = read_json(out / "plan" / f"{shard:06d}.json")
        fates.update(record["fates"])
        matched |= set(record["matched"])
    return fates, matched


class ShardPacker:
    """Takes the number of a shard and writes it."""

    def __init__(self, out: Path, packing: Packing, blocked: BlockList, opted_out: OptOutList) -> None:
        self.out, self.packing, self.blocked, self.opted_out = out, packing, blocked, opted_out
        self.model: LoadedModel | None = None
        if packing.blur:
            from opensapiens.inference.loading import load

            self.model = load(packing.blur).models[0]

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One row in, one out."""
        import pyarrow.parquet as pq

        shard = int(batch["id"][0])
        record = self.out / "plan" / f"{shard:06d}.json"
        if not record.exists():
            rows = pq.ParquetFile(self.out / "plan" / f"{shard:06d}.parquet").read().to_pylist()
            fates: list[tuple[str, str]] = []
            tries = Tries(record.with_suffix(".tries"))
            write_shard(self.out / f"{shard:06d}.tar", self._frames(rows, shard, tries, fates))
            failures = [name for fate, name in fates if fate != "packed"]
            matched = {line for row in rows for line in self.opted_out.lines_for(item_of_row(row))}
            counts = dict(Counter(fate for fate, _ in fates))
            write_json(record, {"fates": counts, "failures": failures, "matched": sorted(matched)})
            tries.done()
        return {"id": np.array([shard])}

    def _frames(
        self, rows: list[dict[str, Any]], shard: int, tries: Tries, fates: list[tuple[str, str]]
    ) -> Iterator[tuple[str, dict[str, bytes]]]:
        for place in itertools.chain.from_iterable(tries.groups(len(rows))):
            row, item = rows[place], item_of_row(rows[place])
            if self.opted_out.names(item):
                fates.append(("opted_out", item.source))
            elif self.blocked.names(row["sha256"], row.get("phash")):
                fates.append(("blocked", item.source))
            elif tries.given_up(place):
                fates.append(("unreadable", f"{item.source}: {GIVEN_UP}"))
            else:
                try:
                    image = self._image(read_item(item), row)
                except ImageError as error:
                    fates.append(("unreadable", str(error)))
                    continue
                fates.append(("packed", item.source))
                key = f"{row['sha256'][:16]}-{shard * self.packing.shard_size + place:09d}"
                yield key, _members(image, row, item.source)

    def _image(self, data: bytes, row: dict[str, Any]) -> np.ndarray:
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise ImageError(f"{row['file']}: its content has changed since it was scored")
        image = read_image(data)
        if self.model is not None:
            scores = np.array(row.get("person_scores") or [], np.float32)
            boxes = np.array(row.get("person_boxes") or [], np.float32).reshape(-1, 4)
            image = blur_faces(image, boxes[scores > BLUR_ABOVE], self.model)
        return shrink(image, self.packing.side)


def _members(image: np.ndarray, row: dict[str, Any], source: str) -> dict[str, bytes]:
    jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    facts = {
        "sha256": row["sha256"],
        "phash": f"{row['phash']:016x}" if row.get("phash") is not None else None,
        "source": source,
        "url": row.get("url") or "",
        "license": row.get("license") or "",
        "height": image.shape[0],
        "width": image.shape[1],
        "people": int((np.asarray(row.get("person_scores") or [], np.float32) > PEOPLE_ABOVE).sum()),
        "person_scores": row.get("person_scores") or [],
    }
    return {"jpg": jpeg, "json": json.dumps(facts, separators=(",", ":")).encode()}
