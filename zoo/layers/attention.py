"""Multi-head attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2)."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from zoo.layers import widening
from zoo.layers.cache import LayerCache
from zoo.layers.linear import Linear
from zoo.layers.masks import Context
from zoo.layers.packing import PackedLinear
from zoo.layers.rotary import rotate

NOTHING = Context()


class Attention(nn.Module):
    """Attention with separate query, key, value and output projections, over the text itself or over a source."""

    def __init__(
        self,
        *,
        hidden_size: int,
        num_attention_heads: int,
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        output_bias: bool | None = None,
        causal: bool = False,
        cross: bool = False,
        scale: float | None = None,
        softcap: float | None = None,
        upcast: bool = False,
        query_norm: nn.Module | None = None,
        key_norm: nn.Module | None = None,
    ) -> None:
        """hidden_size: width in and out. num_key_value_heads: fewer where query heads share them (Ainslie et al. 2023).

        head_dim: None for hidden_size / num_attention_heads. dropout: of the attention weights. bias: of query, key and
        value; output_bias: None for the same. causal: no query sees a later position. cross: keys and values come from
        the context's source. scale: of the scores; None for 1 / sqrt(head_dim). softcap: scores s become
        softcap·tanh(s / softcap) (Gemma Team 2024). upcast: take scores in float32 whatever the weights' dtype.
        query_norm, key_norm: over each head's dimensions.
        """
        super().__init__()
        heads, kv_heads = num_attention_heads, num_key_value_heads or num_attention_heads
        self.head_dim = head_dim or hidden_size // heads
        self.num_attention_heads = heads
        self.num_key_value_heads = kv_heads
        self.dropout, self.causal, self.cross = dropout, causal, cross
        self.scale = self.head_dim**-0.5 if scale is None else scale
        self.softcap, self.upcast = softcap, upcast
        self.query = Linear(hidden_size, heads * self.head_dim, bias=bias)
        self.key = Linear(hidden_size, kv_heads * self.head_dim, bias=bias)
        self.value = Linear(hidden_size, kv_heads * self.head_dim, bias=bias)
        output_bias = bias if output_bias is None else output_bias
        self.output = Linear(heads * self.head_dim, hidden_size, bias=output_bias)
        self.query_norm, self.key_norm = query_norm, key_norm
        self.joinable = () if cross else ("query", "key", "value")  # see zoo.layers.packing.PackedWeights
        self.seldom = ("key", "value") if cross else ()
        self.joined: PackedLinear | None = None

    def forward(self, hidden: Tensor, context: Context = NOTHING, cache: LayerCache | None = None) -> Tensor:
        """Mix each position's values by softmax(q·k · scale).

        hidden: (batch, time, hidden). cache: what this layer read in earlier passes; it takes the new positions in.
        Returns (batch, time, hidden).
        """
        if self.cross:
            query = self._query(self._heads(self.query(hidden)), context)
            key, value = self._source(context, cache)
        else:
            query, key, value = self._project(hidden)
            query = self._query(query, context)
            key, value = self._text((key, value), context, cache)
        dropout = self.dropout if self.training else 0.0
        if self.softcap is None and not self.upcast:
            dtype = query.dtype
            if widening.pays(query, key):
                query, key, value = widening.widen(query, key, value)
            mask = self._mask(context, key.shape[2], query.dtype)
            mixed = F.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=mask,
                dropout_p=dropout,
                is_causal=self.causal and mask is None and query.shape[2] > 1,
                scale=self.scale,
                enable_gqa=self.num_key_value_heads != self.num_attention_heads,
            ).to(dtype)
        else:
            wide = (query.float(), key.float()) if self.upcast else (query, key)
            weights = F.dropout(self._weights(*wide, context).to(query.dtype), dropout)
            mixed = weights @ self._for_each_query(value)
        batch, _, time, _ = mixed.shape
        output: Tensor = self.output((mixed if time == 1 else mixed.transpose(1, 2)).reshape(batch, time, -1))
        return output

    def weights(self, hidden: Tensor, context: Context = NOTHING) -> Tensor:
        """Give the attention weights (batch, heads, time, keys) in float32, which the fused kernel does not return."""
        if self.cross:
            query, key = self._heads(self.query(hidden)), self._source(context, None)[0]
        else:
            query, *others = self._project(hidden)
            key = self._text((others[0], others[1]), context, None)[0]
        return self._weights(self._query(query, context).float(), key.float(), context)

    def _project(self, hidden: Tensor) -> Sequence[Tensor]:
        """Give the heads of query, key and value: (batch, heads, time, head_dim)."""
        if self.joined is not None:
            counts = (self.num_attention_heads, self.num_key_value_heads, self.num_key_value_heads)
            return torch.split_with_sizes(self._heads(self.joined(hidden)), counts, 1)
        return self._heads(self.query(hidden)), self._heads(self.key(hidden)), self._heads(self.value(hidden))

    def _query(self, query: Tensor, context: Context) -> Tensor:
        query = query if self.query_norm is None else self.query_norm(query)
        return query if context.rotary is None or self.cross else rotate(query, context.rotary)

    def _text(self, newest: tuple[Tensor, Tensor], context: Context, cache: LayerCache | None) -> tuple[Tensor, Tensor]:
        """Give keys and values of the text, those of the past that are kept included: (batch, kv_heads, keys, head_dim).

        newest: those of the new positions.
        """
        key, value = newest
        key = key if self.key_norm is None else self.key_norm(key)
        if context.rotary is not None and context.key_rotary is None:
            key = rotate(key, context.rotary)
        if cache is not None:
            key, value = cache.extend(key, value)
        if context.key_rotary is not None:
            cosines, sines = (part[:, :, -key.shape[2] :] for part in context.key_rotary)
            key = rotate(key, (cosines, sines))
        return key, value

    def _source(self, context: Context, cache: LayerCache | None) -> tuple[Tensor, Tensor]:
        """Give keys and values of the source, computed once where there is a cache."""
        if cache is not None and cache.source is not None:
            return cache.source
        assert context.source is not None
        found = self._heads(self.key(context.source)), self._heads(self.value(context.source))
        if cache is not None:
            cache.source = found
        return found

    def _mask(self, context: Context, keys: int, dtype: torch.dtype) -> Tensor | None:
        """Give what the kernel takes over so many keys: a bool mask, or a bias that is -inf where nothing may be seen."""
        if self.cross:
            return context.source_mask
        # A cache keeps the last keys only where a window lets nobody see the others.
        mask = None if context.mask is None else context.mask[..., -keys:]
        if context.bias is None:
            return mask
        bias = context.bias[..., -keys:].to(dtype)
        return bias if mask is None else bias.masked_fill(~mask, -math.inf)

    def _weights(self, query: Tensor, key: Tensor, context: Context) -> Tensor:
        """(batch, heads, time, keys), float32; scores are taken in the dtype of query and key."""
        scores = query @ self._for_each_query(key).transpose(-1, -2) * self.scale
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        mask = self._mask(context, key.shape[2], scores.dtype)
        if mask is None and self.causal:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
            mask = mask.tril(scores.shape[-1] - scores.shape[-2])
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
        return scores.float().softmax(-1)

    def _for_each_query(self, heads: Tensor) -> Tensor:
        """Repeat key or value heads for the query heads that share them."""
        return heads.repeat_interleave(self.num_attention_heads // self.num_key_value_heads, 1)

    def _heads(self, projected: Tensor) -> Tensor:
        """(batch, time, heads · head_dim) -> (batch, heads, time, head_dim)"""
        batch, time, _ = projected.shape
        if time == 1:
            return projected.view(batch, -1, 1, self.head_dim)
        return projected.view(batch, time, -1, self.head_dim).transpose(1, 2)


@contextmanager
def recorded_attention(module: nn.Module, cross: bool = False) -> Iterator[list[Tensor]]:
    """Collect the weights of every Attention inside `module`, in order of use, while the context lasts.

    cross: those over a source, in place of those over the text itself. They are computed from each layer's own input,
    so they are the same whichever kernel the forward pass runs.
    """
    recorded: list[Tensor] = []

    def record(attention: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(attention, Attention)
        with torch.no_grad():
            recorded.append(attention.weights(*inputs[:2]))

    found = [m for m in module.modules() if isinstance(m, Attention) and m.cross is cross]
    handles = [attention.register_forward_pre_hook(record) for attention in found]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()
