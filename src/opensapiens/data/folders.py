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
    """One sample per picture of a folder: `len(dataset)`, `dataset[i] -> Sample`, in the order of the names.

    Folders are searched to the bottom; a label map belongs to the picture of the same path without its ending, or with
    the addition "_seg" (a.png of FaceSynthetics has a_seg.png). A picture without a map has None there: that label does
    not exist for it. The person is where the mask is, else where parts are above 0, else where depth or normals are
    known; the box is that of the person, None where nobody is.
    """

    def __init__(
        self,
        images: Path | str,
        labels: Mapping[LabelKind, Path | str],
        part_set: PartSet = SAPIENS_28,
        depth_scale: float = 1.0,
    ) -> None:
        """`labels`: folders of label maps by their kind; see `label_maps` for what the files hold.

        `depth_scale` is multiplied to depths: 0.001 for PNGs in millimeters. Raises ImageError for a folder that is
        missing or holds nothing, two pictures of one name, and a folder of labels none of which belongs to a picture.
        """
        if not labels:
            raise ValueError("give one or more folders of label maps")
        self.part_set, self.depth_scale = part_set, depth_scale
        self.images = _by_name(Path(images), IMAGE_ENDINGS)
        self.maps: dict[LabelKind, dict[str, Path]] = {}
        for kind, folder in labels.items():
            found = _by_name(Path(folder), MAP_ENDINGS)
            own = {name: found.get(f"{name}_seg", found.get(name)) for name in self.images}
            self.maps[kind] = {name: path for name, path in own.items() if path not in (None, self.images[name])}
            if not self.maps[kind]:
                example = next(iter(self.images))
                raise ImageError(f"{folder}: holds nothing for any picture of {images}; expected {example}.png or so")
        # Sorted, and without the label maps themselves where they lie beside the pictures
        taken = {path for maps in self.maps.values() for path in maps.values()}
        self.names = sorted(name for name, path in self.images.items() if path not in taken)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Picture `index` with its labels. Raises ImageError for what cannot be read or differs in size."""
        name = self.names[index]
        image = read_image(self.images[name])
        sample = Sample(image, key=name, part_set=self.part_set)
        for kind, files in self.maps.items():
            if name in files:
                values = kind.read(files[name], self.part_set, self.depth_scale)
                if values.shape[:2] != image.shape[:2]:
                    raise ImageError(f"{files[name]}: {values.shape[:2]} pixels, its picture {image.shape[:2]}")
                sample.labels[kind] = values
        person = sample.person()
        sample.box = None if person is None else box_of_mask(person)
        return sample


def _by_name(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise ImageError(f"no folder {folder}")
    found: dict[str, Path] = {}
    for path in list_files(folder, endings).files:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise ImageError(f"{found[name]} and {path} have the same name: which is meant?")
        found[name] = path
    if not found:
        raise ImageError(f"{folder}: holds no {', '.join(endings)}")
    return found
