"""The two halves of a Sapiens2 block: attention with shared keys and values, and a gated MLP.

Axes in names: B batch, N tokens, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rotary import rotate
from .transformer import attend

NORM_EPS = 1e-6
SCALE_START = 1e-4


class GroupedAttention(nn.Module):
    """Self-attention in which several heads of queries share one of keys and values."""

    def __init__(self, embed_dim: int, heads: int, key_value_heads: int, plain: bool) -> None:
        """plain: neither norms of queries and keys nor a learned scale of the output."""
        super().__init__()
        self.head_dim = embed_dim // heads
        self.group = heads // key_value_heads
        shared = key_value_heads * self.head_dim
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(embed_dim, shared)
        self.value = nn.Linear(embed_dim, shared)
        self.query_norm = nn.Identity() if plain else nn.RMSNorm(self.head_dim, eps=NORM_EPS)
        self.key_norm = nn.Identity() if plain else nn.RMSNorm(self.head_dim, eps=NORM_EPS)
        self.projection = nn.Linear(embed_dim, embed_dim)
        self.scale = None if plain else nn.Parameter(torch.full((embed_dim,), SCALE_START))

    def forward(self, tokens_BND: Tensor, rotation_2ND: Tensor | None) -> Tensor:
        """(B, N, D) to (B, N, D). rotation_2ND: see `rotary.rotate`; None = no positions."""
        query, key, value = (
            layer(tokens_BND).unflatten(2, (-1, self.head_dim)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        query, key = self.query_norm(query), self.key_norm(key)
        if rotation_2ND is not None:
            query, key = rotate(query, rotation_2ND), rotate(key, rotation_2ND)
        if self.group > 1:
            key, value = (part.repeat_interleave(self.group, dim=1) for part in (key, value))
        mixed = attend(query.to(value.dtype), key.to(value.dtype), value)  # with autocast the norms give float32
        mixed = self.projection(mixed.transpose(1, 2).flatten(2))
        return mixed if self.scale is None else mixed * self.scale


class GatedMLP(nn.Module):
    """Two linear layers with a SiLU gate between (SwiGLU, arXiv 2002.05202); the gate is the first half of `fc1`."""

    def __init__(self, embed_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, 2 * hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        gate, values = self.fc1(tokens_BND).chunk(2, dim=-1)
        return self.fc2(F.silu(gate) * values)
