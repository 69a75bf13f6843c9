"""What a model folder says of its model: the backbone, the heads, the preprocessing. Checked when it is made."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

from opensapiens.labels.keypoints import KEYPOINT_SETS
from opensapiens.labels.parts import PART_SETS
from opensapiens.models.vit import ViTConfig

from .strict_loading import CheckpointError

IMAGE_MEAN = (123.675, 116.28, 103.53)
IMAGE_STD = (58.395, 57.12, 57.375)
"""Mean and standard deviation of 0-255 RGB that the published weights were trained with; ours use the same."""

TASK_CHANNELS = {"depth": 1, "normals": 3}
"""Output channels of the tasks without a label set."""


class HeadDescription(TypedDict):
    """One head: channels of its layers, and the label set its output channels follow (None for depth and normals)."""

    out_channels: int
    deconv_channels: list[int]
    conv_channels: list[int]
    labels: str | None
    dropout: NotRequired[float]


class Preprocessing(TypedDict):
    """What an image goes through before the network.

    input_size is (height, width); mean and std are of 0-255 RGB; resize is "person_crop" (a padded box warped to the
    input's aspect) or "squash" (the whole image, aspect not kept); box_padding multiplies the person's box.
    """

    input_size: list[int]
    mean: list[float]
    std: list[float]
    resize: Literal["person_crop", "squash"]
    box_padding: float


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
        heads: task ("pose", "segmentation", "depth", "normals") -> its head.
        preprocessing: what the weights expect of their input.
        licence: SPDX name of the weights' licence, or words.
        source: where the weights come from.
        metrics: how the model scored, any JSON.

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

    def __post_init__(self) -> None:
        for key in ("name", "licence", "source"):
            if not isinstance(getattr(self, key), str):
                raise CheckpointError(f"{key} must be text, not {getattr(self, key)!r}")
        for key in ("heads", "metrics"):
            if not isinstance(getattr(self, key), dict):
                raise CheckpointError(f"{key} must be an object, not {getattr(self, key)!r}")
        for task, head in self.heads.items():
            _check_head(task, head, f"model {self.name!r}, head {task!r}")
        _check_preprocessing(self.preprocessing, f"model {self.name!r}, preprocessing")
        # Tuples become the lists that JSON gives back, so that a description equals the one read from its own file.
        object.__setattr__(self, "heads", {task: _with_lists(head) for task, head in self.heads.items()})
        object.__setattr__(self, "preprocessing", _with_lists(self.preprocessing))

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
        content = _checked_keys(content, required, ("licence", "source", "metrics"), where)
        vit = _checked_keys(
            content["vit"],
            ("image_size", "embed_dim", "layers", "heads"),
            ("patch_size", "patch_padding", "mlp_ratio", "class_token"),
            f"{where}, vit",
        )
        _check_vit(vit, f"{where}, vit")
        try:
            return ModelDescription(**{**content, "vit": ViTConfig(**vit)})
        except CheckpointError as error:
            raise CheckpointError(f"{where}: {error}") from error
        except ValueError as error:
            raise CheckpointError(f"{where}, vit: {error}") from error


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
        elif key == "class_token":
            right = isinstance(value, bool)
        else:
            right = _is_count(value, least=0 if key in ("patch_padding", "layers") else 1)
        if not right:
            raise CheckpointError(f"{where}: {key} cannot be {value!r}")


def _check_head(task: str, head: Mapping[str, Any], where: str) -> None:
    label_sets: dict[str, Mapping[str, Any]] = {"pose": KEYPOINT_SETS, "segmentation": PART_SETS}
    tasks = (*label_sets, *TASK_CHANNELS)
    if task not in tasks:
        raise CheckpointError(f"{where}: no such task; there are {', '.join(tasks)}")
    _checked_keys(head, ("out_channels", "deconv_channels", "conv_channels", "labels"), ("dropout",), where)
    for key in ("deconv_channels", "conv_channels"):
        if not _are_counts(head[key]):
            raise CheckpointError(f"{where}: {key} must be a list of positive whole numbers, not {head[key]!r}")
    dropout = head.get("dropout", 0.0)
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise CheckpointError(f"{where}: dropout must be in [0, 1), not {dropout!r}")
    labels = head["labels"]
    if task in label_sets:
        known = label_sets[task]
        if not isinstance(labels, str) or labels not in known:
            raise CheckpointError(f"{where}: no label set {labels!r} for this task; there are {', '.join(known)}")
        channels = len(known[labels].names)
    else:
        if labels is not None:
            raise CheckpointError(f"{where}: {task} has no labels, yet {labels!r} are named")
        channels = TASK_CHANNELS[task]
    if head["out_channels"] != channels:
        raise CheckpointError(f"{where}: {head['out_channels']!r} output channels, but {labels or task} has {channels}")


def _check_preprocessing(preprocessing: Mapping[str, Any], where: str) -> None:
    _checked_keys(preprocessing, Preprocessing.__annotations__, (), where)
    rules = {
        "input_size": _are_counts(preprocessing["input_size"], 2),
        "mean": _are_numbers(preprocessing["mean"], 3),
        "std": _are_numbers(preprocessing["std"], 3) and min(preprocessing["std"]) > 0,
        "resize": preprocessing["resize"] in ("person_crop", "squash"),
        "box_padding": _are_numbers([preprocessing["box_padding"]], 1) and preprocessing["box_padding"] > 0,
    }
    for key, right in rules.items():
        if not right:
            raise CheckpointError(f"{where}: {key} cannot be {preprocessing[key]!r}")
