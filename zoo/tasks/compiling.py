"""A compiled decoding step: one graph for all positions, run by CUDA graphs on a GPU and by inductor's C++ on a CPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.layers.cache import Cache
from zoo.layers.stacks import Stack
from zoo.layers.static import StaticCache

if TYPE_CHECKING:
    from torch import nn

LEAST_CAPACITY = 64

Score = Callable[..., Tensor]


class CompiledStep:
    """What `Model.compile` leaves with a model. Compiled at the first step of each new shape: batch, and capacity.

    Capacities are powers of two, so that answers of different lengths share a graph. Rows that end stay in the batch, for
    the same reason: on a GPU they cost nothing. Without a compiler, the same step runs as it is.
    """

    def __init__(self) -> None:
        self._score: Score | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy of a model compiles anew."""
        return {"_score": None}

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
        if self._score is None:
            on_gpu = inputs[2].is_cuda
            self._score = torch.compile(_score, dynamic=False, mode="reduce-overhead" if on_gpu else None)
        if self._score is _score:
            return _score(*inputs)
        from torch._dynamo.exc import TorchDynamoException

        try:
            scores = self._score(*inputs)
            return scores.clone() if scores.is_cuda else scores  # the next run of a CUDA graph writes over it
        except TorchDynamoException as failure:
            heading, *rest = str(failure).strip().splitlines()
            cause = rest[0] if heading.endswith(":") and rest else heading
            warnings.warn(
                f"The model decodes without being compiled: {cause}. A C++ compiler such as g++, on a GPU also triton, "
                "would be installed; or leave out compile()",
                stacklevel=2,
            )
            self._score = _score
            return _score(*inputs)


def _score(
    stack: Stack, head: nn.Module, ids: Tensor, past: Tensor, cache: StaticCache, source_mask: Tensor | None
) -> Tensor:
    scores: Tensor = head(stack.static_step(ids, past, cache, source_mask), ids, None)
    return scores[:, 0]
