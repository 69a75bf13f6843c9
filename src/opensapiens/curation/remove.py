"""`curate remove`: takes images out of shards that were packed already."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from opensapiens.curation.pack import SHARDS
from opensapiens.curation.privacy import BlockList, OptOutList
from opensapiens.curation.sources import Item
from opensapiens.data.shards import ShardError, shard_paths, write_shard
from opensapiens.storage.files import write_json
from opensapiens.storage.folders import is_ours


def remove(shards: Path, block: tuple[Path, ...], opt_out: tuple[Path, ...] = ()) -> list[str]:
    """Write the shards that hold images of the lists anew without them; returns the keys that were removed.

    A shard is replaced only when its new version is complete, so a run that was stopped can be repeated. The counts in
    manifest.json and a list removed.json (keys, no hashes) are brought up to date. Raises ShardError for a folder
    without shards, or with shards that `curate pack` did not write.
    """
    if not is_ours(shards, SHARDS):
        raise ShardError(f"{shards} holds no shards of opensapiens curate pack: others are not changed")
    blocked, opted_out = BlockList.read(block), OptOutList.read(opt_out)
    removed: list[str] = []
    for path in tqdm(shard_paths(shards), desc="removing", unit=" shards", disable=None):
        named = [key for key, facts in _facts(path) if _is_named(facts, blocked, opted_out)]
        if named:
            write_shard(path, (frame for frame in _frames(path) if frame[0] not in set(named)))
            removed += named
            _note(shards, named)
    return removed


def _is_named(facts: dict, blocked: BlockList, opted_out: OptOutList) -> bool:
    phash = int(facts["phash"], 16) if facts.get("phash") else None
    file, _, member = str(facts.get("source", "")).partition("::")
    item = Item(file, member, url=str(facts.get("url", "")))
    return blocked.names(str(facts.get("sha256", "")), phash) or opted_out.names(item)


def _facts(path: Path) -> Iterator[tuple[str, dict]]:
    for key, frame in _frames(path):
        try:
            yield key, json.loads(frame["json"])
        except (KeyError, ValueError) as error:
            raise ShardError(f"{path}: {key} has no readable .json: not a shard of opensapiens curate pack") from error


def _frames(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The members of a shard by key, one key at a time."""
    key = ""
    frame: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # or the tar would remember all of them
                file = tar.extractfile(member)
                if file is None:
                    continue
                this, _, suffix = member.name.rpartition("/")[2].partition(".")
                if this != key and frame:
                    yield key, frame
                    frame = {}
                key, frame = this, {**frame, suffix: file.read()}
            if frame:
                yield key, frame
    except (OSError, tarfile.TarError) as error:
        raise ShardError(f"{path}: not a readable tar ({error})") from error


def _note(shards: Path, named: list[str]) -> None:
    path = shards / "removed.json"
    before = json.loads(path.read_text())["keys"] if path.exists() else []
    keys = sorted({*before, *named})
    write_json(path, {"keys": keys})
    manifest = shards / "manifest.json"
    if manifest.exists():
        content = json.loads(manifest.read_text())
        packed = content["fates"].get("packed", 0) + content["fates"].get("removed", 0)
        content["fates"] |= {"removed": len(keys), "packed": packed - len(keys)}
        write_json(manifest, content)
