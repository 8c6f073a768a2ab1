"""A compiled decoding step: one graph for all positions, run by CUDA graphs on a GPU and by inductor's C++ on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.layers.cache import Cache
from zoo.layers.compilation import Compiled
from zoo.layers.stacks import Stack
from zoo.layers.static import StaticCache

if TYPE_CHECKING:
    from torch import nn

LEAST_CAPACITY = 64


class CompiledStep:
    """What `Model.compile` leaves with a model. Compiled at the first step of each new shape: batch, and capacity.

    Capacities are powers of two, so that answers of different lengths share a graph. Rows that end stay in the batch, for
    the same reason: on a GPU they cost nothing. Without a compiler, the same step runs as it is.
    """

    def __init__(self) -> None:
        self._scores: dict[str, Compiled] = {}  # by the type of device

    def new_cache(self, stack: Stack, capacity: int) -> Cache:
        """Give a cache for at least so many positions, in every layer."""
        return Cache(len(stack.layers), max(LEAST_CAPACITY, 1 << (capacity - 1).bit_length()))

    def __call__(self, stack: Stack, head: nn.Module, ids: Tensor, cache: Cache, source_mask: Tensor | None) -> Tensor:
        """Read one token a row, int64 (batch, 1), and give the scores of what follows: (batch, vocab)."""
        stack.timeline(cache)
        past = torch.full((1,), cache.length, device=ids.device)
        static = StaticCache(cache, past)
        scores = self._run(stack, head, ids, past, static, source_mask)
        for layer in cache.layers:
            layer.count()
        return scores

    def _run(self, *inputs: Any) -> Tensor:
        device = inputs[2].device.type
        if device not in self._scores:
            mode = "reduce-overhead" if device == "cuda" else None
            self._scores[device] = Compiled(_score, "decodes", "compile()", dynamic=False, mode=mode)
        scores: Tensor = self._scores[device](*inputs)
        return scores.clone() if scores.is_cuda else scores  # the next run of a CUDA graph writes over it


def _score(
    stack: Stack, head: nn.Module, ids: Tensor, past: Tensor, cache: StaticCache, source_mask: Tensor | None
) -> Tensor:
    scores: Tensor = head(stack.static_step(ids, past, cache, source_mask), ids, None)
    return scores[:, 0]
