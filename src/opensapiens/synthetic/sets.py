"""From options to a folder of shards, and what else of them was asked for."""

from __future__ import annotations

from pathlib import Path

from opensapiens.synthetic.options import SetError, SynthesizeOptions


def make_set(out: Path, options: SynthesizeOptions = SynthesizeOptions()) -> list[str]:
    """What `opensapiens synthesize` does: writes the shards; returns what is wrong with the scans, panoramas and photos
    that could not be used.

    Raises SetError where none of them could be used, FolderError for a folder that holds something else, and
    ModuleNotFoundError without the extra "synthetic".
    """
    try:
        failures = write_shards(out, options)
        if options.folders is not None:
            from opensapiens.synthetic.folders import unpack

            unpack(out, options.folders)
        if options.cutouts is not None:
            from opensapiens.data.cutouts import cut_out_people

            cut_out_people(out, options.cutouts, workers=options.workers)
    except ModuleNotFoundError as error:
        message = f"making people needs {error.name}: pip install opensapiens[synthetic]"
        raise ModuleNotFoundError(message, name=error.name) from error
    return failures


def write_shards(out: Path, options: SynthesizeOptions) -> list[str]:
    """The shards alone; returns and raises as `make_set`."""
    from opensapiens.data.images import ImageCollection
    from opensapiens.synthetic.environment import Surroundings, find_panoramas
    from opensapiens.synthetic.scan_files import find_scans
    from opensapiens.synthetic.style import Style
    from opensapiens.synthetic.synthesize import synthesize, usable_files

    scans, environment, backgrounds, workers = (
        options.scans, options.environment, options.backgrounds, options.workers
    )  # fmt: skip
    paths, bad_scans = usable_files(find_scans(scans), workers) if scans else ([], [])
    panoramas, bad_panoramas = usable_files(find_panoramas(environment), workers) if environment else ([], [])
    photos, bad_photos = _usable_photos(backgrounds, workers) if backgrounds else ([], [])
    for folder, usable, bad in (
        (scans, paths, bad_scans),
        (environment, panoramas, bad_panoramas),
        (backgrounds, photos, bad_photos),
    ):
        if folder and not usable:
            raise SetError(f"none of the files of {folder} can be read:\n" + "\n".join(bad))
    surroundings = None
    if environment or backgrounds:
        surroundings = Surroundings(tuple(panoramas), ImageCollection(*photos) if backgrounds else None)
    style = Style(size=options.size)
    synthesize(options.count, out, options.seed, workers, style, surroundings, paths, options.parameters)
    return bad_scans + bad_panoramas + bad_photos


def _usable_photos(backgrounds: Path, workers: int) -> tuple[list[Path], list[str]]:
    """The photos, and shards of photos, of a folder; what is wrong with the photos that cannot be read."""
    from opensapiens.data.images import ImageCollection
    from opensapiens.synthetic.synthesize import usable_files

    files = ImageCollection(backgrounds).paths
    shards = [path for path in files if path.suffix == ".tar"]
    photos, bad = usable_files([path for path in files if path.suffix != ".tar"], workers)
    return photos + shards, bad
