"""What attention may look at: padding, causality and windows in one mask, and the rest of what surrounds a layer."""

from typing import NamedTuple

import torch
from torch import Tensor


class Context(NamedTuple):
    """What a layer's attention works with in one pass.

    mask: bool, broadcastable to (batch, heads, time, past + time), True where a query may look; None for everywhere
    (in causal attention: everywhere up to itself). bias: added to the scores, of the same shape.
    rotary: cosines and sines of the new positions, (batch or 1, 1, time, rotary_dim).
    key_rotary: those of all positions, past ones too, where keys must be rotated anew at each pass.
    source: what cross-attention reads, (batch, source_time, hidden). source_mask: bool (batch, 1, 1, source_time).
    """

    mask: Tensor | None = None
    bias: Tensor | None = None
    rotary: tuple[Tensor, Tensor] | None = None
    key_rotary: tuple[Tensor, Tensor] | None = None
    source: Tensor | None = None
    source_mask: Tensor | None = None


def padding_mask(attention_mask: Tensor | None) -> Tensor | None:
    """Turn a (batch, time) mask, bool or 0/1, into one that attention broadcasts: bool (batch, 1, 1, time)."""
    return None if attention_mask is None else attention_mask.bool()[:, None, None, :]


def window_mask(
    attention_mask: Tensor | None, reference: Tensor, past: int, *, causal: bool, window: int | None, explicit: bool
) -> Tensor | None:
    """Give the mask of one pass over `time` new positions after `past` ones.

    attention_mask: (batch, past + time), or None for no padding. reference: any (batch, time, …) tensor of the pass.
    causal: whether a query sees no later position. window: causal: how many positions it sees, its own included;
    otherwise: how far to either side; None for all. explicit: whether a mask is wanted even where causality alone
    would do.
    Returns bool, broadcastable to (batch, heads, time, past + time), or None where attention needs none. A causal query
    in the padding sees itself, so that no row of scores is empty.
    """
    time = reference.shape[1]
    if window is not None and window >= past + time:
        window = None
    if not causal and window is None:
        return padding_mask(attention_mask)
    if attention_mask is None and window is None and not explicit and (past == 0 or time == 1):
        return None
    keys = torch.arange(past + time, device=reference.device)
    distance = keys[past:, None] - keys[None, :]
    seen = distance >= 0 if causal else distance.abs() <= (window or 0)
    if causal and window is not None:
        seen = seen & (distance < window)
    if attention_mask is None:
        return seen[None, None]
    attended = attention_mask.bool()[:, None, None, :]
    return (attended & seen) | (distance == 0)


def within_documents(mask: Tensor | None, documents: Tensor, causal: bool) -> Tensor:
    """Restrict a mask to the text that a query belongs to, among several in a row. Returns bool (batch, 1, time, time).

    mask: see window_mask. documents: int64 (batch, time). The padding is a text like the others, so that no row of
    scores is empty.
    """
    same = documents[:, None, :, None] == documents[:, None, None, :]
    if mask is not None:
        return same & mask
    return same.tril() if causal else same
