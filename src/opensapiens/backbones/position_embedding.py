"""Absolute position embeddings: the fixed sine-cosine table and the bicubic resize between grids."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sincos_2d(embed_dim: int, grid: tuple[int, int], prefix: int = 0) -> Tensor:
    """Fixed two-dimensional sine-cosine table.

    For the position in row r and column c: [sin(r w), cos(r w), sin(c w), cos(c w)], a quarter of the width each, not
    interleaved, with w_k = 10000^(-k / (embed_dim / 4)). Rows come first, as in the published Sapiens code; the
    original masked autoencoder puts columns first.

    Args:
        embed_dim: width of the embedding, a multiple of 4.
        grid: rows and columns of the patch grid.
        prefix: rows of zeros before the table, one per token that is not a patch.

    Returns:
        (1, prefix + rows * columns, embed_dim) float32.
    """
    if embed_dim % 4:
        raise ValueError(f"a two-dimensional sine-cosine table needs a width divisible by 4, not {embed_dim}")
    quarter = embed_dim // 4
    # float64 until the end: float32 angles of far positions differ in the published table's last digit.
    frequencies = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    rows, columns = torch.meshgrid(
        torch.arange(grid[0], dtype=torch.float64), torch.arange(grid[1], dtype=torch.float64), indexing="ij"
    )
    row_angles = rows.reshape(-1, 1) * frequencies
    column_angles = columns.reshape(-1, 1) * frequencies
    table = torch.cat([row_angles.sin(), row_angles.cos(), column_angles.sin(), column_angles.cos()], dim=1)
    if prefix:
        table = torch.cat([table.new_zeros(prefix, embed_dim), table])
    return table.float().unsqueeze(0)


def resize_position_embedding(position_1ND: Tensor, source: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """Resizes an embedding (1, rows * columns, D), without class token, from one (rows, columns) grid to another.

    Bicubic, corners not aligned, no antialiasing, in float32, as published. Equal grids return the argument.
    """
    if not any(isinstance(side, torch.SymInt) for side in target) and source == target:
        return position_1ND  # a graph for images of any size cannot ask whether the grid is the trained one
    _, length, width = position_1ND.shape
    if length != source[0] * source[1]:
        raise ValueError(f"a position embedding of {length} rows does not fit a grid of {source[0]}x{source[1]}")
    image = position_1ND.float().reshape(1, source[0], source[1], width).permute(0, 3, 1, 2)
    resized = F.interpolate(image, size=target, mode="bicubic", align_corners=False)
    return resized.flatten(2).transpose(1, 2).to(position_1ND.dtype)
