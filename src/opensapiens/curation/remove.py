"""`curate remove`: takes images out of packed shards."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from opensapiens.curation.pack import SHARDS
from opensapiens.curation.privacy import BlockList, OptOutList
from opensapiens.curation.sources import Item
from opensapiens.data.shards import ShardError, shard_paths, write_shard
from opensapiens.storage.files import write_json
from opensapiens.storage.folders import is_ours
from opensapiens.storage.json_files import read_json
from opensapiens.storage.listing import counted
from opensapiens.storage.progress import progress
from opensapiens.storage.tars import contents


def remove(shards: Path, block: tuple[Path, ...], opt_out: tuple[Path, ...] = ()) -> list[str]:
    """Rewrite the shards that hold listed images without them; returns the keys that were removed.

    Every shard is read to its end before the first is replaced, and a shard is replaced only when its new version is
    complete, so a run that was stopped can be repeated. The counts in manifest.json and the keys in removed.json are
    updated. Raises ShardError for a folder without shards of `curate pack`, and for one with fewer or more images than
    its manifest.json says; TarError for a shard that is damaged or cut off.
    """
    if not is_ours(shards, SHARDS):
        raise ShardError(f"{shards} holds no shards of opensapiens curate pack: others are not changed")
    blocked, opted_out = BlockList.read(block), OptOutList.read(opt_out)
    record = shards / "removed.json"
    removed_before = frozenset(read_json(record)["keys"]) if record.exists() else frozenset()
    listed: dict[Path, list[str]] = {}  # the keys to remove
    counts: dict[Path, int] = {}
    present: set[str] = set()  # of the keys removed before: a stopped run writes them down before it removes them
    matched: set[str] = set()
    for path in progress(shard_paths(shards), "reading", unit="shards"):
        listed[path], counts[path] = [], 0
        for key, facts in _facts(path):
            counts[path] += 1
            present |= {key} & removed_before
            lines = opted_out.lines_for(_item(facts))
            matched |= lines
            phash = facts.get("phash")
            if lines or blocked.names(str(facts.get("sha256", "")), int(phash, 16) if phash else None):
                listed[path].append(key)
    opted_out.log_unmatched(matched)
    gone = removed_before - present
    manifest = shards / "manifest.json"
    content = read_json(manifest) if manifest.exists() else None
    packed = 0 if content is None else content["fates"].get("packed", 0) + content["fates"].get("removed", 0)
    count = sum(counts.values())
    if content is not None and count + len(gone) != packed:
        raise ShardError(
            f"{shards}: the shards hold {counted(count, 'image')} and {len(gone)} were removed, but by manifest.json "
            f"{packed} were packed; nothing was changed. Bring the missing shards back, or pack the selection again"
        )
    removed = [key for keys in listed.values() for key in keys]
    gone |= set(removed)
    if removed or gone != removed_before:
        write_json(record, {"keys": sorted(gone)})
        for path in progress([path for path in listed if listed[path]], "removing", unit="shards"):
            write_shard(path, _kept(path, frozenset(listed[path]), counts[path] - len(listed[path])))
    if content is not None and gone:
        content["fates"] |= {"removed": len(gone), "packed": packed - len(gone)}
        write_json(manifest, content)
    return removed


def _item(facts: dict) -> Item:
    file, _, member = str(facts.get("source", "")).partition("::")
    return Item(file, member, url=str(facts.get("url", "")))


def _facts(path: Path) -> Iterator[tuple[str, dict]]:
    for key, frame in _frames(path):
        facts = read_json(frame["json"], f"{path}, {key}.json") if "json" in frame else None
        if not isinstance(facts, dict):
            raise ShardError(f"{path}: {key} has no .json with its facts: not a shard of opensapiens curate pack")
        yield key, facts


def _frames(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The members of a shard by key, one key at a time."""
    members = ((member.name.rpartition("/")[2].partition("."), data) for member, data in contents(path))
    for key, group in groupby(members, key=lambda member: member[0][0]):
        frame: dict[str, bytes] = {}
        for (_, _, suffix), data in group:
            if suffix in frame:
                raise ShardError(f"{path}: there is more than one {key}.{suffix}")
            frame[suffix] = data
        yield key, frame


def _kept(path: Path, listed: frozenset[str], expected: int) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The frames that are not listed. Raises ShardError at the end, before the new shard replaces the old one, if there
    are not as many as expected."""
    count = 0
    for key, frame in _frames(path):
        if key not in listed:
            count += 1
            yield key, frame
    if count != expected:
        raise ShardError(
            f"{path}: {counted(count, 'image')} would be left, {expected} were expected; the shard was not changed"
        )
