"""`opensapiens synthesize`."""

from __future__ import annotations

import sys
from pathlib import Path


def synthesize(
    out: Path,
    count: int = 4096,
    seed: int = 0,
    workers: int = 1,
    size: tuple[int, int] = (320, 256),
    scans: Path | None = None,
    environment: Path | None = None,
    backgrounds: Path | None = None,
    parameters: bool = False,
    folders: Path | None = None,
    cutouts: Path | None = None,
) -> int:
    """Make synthetic people with exact labels for every task, as tar shards to train and evaluate on.

    Needs the extra "synthetic". A run that was stopped goes on where it was; the same seed gives the same frames.
    Beside the shards: a contact sheet, a data card (card.png, card.json) and a manifest.

    For example:
    $ opensapiens synthesize --out shards/train --count 20000 --workers 2
    $ opensapiens synthesize --out shards/scans --scans RenderPeople --environment panoramas --size 1024 768

    Args:
        out: the folder for the shards.
        count: how many frames; each has one to eight people, or one scan.
        seed: another seed, other frames.
        workers: processes; one per core.
        size: height and width of the frames in pixels.
        scans: a folder of textured scans (.glb, .gltf, .obj, .ply) to render in place of our own people: image, mask,
            depth and normals; points and parts are not known of scans.
        environment: a folder of panoramas (.hdr) that light the people and stand behind them.
        backgrounds: a folder of photos without people to stand behind them.
        parameters: also record the camera's pose, body parameters and 3D points.
        folders: also write the frames here as folders of pictures, with COCO annotations of 17, 133 and 308 points.
        cutouts: also write each person here as a small frame of their own, in shards: what trains a small model on
            crops of people is then read in a third of the time.
    """
    try:
        failures = _make(out, count, seed, workers, size, scans, environment, backgrounds, parameters)
        if folders is not None:
            from opensapiens.synthetic.folders import unpack

            unpack(out, folders)
        if cutouts is not None:
            from opensapiens.data.cutouts import cut_out_people

            cut_out_people(out, cutouts, workers=workers)
    except ModuleNotFoundError as error:
        message = f"making people needs {error.name}: pip install opensapiens[synthetic]"
        raise ModuleNotFoundError(message, name=error.name) from error
    except ValueError as error:  # the folder belongs to another run, or there is nothing to render
        print(f"opensapiens synthesize: {error}", file=sys.stderr)
        return 2
    also = [f"unpacked in {folders}"] if folders else []
    also += [f"their people cut out in {cutouts}"] if cutouts else []
    print(", ".join([f"{count} frames are in {out}", *also]))
    for failure in failures:
        print(f"opensapiens synthesize: left out {failure}", file=sys.stderr)
    return 1 if failures else 0


def _make(
    out: Path,
    count: int,
    seed: int,
    workers: int,
    size: tuple[int, int],
    scans: Path | None,
    environment: Path | None,
    backgrounds: Path | None,
    parameters: bool,
) -> list[str]:
    """Writes the shards; returns what is wrong with the scans, panoramas and photos that could not be used."""
    from opensapiens.data.images import ImageCollection
    from opensapiens.synthetic.environment import Surroundings, find_panoramas
    from opensapiens.synthetic.scan_files import find_scans
    from opensapiens.synthetic.style import Style
    from opensapiens.synthetic.synthesize import synthesize as make
    from opensapiens.synthetic.synthesize import usable_files

    if min(size) < 16 or max(size) > 8192:
        raise ValueError(f"frames of {size[0]}x{size[1]} pixels: 16 to 8192 can be rendered")
    paths, bad_scans = usable_files(find_scans(scans), workers) if scans else ([], [])
    panoramas, bad_panoramas = usable_files(find_panoramas(environment), workers) if environment else ([], [])
    photos, bad_photos = _usable_photos(backgrounds, workers) if backgrounds else ([], [])
    for folder, usable, bad in (
        (scans, paths, bad_scans),
        (environment, panoramas, bad_panoramas),
        (backgrounds, photos, bad_photos),
    ):
        if folder and not usable:
            raise ValueError(f"none of the files of {folder} can be read:\n" + "\n".join(bad))
    surroundings = None
    if environment or backgrounds:
        surroundings = Surroundings(tuple(panoramas), ImageCollection(*photos) if backgrounds else None)
    make(count, out, seed, workers, Style(size=size), surroundings, paths, parameters)
    return bad_scans + bad_panoramas + bad_photos


def _usable_photos(backgrounds: Path, workers: int) -> tuple[list[Path], list[str]]:
    """The photos, and shards of photos, of a folder; what is wrong with the photos that cannot be read."""
    from opensapiens.data.images import ImageCollection
    from opensapiens.synthetic.synthesize import usable_files

    files = ImageCollection(backgrounds).paths
    shards = [path for path in files if path.suffix == ".tar"]
    photos, bad = usable_files([path for path in files if path.suffix != ".tar"], workers)
    return photos + shards, bad
