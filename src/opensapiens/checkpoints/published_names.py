"""Names of tensors in the published Sapiens files against ours. Pure maps of dicts, both ways; nothing is left over.

The published files come in these layouts: a pretrained backbone is flat; a task has "backbone." and "head." (pose) or
"decode_head." (segmentation, depth, normals); a whole masked autoencoder has "backbone." and "neck.". Ours are
VisionTransformer's names, HumanModel's ("backbone.", "heads.TASK.") and MaskedAutoencoder's ("encoder.", "decoder.").
"""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from .strict_loading import CheckpointError

Value = TypeVar("Value")
Rules = list[tuple[str, str]]
"""(published, ours) name templates. {i} is a number that both share; {3i} is three times the other's: a step of a
published head is a convolution, a norm and an activation, of which only the first has tensors."""


class UnmappedNamesError(CheckpointError):
    """Tensors whose names a layout does not have. `names` lists them all."""

    def __init__(self, names: Iterable[str], layout: str, source: str = "") -> None:
        self.names, self.layout = sorted(names), layout
        where = f"{source}: " if source else ""
        super().__init__(f"{where}{len(self.names)} tensors are not of the layout {layout!r}: {', '.join(self.names)}")


def _layer(published: str, ours: str) -> Rules:
    return [(f"{published}.{kind}", f"{ours}.{kind}") for kind in ("weight", "bias")]


def _blocks(published: str) -> Rules:
    inner = [
        ("ln1", "norm1"),
        ("attn.qkv", "attention.qkv"),
        ("attn.proj", "attention.projection"),
        ("ln2", "norm2"),
        ("ffn.layers.0.0", "mlp.fc1"),
        ("ffn.layers.1", "mlp.fc2"),
    ]
    return [rule for a, b in inner for rule in _layer(f"{published}.{{i}}.{a}", f"blocks.{{i}}.{b}")]


def _head(output: str) -> Rules:
    return [
        ("deconv_layers.{3i}.weight", "deconvs.{i}.weight"),
        *_layer("conv_layers.{3i}", "convs.{i}"),
        *_layer(output, "output"),
    ]


def _under(published: str, ours: str, rules: Rules) -> Rules:
    return [(f"{published}.{a}", f"{ours}.{b}") for a, b in rules]


_BACKBONE: Rules = [
    ("cls_token", "class_token"),
    ("pos_embed", "position_embedding"),
    *_layer("patch_embed.projection", "patch_embedding.projection"),
    *_blocks("layers"),
    *_layer("ln1", "norm"),
]
_DECODER: Rules = [
    ("mask_token", "mask_token"),
    ("decoder_pos_embed", "position_embedding"),
    *_layer("decoder_embed", "embedding"),
    *_blocks("decoder_blocks"),
    *_layer("ln1", "norm"),
    *_layer("decoder_pred", "output"),
]
_DENSE: Rules = _head("conv_seg")

LAYOUTS: dict[str, Rules] = {
    "backbone": _BACKBONE,
    "pose": _under("backbone", "backbone", _BACKBONE) + _under("head", "heads.pose", _head("final_layer")),
    **{
        task: _under("backbone", "backbone", _BACKBONE) + _under("decode_head", f"heads.{task}", _DENSE)
        for task in ("segmentation", "depth", "normals")
    },
    "masked_autoencoder": _under("backbone", "encoder", _BACKBONE) + _under("neck", "decoder", _DECODER),
}
"""Layout -> its rules. A task's layout is its whole model; "backbone" is the flat file of pretraining."""

_NUMBERS = {"{i}": 1, "{3i}": 3}


def _translate(name: str, source: str, target: str) -> str | None:
    """The name by the target template if it follows the source template, else None."""
    pattern = re.escape(source).replace(r"\{i\}", r"(\d+)").replace(r"\{3i\}", r"(\d+)")
    match = re.fullmatch(pattern, name)
    if match is None:
        return None
    if not match.groups():
        return target
    source_step, target_step = (
        next(step for mark, step in _NUMBERS.items() if mark in template) for template in (source, target)
    )
    index, rest = divmod(int(match[1]), source_step)
    return None if rest else re.sub(r"\{3?i\}", str(index * target_step), target)


def _renamed(tensors: Mapping[str, Value], rules: Rules, layout: str) -> dict[str, Value]:
    renamed: dict[str, Value] = {}
    unmapped = []
    for name, value in tensors.items():
        found = [new for source, target in rules if (new := _translate(name, source, target)) is not None]
        if found:
            renamed[found[0]] = value
        else:
            unmapped.append(name)
    if unmapped:
        raise UnmappedNamesError(unmapped, layout)
    return renamed


def _rules(layout: str) -> Rules:
    if layout not in LAYOUTS:
        raise ValueError(f"no layout {layout!r}; there are {', '.join(LAYOUTS)}")
    return LAYOUTS[layout]


def from_published(tensors: Mapping[str, Value], layout: str) -> dict[str, Value]:
    """Published names to ours; the values (tensors, shapes, anything) pass through untouched.

    Raises:
        UnmappedNamesError: lists every name that the layout does not have.
        ValueError: no such layout.
    """
    return _renamed(tensors, _rules(layout), layout)


def to_published(tensors: Mapping[str, Value], layout: str) -> dict[str, Value]:
    """Our names to the published ones; the inverse of from_published.

    Raises:
        UnmappedNamesError: lists every name that the layout does not have.
        ValueError: no such layout.
    """
    return _renamed(tensors, [(ours, published) for published, ours in _rules(layout)], layout)
