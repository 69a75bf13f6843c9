"""Unlabeled images from folders and tar shards, for pretraining; nothing is unpacked to disk."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from opensapiens.data.sample import Sample
from opensapiens.storage.listing import Listing, list_files
from opensapiens.storage.pictures import IMAGE_ENDINGS, ImageError, read_image
from opensapiens.storage.progress import progress
from opensapiens.storage.tars import members

NOT_PHOTOS = (".instances.png", ".parts.png", ".depth.png", ".normals.png")  # labels in the shards of synthetic people
SCANNING_THREADS = 16


class ImageCollection:
    """The images of folders and their subfolders, tar shards (any image member) or single files, as one sequence.

    Pictures beside shards are ignored, since they are usually contact sheets; `passed_over` counts ignored files. A
    shard's headers are read once. The index holds only numbers, so that loader processes share it.

    Raises:
        ImageError: a path does not exist, or there is no image.
        TarError: a tar is damaged or cut off.
    """

    def __init__(self, *sources: Path | str) -> None:
        listings = [_files(Path(source)) for source in sources]
        files = [file for listing in listings for file in listing.files]
        self.paths = files
        self.passed_over = sum((listing.passed_over for listing in listings), Counter[str]())
        shards = [file for file in files if file.suffix == ".tar"]
        with ThreadPoolExecutor(SCANNING_THREADS) as pool:
            scans = progress(pool.map(_members, shards), "reading shards", len(shards), shown=len(shards) >= 50)
            ranges_of_shard = dict(zip(shards, scans, strict=True))
        whole_file = np.array([[-1, -1]])
        ranges = [ranges_of_shard.get(file, whole_file) for file in files]
        self._owners = np.repeat(np.arange(len(files), dtype=np.int32), [len(rows) for rows in ranges])
        self._ranges = np.concatenate([whole_file[:0], *ranges])
        if not len(self):
            raise ImageError(f"no image ({', '.join(IMAGE_ENDINGS)}) or tar shard in {', '.join(map(str, sources))}")

    def __len__(self) -> int:
        return len(self._owners)

    def __getitem__(self, index: int) -> Sample:
        """Image `index`. Raises ImageError for one that cannot be read, IndexError past the end."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        path, (offset, size) = self.paths[self._owners[index]], self._ranges[index].tolist()
        if offset < 0:
            return Sample(image=read_image(path), key=str(path))
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(size)
        try:
            return Sample(image=read_image(data), key=f"{path.name}@{offset}")
        except ImageError as error:
            raise ImageError(f"{path}, member at byte {offset}: {error}") from error


def _files(source: Path) -> Listing:
    if not source.exists():
        raise ImageError(f"{source}: no such file or folder")
    if source.is_file():
        return Listing([source])
    listing = list_files(source, (".tar", *IMAGE_ENDINGS))
    with_shards = {file.parent for file in listing.files if file.suffix == ".tar"}
    files = [file for file in listing.files if file.suffix == ".tar" or file.parent not in with_shards]
    return Listing(files, listing.passed_over + Counter({"picture beside shards": len(listing.files) - len(files)}))


def _members(shard: Path) -> np.ndarray:
    """(N, 2) int64 offset and size of the images of a tar, in order."""
    ranges = [
        (member.offset, member.size)
        for member in members(shard)
        if member.name.lower().endswith(IMAGE_ENDINGS) and not member.name.lower().endswith(NOT_PHOTOS)
    ]
    return np.array(ranges, np.int64).reshape(-1, 2)
