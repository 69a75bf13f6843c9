"""What the vision transformers of all families share, and what it costs.

Axes in names: B batch, N tokens, D width, H and W rows and columns.
"""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .position_embedding import resize_position_embedding

LAYER_NORM_EPS = 1e-6
PLAIN_UP_TO = 512  # tokens for which the full attention matrix may be in memory


class PatchConvolution(nn.Module):
    """The published patch embedding: one convolution with stride = kernel = patch.

    padding: zeros around the image.
    """

    def __init__(self, embed_dim: int, patch_size: int, padding: int = 0) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, embed_dim, patch_size, stride=patch_size, padding=padding)
        # Xavier over the flattened (D, 3 p p) matrix, as a linear layer; the bias keeps PyTorch's default.
        nn.init.xavier_uniform_(self.projection.weight.view(embed_dim, -1))

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Normalized images to a (B, D, rows, columns) map; a remainder after whole patches is dropped."""
        return self.projection(images_B3HW)


def in_whole_patches(images_B3HW: Tensor, patch_size: int) -> Tensor:
    """Images zero-padded on the right and at the bottom to whole patches."""
    below, right = -images_B3HW.shape[2] % patch_size, -images_B3HW.shape[3] % patch_size
    return F.pad(images_B3HW, (0, right, 0, below)) if below or right else images_B3HW


class Attention(nn.Module):
    """Multi-head self-attention; one fused linear layer computes queries, keys and values, in that order."""

    def __init__(self, embed_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.projection = nn.Linear(embed_dim, embed_dim)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        batch, length, width = tokens_BND.shape
        qkv = self.qkv(tokens_BND).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind()
        mixed = attend(query, key, value)
        return self.projection(mixed.transpose(1, 2).reshape(batch, length, width))


def attend(query_BHND: Tensor, key_BHND: Tensor, value_BHND: Tensor) -> Tensor:
    """Scaled dot-product attention; (B, heads, N, D) to the same shape."""
    if query_BHND.device.type == "cpu" and query_BHND.dtype == torch.bfloat16 and query_BHND.shape[2] <= PLAIN_UP_TO:
        # PyTorch's kernel for this case is five times slower, forward and backward.
        weights = (query_BHND * query_BHND.shape[-1] ** -0.5) @ key_BHND.transpose(-2, -1)
        return weights.softmax(dim=-1) @ value_BHND
    return F.scaled_dot_product_attention(query_BHND, key_BHND, value_BHND)


class MLP(nn.Module):
    """Two linear layers with the exact (erf) GELU between."""

    def __init__(self, embed_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        return self.fc2(F.gelu(self.fc1(tokens_BND)))


class Block(nn.Module):
    """One pre-norm transformer block. No dropout, stochastic depth or layer scale: the published models use none."""

    def __init__(self, embed_dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.attention = Attention(embed_dim, heads)
        self.norm2 = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.mlp = MLP(embed_dim, mlp_ratio * embed_dim)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        tokens_BND = tokens_BND + self.attention(self.norm1(tokens_BND))
        return tokens_BND + self.mlp(self.norm2(tokens_BND))


class Transformer(nn.Module):
    """Blocks and a final norm. The learned position embedding starts as a sine-cosine table."""

    position_embedding: nn.Parameter
    blocks: nn.ModuleList
    norm: nn.LayerNorm

    def encode(self, tokens_BND: Tensor) -> Tensor:
        """All blocks and the final norm."""
        for block in self.blocks:
            tokens_BND = block(tokens_BND)
        return self.norm(tokens_BND)

    def hold_positions(self) -> None:
        """Freezes the position embedding, as masked pretraining does."""
        self.position_embedding.requires_grad_(False)

    def layer_of(self, name: str) -> int:
        """The layer of a parameter: 0 for the embeddings, i + 1 for block i, len(blocks) + 1 for all others."""
        block = re.match(r"blocks\.(\d+)\.", name)
        if block is not None:
            return int(block[1]) + 1
        is_embedding = name.startswith(("patch_embedding.", "position_embedding", "class_token"))
        return 0 if is_embedding else len(self.blocks) + 1


def initialize_transformer(module: nn.Module) -> None:
    """Initializes all linear layers as published: Xavier-uniform weights, zero biases (MLP: Normal(0, 1e-6))."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if ".mlp." in f".{name}." and not layer.bias.is_meta:  # drawing there would import PyTorch's compiler
                nn.init.normal_(layer.bias, std=1e-6)
            else:
                nn.init.zeros_(layer.bias)


def block_multiply_adds(embed_dim: int, mlp_ratio: int, tokens: int) -> int:
    """Multiply-adds of one block: its linear layers and both attention products."""
    return linear_multiply_adds(embed_dim, mlp_ratio, tokens) + 2 * tokens**2 * embed_dim


def linear_multiply_adds(embed_dim: int, mlp_ratio: int, tokens: int) -> int:
    """Multiply-adds of one block's linear layers."""
    return (4 + 2 * mlp_ratio) * embed_dim**2 * tokens


def block_activation_bytes(embed_dim: int, heads: int, tokens: int, half: bool) -> int:
    """Bytes that one block with an MLP ratio of 4 and fused attention keeps for its backward pass.

    half: matrix products take 16-bit inputs; the residual stream and the inputs of norms stay float32, as with
    autocast. In units of tokens times width: the inputs of both norms (4 bytes each), of the four linear layers
    (1 + 1 + 1 + 4 widths) and of the GELU (4 widths), and queries, keys and values (3 widths).
    """
    narrow = 2 if half else 4
    norms = 2 * 4
    per_width = norms + narrow * (1 + 3 + 1 + 1 + 4 + 4)
    softmax_and_norm_statistics = 4 * (heads + 2 * 2)
    return tokens * (embed_dim * per_width + softmax_and_norm_statistics)


def fitted_transformer(
    tensors: Mapping[str, Tensor],
    trained_grid: tuple[int, int],
    trained_class_token: bool,
    grid: tuple[int, int],
    class_token: bool,
) -> dict[str, Tensor]:
    """A transformer's tensors for another patch grid, with or without a class token, as published.

    An unwanted class token is dropped with its row of the position embedding; the other rows are resized bicubically.
    The published code guesses both from the embedding's length and so cannot reload its own models with an odd number
    of patches.

    Raises:
        ValueError: no position embedding of the trained shape.
    """
    fitted = dict(tensors)
    positions, extra = fitted.get("position_embedding"), int(trained_class_token)
    expected = extra + trained_grid[0] * trained_grid[1]
    if positions is None or positions.ndim != 3 or positions.shape[1] != expected:
        shape = "none" if positions is None else f"one of shape {tuple(positions.shape)}"
        raise ValueError(f"a position_embedding of {expected} rows is needed, and there is {shape}")
    patch_positions = resize_position_embedding(positions[:, extra:], trained_grid, grid)
    if trained_class_token and not class_token:
        del fitted["class_token"]
    kept = [positions[:, :extra]] if class_token else []
    fitted["position_embedding"] = torch.cat([*kept, patch_positions], dim=1)
    return fitted


def grown(tensors: Mapping[str, Tensor], layers: int, wanted: int) -> dict[str, Tensor]:
    """The tensors of a transformer with more blocks that initially computes the same (LLaMA Pro, arXiv 2401.02415).

    Each of the last `wanted - layers` blocks is followed by a copy of itself whose two outputs into the residual stream
    are zero. Unchanged if `wanted` is not between `layers` and 2 * `layers`.
    """
    if not layers < wanted <= 2 * layers:
        return dict(tensors)
    result = {name: tensor for name, tensor in tensors.items() if not name.startswith("blocks.")}
    first_copied = 2 * layers - wanted
    for name in [name for name in tensors if name not in result]:
        _, number, rest = name.split(".", 2)
        block = int(number)
        place = block + max(0, block - first_copied)
        result[f"blocks.{place}.{rest}"] = tensors[name]
        if block >= first_copied:
            is_output = rest.startswith(("attention.projection.", "mlp.fc2."))
            result[f"blocks.{place + 1}.{rest}"] = torch.zeros_like(tensors[name]) if is_output else tensors[name]
    return result
