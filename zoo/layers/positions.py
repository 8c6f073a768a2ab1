"""Where a token stands: counted, as sinusoids, or as a bias on scores by distance."""

import math

import torch
from torch import Tensor, nn


def positions(attention_mask: Tensor | None, time: int, device: torch.device) -> Tensor:
    """Number each row's positions from 0 at its first attended token, so that padding on the left changes nothing.

    attention_mask: (batch, time) or None. Returns int64 (batch, time), or (1, time) without a mask.
    """
    counted = torch.arange(time, device=device)[None, :]
    if attention_mask is None:
        return counted
    padding_on_the_left = (attention_mask.long().cumsum(-1) == 0).sum(-1, keepdim=True)
    return (counted - padding_on_the_left).clamp(min=0)


def positions_in_documents(documents: Tensor) -> Tensor:
    """Number the positions of each text in a row from 0. documents: int64 (batch, time), neighbours of one text alike."""
    counted = torch.arange(documents.shape[1], device=documents.device)[None, :]
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return counted - counted.where(begins, 0).cummax(-1).values


class SinusoidalPositions(nn.Module):
    """sin and cos of position / 10000^(2i/hidden) (Vaswani et al. 2017, section 3.5). No parameters: computed."""

    def __init__(self, hidden_size: int, interleaved: bool = True) -> None:
        """interleaved: sines in even dimensions and cosines in odd ones, as in the paper; else first all sines."""
        super().__init__()
        self.hidden_size = hidden_size
        self.interleaved = interleaved

    def forward(self, positions: Tensor) -> Tensor:
        """positions: int64 (batch, time). Returns (batch, time, hidden), float32; angles are taken in float64."""
        exponents = torch.arange(0, self.hidden_size, 2, device=positions.device).double() / self.hidden_size
        angles = positions[..., None] / 10_000.0**exponents
        waves = angles.sin(), angles.cos()
        joined = torch.stack(waves, -1).flatten(-2) if self.interleaved else torch.cat(waves, -1)
        return joined[..., : self.hidden_size].float()


class RelativeBias(nn.Module):
    """A learned number per head and distance, added to the scores (Raffel et al. 2019, section 2.1).

    Near distances have a bucket each, farther ones share buckets that widen logarithmically up to max_distance.
    """

    def __init__(self, *, num_buckets: int, max_distance: int, num_attention_heads: int, causal: bool) -> None:
        """causal: whether queries look back only; otherwise half of the buckets are for what comes later."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_buckets, num_attention_heads))
        self.max_distance = max_distance
        self.causal = causal

    def forward(self, past: int, time: int) -> Tensor:
        """Give the bias of `time` queries after `past` positions: (1, heads, time, past + time)."""
        places = torch.arange(past + time, device=self.weight.device)
        buckets = self._bucket(places[None, :] - places[past:, None])
        return self.weight[buckets].permute(2, 0, 1)[None]

    def _bucket(self, distance: Tensor) -> Tensor:
        """distance: int64, key's position minus query's. Returns the row of each in the table."""
        count = self.weight.shape[0]
        offset = torch.zeros_like(distance)
        if self.causal:
            distance = (-distance).clamp(min=0)
        else:
            count //= 2
            offset = (distance > 0).long() * count
            distance = distance.abs()
        exact = count // 2
        growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        far = (exact + (growth * (count - exact)).long()).clamp(max=count - 1)
        return offset + torch.where(distance < exact, distance, far)
