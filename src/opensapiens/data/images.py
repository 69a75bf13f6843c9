"""Images without labels from folders and tar shards, as pretraining reads them: nothing is unpacked to disk."""

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
    """The images of folders (searched to the bottom), tar shards, folders of shards or single files, as one sequence.

    Any image member of a tar counts (webdataset's layout is one such tar); loose pictures beside shards do not: they
    are contact sheets and the like. `passed_over` counts these and what else folders hold. A shard's headers are read
    once; then a sample is a byte range. The index holds 20 bytes an image, as numbers, so that loader processes share
    it.

    Raises:
        ImageError: a path that is not there, or no image at all.
        TarError: a tar that is damaged or cut off.
    """

    def __init__(self, *sources: Path | str) -> None:
        listings = [_files(Path(source)) for source in sources]
        files = [file for listing in listings for file in listing.files]
        self.paths = files
        self.passed_over = sum((listing.passed_over for listing in listings), Counter[str]())
        shards = [file for file in files if file.suffix == ".tar"]
        with ThreadPoolExecutor(SCANNING_THREADS) as pool:
            scans = progress(pool.map(_members, shards), "reading shards", len(shards), shown=len(shards) >= 50)
            found = dict(zip(shards, scans, strict=True))
        alone = np.array([[-1, -1]])  # the file itself is the image
        places = [found.get(file, alone) for file in files]
        self._owners = np.repeat(np.arange(len(files), dtype=np.int32), [len(place) for place in places])
        self._places = np.concatenate([alone[:0], *places])
        if not len(self):
            raise ImageError(f"no image ({', '.join(IMAGE_ENDINGS)}) or tar shard in {', '.join(map(str, sources))}")

    def __len__(self) -> int:
        return len(self._owners)

    def __getitem__(self, index: int) -> Sample:
        """Image `index`. Raises ImageError for one that cannot be read, IndexError past the end."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        path, (offset, size) = self.paths[self._owners[index]], self._places[index].tolist()
        if offset < 0:
            return Sample(image=read_image(path), key=str(path))
        key = f"{path.name}@{offset}"
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(size)
        try:
            return Sample(image=read_image(data), key=key)
        except ImageError as error:
            raise ImageError(f"{path}, member at byte {offset}: {error}") from error


def _files(source: Path) -> Listing:
    if not source.exists():
        raise ImageError(f"{source}: no such file or folder")
    if source.is_file():
        return Listing([source])
    found = list_files(source, (".tar", *IMAGE_ENDINGS))
    with_shards = {file.parent for file in found.files if file.suffix == ".tar"}
    files = [file for file in found.files if file.suffix == ".tar" or file.parent not in with_shards]
    return Listing(files, found.passed_over + Counter({"picture beside shards": len(found.files) - len(files)}))


def _members(shard: Path) -> np.ndarray:
    """(N, 2) int64 offset and size of the images of a tar, in their order."""
    found = [
        (member.offset, member.size)
        for member in members(shard)
        if member.name.lower().endswith(IMAGE_ENDINGS) and not member.name.lower().endswith(NOT_PHOTOS)
    ]
    return np.array(found, np.int64).reshape(-1, 2)
