"""The training loop: batches, optimiser, schedule, and one step after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo import host
from zoo.errors import TrainingDiverged
from zoo.model import Model
from zoo.tasks.base import Features, Task, collate
from zoo.training.config import FinetuneConfig

Watch = Callable[[int, int, float], None]
"""Told (step, steps, loss) after each optimiser step."""

POOL_BATCHES = 32  # so many batches are drawn at random, then sorted by length, so that each pads little


@dataclass(frozen=True)
class Run:
    """A training run, as lifecycle plugins see it. steps: optimiser steps in all."""

    model: Model
    config: FinetuneConfig
    steps: int


def count_steps(examples: int, config: FinetuneConfig) -> int:
    """Give the number of optimiser steps."""
    steps = math.ceil(examples / config.batch_size) * config.epochs
    return steps if config.max_steps is None else min(steps, config.max_steps)


def train(run: Run, task: Task, features: Sequence[Features], watch: Watch) -> float:
    """Train the model in place and give the mean loss of the last tenth of the steps. Raises TrainingDiverged."""
    config, model = run.config, run.model
    optimizer = make_optimizer(model, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_share(step, run))
    losses: list[float] = []

    def loss_of(batch: Sequence[int]) -> Tensor:
        chosen = [features[index] for index in batch]
        inputs = collate(chosen, model.pad_token_id, model.device)
        labels = task.collate_labels(chosen, inputs["input_ids"].shape[1], model.settings).to(model.device)
        loss: Tensor = model(**inputs, labels=labels).loss
        if not math.isfinite(float(loss.detach())):
            raise TrainingDiverged(len(losses) + 1, float(loss.detach()), config.learning_rate)
        return loss

    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []), _training(model):
        torch.manual_seed(config.seed)
        batch: list[int] = []
        for step, batch in enumerate(batches(features, run), start=1):
            loss = loss_of(batch)
            losses.append(float(loss.detach()))
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_gradient_norm)
            rate = float(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            host.notify("zoo_training_step", run=run, step=step, metrics={"loss": losses[-1], "learning_rate": rate})
            watch(step, run.steps, losses[-1])
    with torch.no_grad():
        loss_of(batch)  # the last step's outcome, which no further step would notice
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)


@contextmanager
def _training(model: Model) -> Iterator[None]:
    """Put the model into training mode, and out of it whatever happens."""
    model.train()
    try:
        yield
    finally:
        model.eval()


def make_optimizer(model: Model, config: FinetuneConfig) -> torch.optim.AdamW:
    """Give AdamW over the model's parameters, matrices decayed, the rest not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def learning_rate_share(step: int, run: Run) -> float:
    """Give the share of the peak learning rate at a step, counted from 0: up over the warm-up, then down to 0."""
    warmup = run.config.warmup_steps
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (run.steps - step) / max(1, run.steps - warmup))


def batches(features: Sequence[Features], run: Run) -> Iterator[list[int]]:
    """Give the indices of each batch, `run.steps` in all: every example once an epoch, in an order of the seed."""
    size = run.config.batch_size
    generator = torch.Generator().manual_seed(run.config.seed)
    given = 0
    while given < run.steps:
        order = torch.randperm(len(features), generator=generator).tolist()
        epoch = []
        for start in range(0, len(order), size * POOL_BATCHES):
            pool = sorted(order[start : start + size * POOL_BATCHES], key=lambda index: len(features[index].ids))
            epoch += [pool[first : first + size] for first in range(0, len(pool), size)]
        for chosen in torch.randperm(len(epoch), generator=generator).tolist()[: run.steps - given]:
            yield epoch[chosen]
            given += 1
