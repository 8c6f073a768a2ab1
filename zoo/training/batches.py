"""Which examples are learnt from at each step: every one once an epoch, in an order of the seed, padded little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch

from zoo.errors import InvalidInput
from zoo.training.config import FinetuneConfig

Batch = list[int]
"""Indices of the examples that go through the model together."""

POOL_BATCHES = 32  # so many batches are drawn at random, then sorted by length, so that each pads little


def steps(lengths: Sequence[int], config: FinetuneConfig, start: int = 0) -> Iterator[list[Batch]]:
    """Give the batches of each optimiser step, from step `start` on (counted from 0), to the end of the run.

    lengths: of the examples, in tokens. Raises InvalidInput for an example above tokens_per_batch.
    """
    return islice(_steps(lengths, config), start, config.max_steps)


def count_steps(lengths: Sequence[int], config: FinetuneConfig) -> int:
    """Give the number of optimiser steps of the whole run. Raises InvalidInput as `steps` does."""
    return sum(1 for _ in steps(lengths, config))


def _steps(lengths: Sequence[int], config: FinetuneConfig) -> Iterator[list[Batch]]:
    for epoch in range(config.epochs):
        order = _epoch(lengths, config, epoch)
        for first in range(0, len(order), config.accumulation):
            yield order[first : first + config.accumulation]


def _epoch(lengths: Sequence[int], config: FinetuneConfig, epoch: int) -> list[Batch]:
    """Give one epoch's batches. They follow from seed and epoch alone, so that any place in a run can be gone to."""
    seed = config.seed if config.data_seed is None else config.data_seed
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    order = torch.randperm(len(lengths), generator=generator).tolist()
    mean_length = max(1, sum(lengths) // len(lengths))
    usual = config.batch_size if config.tokens_per_batch is None else max(1, config.tokens_per_batch // mean_length)
    found: list[Batch] = []
    for first in range(0, len(order), usual * POOL_BATCHES):
        found += group(order[first : first + usual * POOL_BATCHES], lengths, config)
    return [found[index] for index in torch.randperm(len(found), generator=generator).tolist()]


def epoch_seed(seed: int, epoch: int) -> int:
    """Give a seed of its own for each epoch: the first epoch's is the run's."""
    return (seed + epoch * 0x9E3779B97F4A7C15) % 2**63


def group(indices: Sequence[int], lengths: Sequence[int], config: FinetuneConfig) -> list[Batch]:
    """Sort examples by length, shortest first, and give them in batches. Raises InvalidInput as `steps` does."""
    ordered = sorted(indices, key=lambda index: lengths[index])
    budget = config.tokens_per_batch
    if budget is None:
        return [ordered[first : first + config.batch_size] for first in range(0, len(ordered), config.batch_size)]
    found: list[Batch] = []
    for index in ordered:
        if lengths[index] > budget:
            raise InvalidInput(
                f"tokens_per_batch is {budget}, and an example has {lengths[index]} tokens; "
                f"it would be at least the longest example's {max(lengths)}"
            )
        if found and lengths[index] * (len(found[-1]) + 1) <= budget:
            found[-1].append(index)
        else:
            found.append([index])
    return found
