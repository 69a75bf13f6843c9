"""What a model folder says of its model: the backbone, the heads, the preprocessing. Checked when it is made."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, NotRequired, TypedDict, TypeVar

from opensapiens.labels.keypoints import KEYPOINT_SETS, KeypointSet
from opensapiens.labels.own_labels import (
    keypoint_set_from_json,
    keypoint_set_to_json,
    part_set_from_json,
    part_set_to_json,
)
from opensapiens.labels.parts import PART_SETS, PartSet
from opensapiens.models.vit import ViTConfig

from .strict_loading import CheckpointError

IMAGE_MEAN = (123.675, 116.28, 103.53)
IMAGE_STD = (58.395, 57.12, 57.375)
"""Mean and standard deviation of 0-255 RGB that the published weights were trained with; ours use the same."""

LabelSet = TypeVar("LabelSet", KeypointSet, PartSet)

TASK_CHANNELS = {"depth": 1, "normals": 3}
"""Output channels of the tasks without a label set; their heads can be located."""


class HeadDescription(TypedDict):
    """One head: channels of its layers, and the label set its output channels follow (None for depth and normals).

    labels: the name of a known set, or the set itself as `label_entry` writes it. located: its output has a
    channel more, by which depth or normals change with the crop's place in the picture: `tasks.location`.
    """

    out_channels: int
    deconv_channels: list[int]
    conv_channels: list[int]
    labels: str | dict[str, Any] | None
    dropout: NotRequired[float]
    located: NotRequired[bool]


class DecoderDescription(TypedDict):
    """The decoder of a masked autoencoder: its width, its blocks and their attention heads."""

    embed_dim: int
    layers: int
    heads: int


class Preprocessing(TypedDict):
    """What an image goes through before the network.

    input_size is (height, width); mean and std are of 0-255 RGB; resize is "person_crop" (a padded box warped to the
    input's aspect), "squash" (the whole image, aspect not kept) or "letterbox" (the whole image, aspect kept, borders
    in the mean colour); box_padding multiplies the person's box. flip_test: average with the mirrored image, as the
    published pose models do. interpolation: how a whole image is resized, by default "linear" (OpenCV's bilinear);
    "bicubic" is Pillow's, which the published pretrained backbones take.
    """

    input_size: list[int]
    mean: list[float]
    std: list[float]
    resize: Literal["person_crop", "squash", "letterbox"]
    box_padding: float
    flip_test: NotRequired[bool]
    interpolation: NotRequired[Literal["linear", "bicubic"]]


def standard_preprocessing(
    input_size: tuple[int, int], resize: Literal["person_crop", "squash"] = "person_crop", box_padding: float = 1.25
) -> Preprocessing:
    """The preprocessing of published and own weights for a (height, width), with the usual mean and std."""
    return {
        "input_size": list(input_size),
        "mean": list(IMAGE_MEAN),
        "std": list(IMAGE_STD),
        "resize": resize,
        "box_padding": box_padding,
    }


@dataclass(frozen=True)
class ModelDescription:
    """What the config.json of a model folder holds.

    Attributes:
        name: what the model is called.
        vit: the backbone.
        heads: task ("pose", "segmentation", "depth", "normals") -> its head; empty for a pretrained backbone.
        preprocessing: what the weights expect of their input.
        licence: SPDX name of the weights' licence, or words.
        source: where the weights come from.
        metrics: how the model scored, any JSON.
        decoder: what a masked autoencoder has beside its backbone, None for all other models.
        sha256: of the published file that the weights were converted from, empty for our own.

    Raises:
        CheckpointError: an unknown task or label set, or a head whose channels are not as many as its labels.
    """

    name: str
    vit: ViTConfig
    heads: dict[str, HeadDescription]
    preprocessing: Preprocessing
    licence: str = ""
    source: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    decoder: DecoderDescription | None = None
    sha256: str = ""

    def __post_init__(self) -> None:
        for key in ("name", "licence", "source", "sha256"):
            if not isinstance(getattr(self, key), str):
                raise CheckpointError(f"{key} must be text, not {getattr(self, key)!r}")
        for key in ("heads", "metrics"):
            if not isinstance(getattr(self, key), dict):
                raise CheckpointError(f"{key} must be an object, not {getattr(self, key)!r}")
        for task, head in self.heads.items():
            _check_head(task, head, f"model {self.name!r}, head {task!r}")
        if self.decoder is not None:
            _check_decoder(self.decoder, self.vit, f"model {self.name!r}, decoder")
        _check_preprocessing(self.preprocessing, f"model {self.name!r}, preprocessing")
        # Tuples become the lists that JSON gives back, so that a description equals the one read from its own file.
        object.__setattr__(self, "heads", {task: _with_lists(head) for task, head in self.heads.items()})
        object.__setattr__(self, "preprocessing", _with_lists(self.preprocessing))

    @property
    def located_heads(self) -> tuple[str, ...]:
        """The heads whose maps depend on where in the picture the crop lies."""
        return tuple(task for task, head in self.heads.items() if head.get("located", False))

    @cached_property
    def keypoint_set(self) -> KeypointSet | None:
        """What the channels of the pose head are; None without one."""
        return _keypoint_set(self.heads["pose"]["labels"]) if "pose" in self.heads else None

    @cached_property
    def part_set(self) -> PartSet | None:
        """What the channels of the segmentation head are; None without one."""
        return _part_set(self.heads["segmentation"]["labels"]) if "segmentation" in self.heads else None

    def to_json(self) -> dict[str, Any]:
        """A dict that json can write and from_json reads back."""
        return asdict(self)

    @staticmethod
    def from_json(content: Any, where: str = "config.json") -> "ModelDescription":
        """Build from what json read.

        Raises:
            CheckpointError: an unknown or missing key, or a value of the wrong kind; it says which, and where.
        """
        required = ("name", "vit", "heads", "preprocessing")
        content = _checked_keys(content, required, ("licence", "source", "metrics", "decoder", "sha256"), where)
        vit = _checked_keys(
            content["vit"],
            ("image_size", "embed_dim", "layers", "heads"),
            ("patch_size", "patch_padding", "mlp_ratio", "class_token", "stem_channels"),
            f"{where}, vit",
        )
        _check_vit(vit, f"{where}, vit")
        try:
            return ModelDescription(**{**content, "vit": ViTConfig(**vit)})
        except CheckpointError as error:
            raise CheckpointError(f"{where}: {error}") from error
        except ValueError as error:
            raise CheckpointError(f"{where}, vit: {error}") from error


def label_entry(labels: KeypointSet | PartSet) -> str | dict[str, Any]:
    """A label set as a head's description holds it: the name of a known set, any other set in full."""
    if labels in (*KEYPOINT_SETS.values(), *PART_SETS.values()):
        return labels.name
    return keypoint_set_to_json(labels) if isinstance(labels, KeypointSet) else part_set_to_json(labels)


def _keypoint_set(entry: Any) -> KeypointSet:
    """Back from `label_entry`. ValueError for no known name, or an object that is no set."""
    return keypoint_set_from_json(entry) if isinstance(entry, Mapping) else _known(entry, KEYPOINT_SETS)


def _part_set(entry: Any) -> PartSet:
    return part_set_from_json(entry) if isinstance(entry, Mapping) else _known(entry, PART_SETS)


def _known(name: Any, sets: Mapping[str, LabelSet]) -> LabelSet:
    if not isinstance(name, str) or name not in sets:
        raise ValueError(f"no label set {name!r} for this task; there are {', '.join(sets)}")
    return sets[name]


def _with_lists(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in content.items()}


def _checked_keys(found: Any, required: Collection[str], optional: Collection[str], where: str) -> dict[str, Any]:
    """The object itself, once it has all required keys and none that is not known."""
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{where} must be an object, not {found!r}")
    unknown = [key for key in found if key not in required and key not in optional]
    missing = [key for key in required if key not in found]
    if unknown:
        known = ", ".join([*required, *optional])
        raise CheckpointError(f"{where}: unknown key {', '.join(map(repr, unknown))}; known are {known}")
    if missing:
        raise CheckpointError(f"{where}: missing key {', '.join(map(repr, missing))}")
    return dict(found)


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _are_counts(value: Any, length: int | None = None) -> bool:
    return isinstance(value, list | tuple) and len(value) == (length or len(value)) and all(map(_is_count, value))


def _are_numbers(value: Any, length: int) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == length
        and all(isinstance(x, int | float) and not isinstance(x, bool) for x in value)
    )


def _check_vit(vit: Mapping[str, Any], where: str) -> None:
    for key, value in vit.items():
        if key == "image_size":
            right = _are_counts(value, 2)
        elif key == "stem_channels":
            right = _are_counts(value)
        elif key == "class_token":
            right = isinstance(value, bool)
        else:
            right = _is_count(value, least=0 if key in ("patch_padding", "layers") else 1)
        if not right:
            raise CheckpointError(f"{where}: {key} cannot be {value!r}")


def _check_head(task: str, head: Mapping[str, Any], where: str) -> None:
    label_sets: dict[str, Callable[[Any], KeypointSet | PartSet]] = {"pose": _keypoint_set, "segmentation": _part_set}
    tasks = (*label_sets, *TASK_CHANNELS)
    if task not in tasks:
        raise CheckpointError(f"{where}: no such task; there are {', '.join(tasks)}")
    _checked_keys(head, ("out_channels", "deconv_channels", "conv_channels", "labels"), ("dropout", "located"), where)
    for key in ("deconv_channels", "conv_channels"):
        if not _are_counts(head[key]):
            raise CheckpointError(f"{where}: {key} must be a list of positive whole numbers, not {head[key]!r}")
    dropout = head.get("dropout", 0.0)
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise CheckpointError(f"{where}: dropout must be in [0, 1), not {dropout!r}")
    located = head.get("located", False)
    if not isinstance(located, bool) or (located and task not in TASK_CHANNELS):
        raise CheckpointError(f"{where}: located cannot be {located!r}")
    labels = head["labels"]
    if task in label_sets:
        try:
            label_set = label_sets[task](labels)
        except ValueError as error:
            raise CheckpointError(f"{where}: {error}") from error
        labels, channels = label_set.name, len(label_set)
    else:
        if labels is not None:
            raise CheckpointError(f"{where}: {task} has no labels, yet {labels!r} are named")
        channels = TASK_CHANNELS[task]
    if head["out_channels"] != channels:
        raise CheckpointError(f"{where}: {head['out_channels']!r} output channels, but {labels or task} has {channels}")


def _check_decoder(decoder: Mapping[str, Any], vit: ViTConfig, where: str) -> None:
    _checked_keys(decoder, DecoderDescription.__annotations__, (), where)
    for key, value in decoder.items():
        if not _is_count(value):
            raise CheckpointError(f"{where}: {key} cannot be {value!r}")
    if decoder["embed_dim"] % decoder["heads"]:
        raise CheckpointError(f"{where}: embed_dim {decoder['embed_dim']} is not divisible by {decoder['heads']} heads")
    if not vit.class_token:
        raise CheckpointError(f"{where}: the backbone of a masked autoencoder has a class token, this one has none")


def _check_preprocessing(preprocessing: Mapping[str, Any], where: str) -> None:
    optional = ("flip_test", "interpolation")
    required = tuple(key for key in Preprocessing.__annotations__ if key not in optional)
    _checked_keys(preprocessing, required, optional, where)
    rules = {
        "input_size": _are_counts(preprocessing["input_size"], 2),
        "mean": _are_numbers(preprocessing["mean"], 3),
        "std": _are_numbers(preprocessing["std"], 3) and min(preprocessing["std"]) > 0,
        "resize": preprocessing["resize"] in ("person_crop", "squash", "letterbox"),
        "box_padding": _are_numbers([preprocessing["box_padding"]], 1) and preprocessing["box_padding"] > 0,
        "flip_test": isinstance(preprocessing.get("flip_test", False), bool),
        "interpolation": preprocessing.get("interpolation", "linear") in ("linear", "bicubic"),
    }
    for key, right in rules.items():
        if not right:
            raise CheckpointError(f"{where}: {key} cannot be {preprocessing[key]!r}")
