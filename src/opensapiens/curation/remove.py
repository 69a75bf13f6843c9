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
from opensapiens.storage.progress import progress
from opensapiens.storage.tars import contents


def remove(shards: Path, block: tuple[Path, ...], opt_out: tuple[Path, ...] = ()) -> list[str]:
    """Rewrite the shards that hold listed images without them; returns the keys that were removed.

    Every shard is read to its end before the first is replaced. A shard is replaced only when its new version is
    complete, so a run that was stopped can be repeated. The counts in manifest.json and a list removed.json (keys, no
    hashes) are brought up to date. Raises ShardError for a folder without shards, for one with shards that
    `curate pack` did not write, and for one that does not hold as many images as its manifest.json says; TarError for a
    shard that is damaged or cut off.
    """
    if not is_ours(shards, SHARDS):
        raise ShardError(f"{shards} holds no shards of opensapiens curate pack: others are not changed")
    blocked, opted_out = BlockList.read(block), OptOutList.read(opt_out)
    noted = _noted(shards)
    named: dict[Path, list[str]] = {}
    counts: dict[Path, int] = {}
    left: set[str] = set()  # of the keys noted: a run that was stopped had noted them before it removed them
    matched: set[str] = set()
    for path in progress(shard_paths(shards), "reading", unit="shards"):
        named[path], counts[path] = [], 0
        for key, facts in _facts(path):
            counts[path] += 1
            left |= {key} & noted
            lines = opted_out.lines_for(_item(facts))
            matched |= lines
            if lines or _is_blocked(facts, blocked):
                named[path].append(key)
    opted_out.log_unmatched(matched)
    _check_counts(shards, sum(counts.values()), len(noted - left))
    removed = [key for keys in named.values() for key in keys]
    gone = noted - left | set(removed)
    if removed or gone != noted:
        write_json(shards / "removed.json", {"keys": sorted(gone)})
        for path in progress([path for path in named if named[path]], "removing", unit="shards"):
            write_shard(path, _kept(path, frozenset(named[path]), counts[path] - len(named[path])))
    _update_manifest(shards, len(gone))
    return removed


def _is_blocked(facts: dict, blocked: BlockList) -> bool:
    phash = facts.get("phash")
    return blocked.names(str(facts.get("sha256", "")), int(phash, 16) if phash else None)


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
    named = ((member.name.rpartition("/")[2].partition("."), data) for member, data in contents(path))
    for key, group in groupby(named, key=lambda one: one[0][0]):
        frame: dict[str, bytes] = {}
        for (_, _, suffix), data in group:
            if suffix in frame:
                raise ShardError(f"{path}: there is more than one {key}.{suffix}")
            frame[suffix] = data
        yield key, frame


def _kept(path: Path, named: frozenset[str], expected: int) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The frames that are not named. Raises ShardError at the end, before the new shard takes the old one's place, if
    there are not as many as expected."""
    count = 0
    for key, frame in _frames(path):
        if key not in named:
            count += 1
            yield key, frame
    if count != expected:
        raise ShardError(f"{path}: {count} images would be left where {expected} were expected; it stays as it was")


def _noted(shards: Path) -> frozenset[str]:
    """The keys that were removed before."""
    path = shards / "removed.json"
    return frozenset(read_json(path)["keys"]) if path.exists() else frozenset()


def _check_counts(shards: Path, found: int, gone: int) -> None:
    """Whether the shards hold what the manifest says. Raises ShardError."""
    manifest = shards / "manifest.json"
    if manifest.exists():
        fates = read_json(manifest)["fates"]
        packed = fates.get("packed", 0) + fates.get("removed", 0)
        if found + gone != packed:
            raise ShardError(
                f"{shards}: the shards hold {found} images and {gone} were removed, but by manifest.json {packed} "
                "were packed; nothing was changed. Bring the missing shards back, or pack the selection again"
            )


def _update_manifest(shards: Path, removed: int) -> None:
    manifest = shards / "manifest.json"
    if manifest.exists() and removed:
        content = read_json(manifest)
        packed = content["fates"].get("packed", 0) + content["fates"].get("removed", 0)
        content["fates"] |= {"removed": removed, "packed": packed - removed}
        write_json(manifest, content)
