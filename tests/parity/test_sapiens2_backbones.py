"""Backbones of Sapiens2, and the copy of the older one beside them, against the numbers of the published code."""

import re
from typing import Any

import pytest
import torch

from opensapiens.backbones.rotary import rotary_periods
from opensapiens.backbones.sapiens import PUBLISHED_TENSORS as SAPIENS_TENSORS
from opensapiens.backbones.sapiens import SapiensBackbone, SapiensConfig
from opensapiens.backbones.sapiens2 import PUBLISHED_TENSORS, Sapiens2Backbone, Sapiens2Config
from opensapiens.backbones.transformer import MLP
from opensapiens.checkpoints.strict_loading import load_strictly
from opensapiens.checkpoints.tensor_names import renamed

from .cases import Case, cases, name_of

ROPE = {"bfloat16": "output.", "float32": "output.rope_fp32."}
"""Type of the rotation -> how the names of its outputs begin."""


def backbone_config(case: Case, rope_dtype: str = "bfloat16") -> Sapiens2Config:
    """The backbone of a case of Sapiens2, also as part of a task's model."""
    said, built = case.description, case.description.get("build_cfg", {})
    window = built["window_size"] if built.get("use_tokenizer") else 1
    layers = {name.split(".")[3] for name in case.arrays if name.startswith("weights.tokenizer.blocks.")}
    (registers,) = (array for name, array in case.arrays.items() if re.fullmatch(r"weights\..*storage_tokens", name))
    size = said["image_sizes_hw"][0] if "image_sizes_hw" in said else said["image_size_hw"]
    shape: dict[str, Any] = said["arch"]
    return Sapiens2Config(
        tuple(size),
        shape["embed_dims"],
        shape["num_layers"],
        shape["num_heads"],
        tuple(said["num_kv_heads_per_layer"]),
        shape["feedforward_channels"],
        registers.shape[1],
        patch_size=built.get("patch_size", 16) * window,
        window=window,
        tokenizer_layers=len(layers),
        rope_dtype=rope_dtype,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("rope_dtype", ROPE)
@pytest.mark.parametrize("case", cases("backbone"), ids=name_of)
@torch.no_grad()
def test_backbone(case: Case, rope_dtype: str) -> None:
    config = backbone_config(case, rope_dtype)
    backbone = Sapiens2Backbone(config).eval()
    load_strictly(backbone, renamed(case.under("weights."), PUBLISHED_TENSORS, "backbone"), case.name)
    case.assert_close("input.rope_periods_fp32", rotary_periods(config.head_dim, "float32"))
    last = config.layers - 1
    for run in range(len(case.description["image_sizes_hw"])):
        images, prefix = case.tensor(f"input.r{run}.image"), f"{ROPE[rope_dtype]}r{run}."
        tokens, rotation, grid = backbone.embed(images)
        case.assert_close(f"{prefix}rope_cos", rotation[0].float())
        case.assert_close(f"{prefix}rope_sin", rotation[1].float())
        for number, block in enumerate(backbone.blocks):
            tokens = block(tokens, rotation)
            if number < last and f"{prefix}block{number}" in case.arrays:
                case.assert_close(f"{prefix}block{number}", tokens)
        tokens = backbone.norm(tokens)
        case.assert_close(f"{prefix}block{last}", tokens)
        torch.testing.assert_close(backbone.tokens(images), tokens)
        if rope_dtype == "bfloat16":
            case.assert_close(f"{prefix}cls", tokens[:, 0])
            case.assert_close(f"{prefix}registers", tokens[:, 1 : config.prefix_tokens])
            case.assert_close(f"{prefix}patch_tokens", tokens[:, config.prefix_tokens :])
            case.assert_close(f"{prefix}featmap", backbone(images))
            assert grid == tuple(case.array(f"{prefix}featmap").shape[2:])


def older_backbone(
    case: Case, weights: dict[str, torch.Tensor], trained_grid: tuple[int, int], class_token: bool = True
) -> SapiensBackbone:
    """The older backbone with weights that are for a grid, fitted to the case's image size. Its MLPs have the width of
    the case, which need not be a multiple of the tokens'."""
    shape = case.description["arch"]
    patch = case.description["patch_size"]

    def config(size: tuple[int, int], token: bool) -> SapiensConfig:
        return SapiensConfig(size, shape["embed_dims"], shape["num_layers"], shape["num_heads"], class_token=token)

    backbone = SapiensBackbone(config(tuple(case.description["build_img_size_hw"]), class_token)).eval()
    for block in backbone.blocks:
        block.mlp = MLP(shape["embed_dims"], shape["feedforward_channels"])
    trained = config((trained_grid[0] * patch, trained_grid[1] * patch), True)
    load_strictly(backbone, backbone.fitted(renamed(weights, SAPIENS_TENSORS, "backbone"), trained), case.name)
    return backbone


@pytest.mark.parametrize("case", cases("v1 backbone"), ids=name_of)
@torch.no_grad()
def test_older_backbone(case: Case) -> None:
    weights = case.under("weights.")
    rows, columns = (side // case.description["patch_size"] for side in case.description["build_img_size_hw"])
    backbone = older_backbone(case, weights, (rows, columns))
    for run in range(len(case.description["image_sizes_hw"])):
        images = case.tensor(f"input.r{run}.image")
        tokens, _ = backbone.embed(images)
        for number, block in enumerate(backbone.blocks):
            tokens = block(tokens)
            if number + 1 < len(backbone.blocks) and f"output.r{run}.block{number}" in case.arrays:
                case.assert_close(f"output.r{run}.block{number}", tokens)
        case.assert_close(f"output.r{run}.block{len(backbone.blocks) - 1}", backbone.tokens(images))
        case.assert_close(f"output.r{run}.cls", backbone.tokens(images)[:, 0])
        case.assert_close(f"output.r{run}.featmap", backbone(images))
    without = older_backbone(case, weights, (rows, columns), class_token=False)
    case.assert_close("output.nocls.pos_embed", without.position_embedding)
    case.assert_close("output.nocls.r0.featmap", without(case.tensor("input.r0.image")))
    loads = case.description["ckpt_pos_embed_loads"].items()
    for size, outcome in loads:
        if outcome != "resized":  # there the published code silently keeps zeros, and ours raises an error
            continue
        grid, sides = f"ckpt{size}", tuple(map(int, size.split("x")))
        resized = older_backbone(case, weights | {"pos_embed": case.tensor(f"input.{grid}.pos_embed")}, sides)
        case.assert_close(f"output.{grid}.pos_embed", resized.position_embedding)
        case.assert_close(f"output.{grid}.r0.featmap", resized(case.tensor("input.r0.image")))
