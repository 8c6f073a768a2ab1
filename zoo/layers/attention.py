"""Multi-head attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class Attention(nn.Module):
    """Self-attention over `num_attention_heads` heads, with separate query, key, value and output projections."""

    def __init__(self, *, hidden_size: int, num_attention_heads: int, dropout: float = 0.0, bias: bool = True) -> None:
        """hidden_size: width in and out, a multiple of num_attention_heads; dropout: of the attention weights."""
        super().__init__()
        self.num_attention_heads = num_attention_heads
        self.dropout = dropout
        self.query = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.key = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.value = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.output = nn.Linear(hidden_size, hidden_size, bias=bias)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Mix each position's values by softmax(q·k / sqrt(head_dim)).

        hidden: (batch, time, hidden); mask: bool, broadcastable to (batch, heads, time, time), True where a query may
        look, or None for everywhere. Returns (batch, time, hidden).
        """
        query, key, value = (
            self._heads(self.query(hidden)),
            self._heads(self.key(hidden)),
            self._heads(self.value(hidden)),
        )
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output

    def weights(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Give the attention weights (batch, heads, time, time) in float32, which the fused kernel does not return."""
        query, key = self._heads(self.query(hidden)).float(), self._heads(self.key(hidden)).float()
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        return scores.softmax(-1)

    def _heads(self, projected: Tensor) -> Tensor:
        """(batch, time, hidden) -> (batch, heads, time, head_dim)"""
        return projected.view(*projected.shape[:2], self.num_attention_heads, -1).transpose(1, 2)


def padding_mask(attention_mask: Tensor | None) -> Tensor | None:
    """Turn a (batch, time) mask, bool or 0/1, into one that attention broadcasts: bool (batch, 1, 1, time)."""
    return None if attention_mask is None else attention_mask.bool()[:, None, None, :]


@contextmanager
def recorded_attention(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the weights of every Attention inside `module`, in order of use, while the context lasts.

    They are computed from each layer's own input, so they are the same whichever kernel the forward pass runs.
    """
    recorded: list[Tensor] = []

    def record(attention: nn.Module, inputs: tuple[Tensor, Tensor | None]) -> None:
        assert isinstance(attention, Attention)
        with torch.no_grad():
            recorded.append(attention.weights(*inputs))

    handles = [m.register_forward_pre_hook(record) for m in module.modules() if isinstance(m, Attention)]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()
