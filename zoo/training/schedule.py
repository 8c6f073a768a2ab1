"""The learning rate over the steps of a run."""

from __future__ import annotations

import math

from zoo.training.config import FinetuneConfig


def count_warmup_steps(config: FinetuneConfig, steps: int) -> int:
    """Give the number of warm-up steps, where the settings say their share of all."""
    return round(config.warmup_steps * steps) if config.warmup_steps < 1 else int(config.warmup_steps)


def learning_rate_share(step: int, steps: int, config: FinetuneConfig) -> float:
    """Give the share of the peak learning rate at a step, counted from 0: up over the warm-up, then as the schedule says.

    steps: optimiser steps in all. Source of the cosine: Loshchilov & Hutter 2016, eq. 5, without restarts.
    """
    warmup = count_warmup_steps(config, steps)
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / (steps - warmup)) if steps > warmup else 1.0
    match config.schedule:
        case "linear":
            return 1.0 - done
        case "cosine":
            return (1.0 + math.cos(math.pi * done)) / 2
        case "constant":
            return 1.0
