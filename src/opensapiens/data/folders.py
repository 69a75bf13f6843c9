"""People from parallel folders: pictures in one, label maps of the same file names in others."""

from collections.abc import Mapping
from pathlib import Path

from opensapiens.data.label_kinds import LabelKind
from opensapiens.data.label_maps import ENDINGS as MAP_ENDINGS
from opensapiens.data.sample import Sample
from opensapiens.geometry.boxes import box_of_mask
from opensapiens.labels.parts import SAPIENS_28, PartSet
from opensapiens.storage.listing import list_files
from opensapiens.storage.pictures import IMAGE_ENDINGS, ImageError, read_image


class FolderDataset:
    """One sample per picture of a folder and its subfolders, sorted by name: `len(dataset)`, `dataset[i] -> Sample`.

    A label map has the path of its picture, apart from the ending, optionally with "_seg" added (as in FaceSynthetics).
    A picture may lack maps. The box is that of `Sample.person`, None if nobody is there.
    """

    def __init__(
        self,
        images: Path | str,
        labels: Mapping[LabelKind, Path | str],
        part_set: PartSet = SAPIENS_28,
        depth_scale: float = 1.0,
    ) -> None:
        """labels: folders of label maps by kind; see `label_maps` for the files. depth_scale: factor on depths, 0.001
        for PNGs in millimeters. Raises ImageError for a missing or empty folder, two pictures with the same name, and a
        folder without labels of any picture."""
        if not labels:
            raise ValueError("give one or more folders of label maps")
        self.part_set, self.depth_scale = part_set, depth_scale
        self.images = _by_name(Path(images), IMAGE_ENDINGS)
        self.maps: dict[LabelKind, dict[str, Path]] = {}
        for kind, folder in labels.items():
            files = _by_name(Path(folder), MAP_ENDINGS)
            maps = {name: files.get(f"{name}_seg", files.get(name)) for name in self.images}
            self.maps[kind] = {name: path for name, path in maps.items() if path not in (None, self.images[name])}
            if not self.maps[kind]:
                example = next(iter(self.images))
                raise ImageError(f"{folder}: holds nothing for any picture of {images}; expected {example}.png or so")
        # Label maps may be beside the pictures.
        map_paths = {path for maps in self.maps.values() for path in maps.values()}
        self.names = sorted(name for name, path in self.images.items() if path not in map_paths)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Picture `index` with its labels. Raises ImageError for a file that cannot be read or differs in size."""
        name = self.names[index]
        image = read_image(self.images[name])
        sample = Sample(image, key=name, part_set=self.part_set)
        for kind, files in self.maps.items():
            if name in files:
                values = kind.read(files[name], self.part_set, self.depth_scale)
                if values.shape[:2] != image.shape[:2]:
                    sizes = f"{values.shape[:2]} pixels, its picture {image.shape[:2]} (after EXIF rotation)"
                    raise ImageError(f"{files[name]}: {sizes}; draw it anew on the picture")
                sample.labels[kind] = values
        person = sample.person()
        sample.box = None if person is None else box_of_mask(person)
        return sample


def _by_name(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise ImageError(f"no folder {folder}")
    files: dict[str, Path] = {}
    for path in list_files(folder, endings).files:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in files:
            raise ImageError(f"{files[name]} and {path} have the same name: remove one")
        files[name] = path
    if not files:
        raise ImageError(f"{folder}: holds no {', '.join(endings)}")
    return files
