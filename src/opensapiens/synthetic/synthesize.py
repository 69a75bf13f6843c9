"""Writes sets of synthetic frames as tar shards; the bytes do not depend on the number of processes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from opensapiens.data.cutouts import cut_out_people
from opensapiens.data.images import ImageCollection
from opensapiens.data.shards import encode_frame, write_manifest, write_shard
from opensapiens.data.workers import WorkerDied, run_in_processes
from opensapiens.storage.files import write_bytes
from opensapiens.storage.folders import claim
from opensapiens.storage.pictures import IMAGE_ENDINGS, ImageError, read_image
from opensapiens.storage.progress import progress
from opensapiens.synthetic.card import write_card
from opensapiens.synthetic.contact_sheet import contact_sheet
from opensapiens.synthetic.folders import unpack
from opensapiens.synthetic.options import SetError, SynthesizeOptions
from opensapiens.synthetic.scan_files import ScanError, find_scans, read_scan
from opensapiens.synthetic.style import FRAMES_PER_BATCH, GENERATOR_VERSION, Style

if TYPE_CHECKING:
    from opensapiens.synthetic.environment import Surroundings
    from opensapiens.synthetic.people_renderer import PeopleRenderer
    from opensapiens.synthetic.scan_renderer import ScanRenderer

FRAMES_PER_SHARD = 256


class SynthesisError(RuntimeError):
    """Some frames could not be rendered; the message says which."""


def make_set(out: Path, options: SynthesizeOptions = SynthesizeOptions()) -> list[str]:
    """What `opensapiens synthesize` does: writes the shards, and unpacked frames and cut-outs if asked for.

    Returns a message for each scan, panorama or photo that could not be read. Raises SetError if none could be read,
    FolderError for a folder that holds something else, and ModuleNotFoundError without the extra "synthetic".
    """
    try:
        failures = write_shards(out, options)
        if options.folders is not None:
            unpack(out, options.folders)
        if options.cutouts is not None:
            cut_out_people(out, options.cutouts, workers=options.workers)
    except ModuleNotFoundError as error:
        message = f"rendering people needs {error.name}: pip install opensapiens[synthetic]"
        raise ModuleNotFoundError(message, name=error.name) from error
    return failures


def write_shards(out: Path, options: SynthesizeOptions) -> list[str]:
    """Writes the shards alone; returns and raises like `make_set`."""
    from opensapiens.synthetic.environment import Surroundings, find_panoramas

    failures: list[str] = []

    def usable(folder: Path | None, find: Callable[[Path], Sequence[Path]]) -> list[Path]:
        if folder is None:
            return []
        good, bad = usable_files(find(folder), options.workers)
        if not good:
            raise SetError(f"none of the files in {folder} can be read:\n" + "\n".join(bad))
        failures.extend(bad)
        return good

    scans = usable(options.scans, find_scans)
    panoramas = usable(options.environment, find_panoramas)
    photos = usable(options.backgrounds, _find_photos)
    surroundings = None
    if panoramas or photos:
        surroundings = Surroundings(tuple(panoramas), ImageCollection(*photos) if photos else None)
    style = Style(size=options.size)
    synthesize(
        options.count,
        out,
        options.seed,
        options.workers,
        style,
        surroundings,
        scans,
        options.parameters,
        options.all_labels,
    )
    return failures


def synthesize(
    count: int,
    out: Path | str,
    seed: int = 0,
    workers: int = 1,
    style: Style | None = None,
    surroundings: "Surroundings | None" = None,
    scans: Sequence[Path] = (),
    parameters: bool = False,
    all_labels: bool = False,
) -> Path:
    """Writes `count` frames to `out` as shards of 256, with a manifest, a data card and a contact sheet; returns the
    folder.

    `surroundings` replace the procedural light and backdrops; `scans` are rendered in place of synthetic people;
    `parameters` adds to the records, see PeopleRenderer; `all_labels` adds points, alpha and albedo. Existing shards
    are kept, so an interrupted run can be continued.

    Raises:
        FolderError: if the folder holds another set of frames, or anything else.
        SynthesisError: if rendering some frames crashed its process, once all other shards are written.
        ModuleNotFoundError: without the extra "synthetic".
    """
    import opensapiens.synthetic.people_renderer  # noqa: F401 (a missing extra is an error here, not in every worker)

    out, style = Path(out), style or Style()
    identity = {
        "count": count,
        "seed": seed,
        "generator_version": GENERATOR_VERSION,
        "style": json.loads(json.dumps(asdict(style))),
    }
    identity |= {} if surroundings is None else {"surroundings": surroundings.names()}
    identity |= {"scans": [f"{path.parent.name}/{path.name}" for path in scans]} if scans else {}
    identity |= {"parameters": True} if parameters else {}
    identity |= {"all_labels": True} if all_labels else {}
    claim(out, "synthetic frames", identity)
    shards = [f"{i:06d}.tar" for i in range(-(-count // FRAMES_PER_SHARD))]
    missing = [i for i, name in enumerate(shards) if not (out / name).exists()]
    jobs = [
        (seed, first, min(FRAMES_PER_BATCH, count - first), style)
        for i in missing
        for first in range(i * FRAMES_PER_SHARD, min((i + 1) * FRAMES_PER_SHARD, count), FRAMES_PER_BATCH)
    ]
    prepare = partial(_prepare_worker, surroundings, tuple(scans), parameters)
    batches = zip(jobs, run_in_processes(partial(_make_batch, all_labels), jobs, workers, prepare), strict=True)
    died = []
    with progress(what=str(out), total=count, initial=count - sum(job[2] for job in jobs), unit="images") as bar:
        for i, shard in groupby(batches, key=lambda batch: batch[0][1] // FRAMES_PER_SHARD):
            frames: list[tuple[str, dict[str, bytes]]] | None = []
            for (_, first, number, _), batch in shard:
                bar.update(number)
                if isinstance(batch, WorkerDied):
                    died.append(f"frames {first} to {first + number - 1}: {batch}")
                    frames = None
                elif frames is not None:
                    frames += batch
            if frames is not None:
                write_shard(out / shards[i], frames)
    if died:
        raise SynthesisError(
            f"{out}: {'; '.join(died)}. All other shards are written; run the same command again to render these"
        )
    write_bytes(out / "contact_sheet.jpg", cv2.imencode(".jpg", contact_sheet(out)[..., ::-1])[1].tobytes())
    write_card(out)
    write_manifest(out, {**identity, "size": list(style.size), "shards": shards})
    return out


def usable_files(paths: Sequence[Path], workers: int = 1) -> tuple[list[Path], list[str]]:
    """The scans, panoramas and photos that can be read, and a message for each that cannot. Reads each of them once,
    except shards of photos."""
    good, bad = [], []
    problems = progress(run_in_processes(_problem_of, paths, workers), "checking", len(paths), unit="files")
    for path, problem in zip(paths, problems, strict=True):
        if problem is None:
            good.append(path)
        else:
            bad.append(f"{path}: {problem}" if isinstance(problem, WorkerDied) else problem)
    return good, bad


def _find_photos(folder: Path) -> list[Path]:
    """The photos of a folder, then its shards of photos."""
    return sorted(ImageCollection(folder).paths, key=lambda path: path.suffix == ".tar")


def _problem_of(path: Path) -> str | None:
    from opensapiens.synthetic.environment import read_panorama

    ending = path.suffix.lower()
    if ending == ".tar":
        return None
    read = read_panorama if ending == ".hdr" else read_image if ending in IMAGE_ENDINGS else read_scan
    try:
        read(path)
    except (ImageError, ScanError) as error:
        return str(error)
    return None


_renderer: "PeopleRenderer | ScanRenderer | None" = None


def _prepare_worker(surroundings: "Surroundings | None", scans: Sequence[Path], parameters: bool) -> None:
    import torch

    from opensapiens.synthetic.people_renderer import PeopleRenderer
    from opensapiens.synthetic.scan_renderer import ScanRenderer

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    global _renderer
    _renderer = ScanRenderer(scans, surroundings) if scans else PeopleRenderer(surroundings, parameters)


def _make_batch(all_labels: bool, job: tuple[int, int, int, Style]) -> list[tuple[str, dict[str, bytes]]]:
    seed, first, count, style = job
    assert _renderer is not None
    files = []
    for number, frame in enumerate(_renderer.frames(seed, first, count, style), start=first):
        labels = frame.all_labels if all_labels else frame.labels
        files.append((f"{number:08d}", encode_frame(frame.image, frame.instances, labels, frame.record)))
    return files
