"""Attention over packed rows that share a prefix, for tuning and inference.

Shapes: B rows, P tokens of the shared prefix, T tokens of the longest row after it, N tokens in all,
H query heads, G key heads, W head width, C columns of the cache.
Tokens are packed flat, without padding: the prefix once, then the rows. Only attention uses (B, T).
Attention is causal, so the prefix gives the same result for every row and is computed once, not B times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

MAX_MATERIALIZED_SCORES = 1 << 24  # above this, use a kernel that does not hold all scores
SPARE_COLUMNS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Rows of tokens, with their shared prefix stored once.

    Attributes:
        ids: (N).
        positions: (N), from 0 in each row.
        lengths: Length of each row after the prefix, (B).
        prefix: P.
    """

    ids: Tensor
    positions: Tensor
    lengths: Tensor
    prefix: int

    @property
    def shape(self) -> tuple[int, int]:
        """(B, T)."""
        return len(self.lengths), int(self.lengths.max())

    def at(self, row: Tensor, position: Tensor) -> Tensor:
        """Return the flat index of a position (after the prefix) in a row."""
        return (self.lengths.cumsum(0) - self.lengths)[row] + position

    def cells(self) -> Tensor:
        """Return the flat indexes in (B, T) of the tokens after the prefix."""
        length = self.shape[1]
        return (torch.arange(length) < self.lengths[:, None]).flatten().nonzero()[:, 0]


def pack(rows: Sequence[Sequence[int]], max_prefix: int) -> Packed:
    """Pack rows with a shared prefix of at most ``max_prefix`` tokens."""
    low, high = min(map(tuple, rows)), max(map(tuple, rows))  # all rows sort between these two
    differing = (number for number in range(max_prefix) if low[number] != high[number])
    prefix = next(differing, max_prefix)
    tails = [row[prefix:] for row in rows]
    ids = [*rows[0][:prefix], *(token for tail in tails for token in tail)]
    positions = [torch.arange(prefix, len(row)) for row in rows]
    return Packed(
        torch.tensor(ids),
        torch.cat([torch.arange(prefix), *positions]),
        torch.tensor([len(tail) for tail in tails]),
        prefix,
    )


class PackedAttention:
    """Causal attention of every row over the prefix and itself; fills a cache if there is one."""

    def __init__(self, packed: Packed, cache: Cache | None = None) -> None:
        """Build the masks once for all layers."""
        self.packed = packed
        self.cache = cache
        length = packed.shape[1]
        whole = _causal(packed.prefix + length)
        self.prefix_mask = whole[: packed.prefix, : packed.prefix]
        self.row_mask = whole[packed.prefix :]
        padded = int(packed.lengths.min()) < length
        self.cells = packed.cells() if padded else None

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend: q (N, H, W), k and v (N, G, W) to (N, H*W)."""
        prefix, rows = self.packed.prefix, len(self.packed.lengths)
        own_q, keys, values = (self._padded(x[prefix:]) for x in (q, k, v))
        if prefix:
            keys = torch.cat([k[:prefix].expand(rows, -1, -1, -1), keys], 1)
            values = torch.cat([v[:prefix].expand(rows, -1, -1, -1), values], 1)
        if self.cache is not None:
            self.cache.fill(layer, keys, values)
        own = attend(own_q, keys, values, self.row_mask).flatten(0, 1)
        own = own if self.cells is None else own.index_select(0, self.cells)
        if not prefix:
            return own
        first = attend(q[None, :prefix], k[None, :prefix], v[None, :prefix], self.prefix_mask)
        return torch.cat([first[0], own])

    def _padded(self, x: Tensor) -> Tensor:
        rows, length = self.packed.shape
        if self.cells is not None:
            x = x.new_zeros(rows * length, *x.shape[1:]).index_copy(0, self.cells, x)
        return x.view(rows, length, *x.shape[1:])


class Cache:
    """Keys and values of the rows being generated, with spare columns."""

    def __init__(self, packed: Packed, layers: int) -> None:
        """Columns are the prefix, the padded rows, then one per generated token."""
        length = packed.shape[1]
        self.used = packed.prefix + length
        columns = torch.arange(self.used)
        self.mask = torch.where(columns < packed.prefix + packed.lengths[:, None], 0.0, -torch.inf)
        self.positions = packed.prefix + packed.lengths
        self.keys: list[Tensor] = [torch.empty(0)] * layers
        self.values: list[Tensor] = [torch.empty(0)] * layers

    def fill(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Store the keys and values of the prompts, (B, P + T, G, W) each."""
        padding = (0, 0, 0, 0, 0, SPARE_COLUMNS)
        self.keys[layer], self.values[layer] = (
            functional.pad(keys, padding),
            functional.pad(values, padding),
        )

    def advance(self) -> None:
        """Add the next column."""
        self.used += 1
        self.positions = self.positions + 1
        self.mask = functional.pad(self.mask, (0, 1))

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these."""
        self.mask, self.positions = self.mask[rows], self.positions[rows]
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from one new token per row: q (B, H, W), k and v (B, G, W) to (B, H*W)."""
        if self.used > self.keys[layer].shape[1]:
            self.fill(layer, self.keys[layer], self.values[layer])
        keys, values = self.keys[layer][:, : self.used], self.values[layer][:, : self.used]
        keys[:, -1], values[:, -1] = k, v
        return attend(q[:, None], keys, values, self.mask[:, None, None])[:, 0]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Softmax attention with grouped heads; explicit products are fastest for short rows.

    Args:
        q: (B, Tq, H, W).
        k: (B, Tk, G, W), each of the G heads serves H / G query heads.
        v: Like ``k``.
        mask: Added to the scores, (Tq, Tk) or (B, 1, 1, Tk): 0 or -inf.

    Returns:
        (B, Tq, H*W).
    """
    rows, length, heads, width = q.shape
    groups, columns = k.shape[2], k.shape[1]
    if rows * heads * length * columns > MAX_MATERIALIZED_SCORES:
        return _attend_long(q, k, v, mask)
    grouped = q.view(rows, length, groups, heads // groups, width).permute(0, 2, 3, 1, 4)
    grouped = grouped.reshape(rows, groups, -1, width)
    scores = (grouped @ k.permute(0, 2, 3, 1)).view(rows, groups, -1, length, columns)
    if mask.dim() > 2:  # noqa: PLR2004  a mask per row: add the dimension of heads in a group
        mask = mask[:, :, None]
    weights = torch.softmax(scores * width**-0.5 + mask, -1, dtype=torch.float32).to(q.dtype)
    out = weights.view(rows, groups, -1, columns) @ v.transpose(1, 2)
    out = out.view(rows, heads, length, width).transpose(1, 2)
    return out.reshape(rows, length, heads * width)


def _attend_long(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    mask = mask.to(q.dtype)
    out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    return out.transpose(1, 2).flatten(2)


def _causal(length: int) -> Tensor:
    return torch.full((length, length), -torch.inf).triu(1)
