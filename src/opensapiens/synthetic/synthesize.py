"""Writes sets of synthetic frames as tar shards, with any number of processes and the same bytes."""

import json
import multiprocessing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
from tqdm import tqdm

from opensapiens.data.shards import encode_frame, write_manifest, write_shard
from opensapiens.synthetic.contact_sheet import contact_sheet
from opensapiens.synthetic.style import Style

if TYPE_CHECKING:
    from opensapiens.synthetic.studio import Studio

VERSION = 1
"""Raised whenever the same seed gives other frames."""
FRAMES_PER_SHARD = 256
FRAMES_PER_BATCH = 16


def synthesize(count: int, out: Path | str, seed: int = 0, workers: int = 1, style: Style | None = None) -> Path:
    """Writes `count` frames to `out` as shards of 256, with a manifest and a contact sheet; returns the folder.

    Shards that are already there are kept, so a run that was stopped goes on where it was.

    Raises:
        ValueError: if the folder holds another set of frames.
        ModuleNotFoundError: without the extra "synthetic".
    """
    import opensapiens.synthetic.studio  # noqa: F401 (a missing renderer is an error here, not in every worker)

    out, style = Path(out), style or Style()
    out.mkdir(parents=True, exist_ok=True)
    identity = {
        "count": count,
        "seed": seed,
        "generator_version": VERSION,
        "style": json.loads(json.dumps(asdict(style))),
    }
    _check_identity(out, identity)
    shards = [f"{i:06d}.tar" for i in range(-(-count // FRAMES_PER_SHARD))]
    missing = [i for i, name in enumerate(shards) if not (out / name).exists()]
    jobs = [
        (seed, first, min(FRAMES_PER_BATCH, count - first), style)
        for i in missing
        for first in range(i * FRAMES_PER_SHARD, min((i + 1) * FRAMES_PER_SHARD, count), FRAMES_PER_BATCH)
    ]
    with multiprocessing.get_context("spawn").Pool(workers, _prepare_worker) as pool:
        done = pool.imap(_make_batch, jobs)
        with tqdm(total=count, initial=count - sum(job[2] for job in jobs), unit="image", desc=str(out)) as bar:
            for i in missing:
                frames: list[tuple[str, dict[str, bytes]]] = []
                while len(frames) < min(FRAMES_PER_SHARD, count - i * FRAMES_PER_SHARD):
                    batch = next(done)
                    frames += batch
                    bar.update(len(batch))
                write_shard(out / shards[i], frames)
    cv2.imwrite(str(out / "contact_sheet.jpg"), contact_sheet(out)[..., ::-1])
    write_manifest(out, {**identity, "size": list(style.size), "shards": shards})
    return out


def _check_identity(out: Path, identity: dict) -> None:
    path = out / "identity.json"
    if path.exists() and json.loads(path.read_text()) != identity:
        raise ValueError(
            f"{out} holds frames of another count, seed, style or generator version: choose an empty folder"
        )
    path.write_text(json.dumps(identity, indent=1))


_studio: "Studio | None" = None


def _prepare_worker() -> None:
    import torch

    from opensapiens.synthetic.studio import Studio

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    global _studio
    _studio = Studio()


def _make_batch(job: tuple[int, int, int, Style]) -> list[tuple[str, dict[str, bytes]]]:
    seed, first, count, style = job
    assert _studio is not None
    encoded = []
    for offset, frame in enumerate(_studio.frames(seed, first, count, style)):
        encoded.append(
            (
                f"{first + offset:08d}",
                encode_frame(frame.image, frame.instances, frame.parts, frame.depth, frame.normals, frame.record),
            )
        )
    return encoded
