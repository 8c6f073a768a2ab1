"""The training loop: one optimiser step after the other, evaluations in between."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.errors import InvalidInput, TrainingDiverged
from zoo.layers.compilation import Compiled
from zoo.layers.stacks import Stack, run_layer
from zoo.model import Model
from zoo.tasks.base import Features, Output, Task, collate
from zoo.training.batches import Batch, epoch_seed, steps
from zoo.training.checkpoints import Checkpoints
from zoo.training.config import FinetuneConfig
from zoo.training.distributed import ranks
from zoo.training.distributed.parallel import Objective, Parallel, parallelise
from zoo.training.distributed.sharding import unsharded
from zoo.training.evaluation import autocast, evaluate
from zoo.training.freezing import frozen
from zoo.training.optimizer import make_optimizer, set_learning_rate
from zoo.training.schedule import learning_rate_share
from zoo.training.state import LOSS, Evaluation, State
from zoo.training.tracking import tell, tell_of_step

if TYPE_CHECKING:
    from pluggy import HookRelay

Watch = Callable[[int, int, float], None]
"""Told (step, steps, loss) after each optimiser step."""


@dataclass(frozen=True)
class Run:
    """A training run, as lifecycle plugins see it. steps: optimiser steps in all. hooks: of its trackers.

    A model that several ranks hold in shards is without weights until the run has ended.
    """

    model: Model
    config: FinetuneConfig
    steps: int
    hooks: tuple[HookRelay, ...] = ()


def train(
    run: Run,
    task: Task,
    features: Sequence[Features],
    held_out: Sequence[Features],
    watch: Watch,
    checkpoints: Checkpoints | None = None,
    objective: Objective | None = None,
) -> State:
    """Train the model in place, from the newest of the checkpoints on. Raises TrainingDiverged and theirs.

    features, held_out: with labels; held_out may be empty. checkpoints: None for a run that is not to be gone on with.
    objective: what is made small; None for the task's own loss, which evaluations tell of in any case.
    Where settings ask for evaluations on the way, the model ends with the weights of the best one.
    All ranks of a run call this with the same arguments; in shards, the model ends whole on the first rank alone.
    """
    config = run.config
    stays_whole = objective is not None or task.compares_rows
    objective = objective or task_loss(task, config)
    lengths = [task.length(feature) for feature in features]
    last: list[Batch] = []
    with _prepared(run):
        parallel = parallelise(run.model, config, objective)
        parallel.share.check(steps(lengths, config), stays_whole)
        state = State(parallel.model, make_optimizer(parallel.model, config), rank=parallel.share.rank)
        if checkpoints is not None:
            checkpoints.restore(state)
        for batches in steps(lengths, config, state.step):
            rate = config.learning_rate * learning_rate_share(state.step, run.steps, config)
            set_learning_rate(state.optimizer, rate)
            own = parallel.share.of(batches, stays_whole)
            chosen = [([features[index] for index in batch], counts) for batch, counts in own]
            began = time.perf_counter()
            norm = _take_step(state, task, chosen, config, parallel)
            last = batches
            tokens = sum(lengths[index] for batch in batches for index in batch)
            metrics = {
                "loss": state.losses[-1],
                "learning_rate": rate,
                "gradient_norm": norm,
                "tokens_per_second": tokens / (time.perf_counter() - began),
            }
            tell_of_step(run, state.step, metrics)
            if ranks.is_first():
                watch(state.step, run.steps, state.losses[-1])
            if held_out and config.eval_steps is not None and state.step % config.eval_steps == 0:
                _evaluate(run, state, task, held_out, parallel)
                if state.has_stalled(config.patience):
                    break
            if checkpoints is not None and state.step < run.steps and checkpoints.is_due(state.step):
                _check_weights(state, config)
                checkpoints.save(state)
        _check_outcome(run, state, task, held_out, [features[index] for index in last[-1]], parallel)
        state.return_to_best()
        parallel.collect(run.model)
    return state


def task_loss(task: Task, config: FinetuneConfig) -> Objective:
    """Give the task's own loss, with smoothed labels where the settings ask for them."""

    def loss(model: Model, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        return loss_of(model(**inputs, labels=labels), labels, task, config)

    return loss


def loss_of(output: Output, labels: Tensor, task: Task, config: FinetuneConfig) -> Tensor:
    """Give the task's own loss from the output of a model that was given labels."""
    assert output.loss is not None
    return task.smooth(output, labels, config.label_smoothing) if config.label_smoothing else output.loss


def _take_step(
    state: State,
    task: Task,
    batches: Sequence[tuple[Sequence[Features], bool]],
    config: FinetuneConfig,
    parallel: Parallel,
) -> float:
    """Take one optimiser step, by the gradient of the mean over the terms of all batches of all ranks.

    batches: this rank's, each with whether it counts.
    Returns the gradient's norm before it was clipped. Raises TrainingDiverged.
    """
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    collated = [_collate(task, batch, state.model) for batch, _ in batches]
    weights = [task.weight(labels) * counts for (_, labels), (_, counts) in zip(collated, batches, strict=True)]
    total = torch.zeros((), device=state.model.device)
    terms = sum(weights)
    if parallel.share.count > 1:
        terms = int(parallel.share.total(torch.tensor(terms, device=total.device)))
    for number, ((inputs, labels), weight) in enumerate(zip(collated, weights, strict=True), start=1):
        with parallel.gathering(last=number == len(weights)):
            with autocast(state.model, config):
                loss: Tensor = parallel.learner(inputs, labels)
            part = loss * (weight / terms)
            torch.autograd.backward(part * parallel.share.count)  # the ranks' gradients are averaged
        total += part.detach()
    norm = parallel.gradient_norm(parameters)
    both = torch.stack([parallel.share.total(total), norm.to(total)])
    loss_value, norm_value = both.tolist()  # one wait for the device
    _check(loss_value, state.step + 1, config)
    _check(norm_value, state.step + 1, config, "gradient's norm")
    parallel.clip(parameters, config.max_gradient_norm, norm)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    state.losses.append(loss_value)
    return float(norm_value)


def _evaluate(run: Run, state: State, task: Task, held_out: Sequence[Features], parallel: Parallel) -> None:
    """Evaluate after a step, all ranks together; what the first finds counts for all. Raises TrainingDiverged."""
    with parallel.evaluating():
        metrics = ranks.broadcast(evaluate(state.model, task, held_out, run.config, parallel.share))
    _check(metrics[LOSS], state.step, run.config, "loss over the held-out examples")
    state.take_evaluation(Evaluation(state.step, metrics), keep_best=run.config.eval_steps is not None)
    tell("zoo_training_evaluated", run, step=state.step, metrics=metrics)


def _check_outcome(
    run: Run,
    state: State,
    task: Task,
    held_out: Sequence[Features],
    last: Sequence[Features],
    parallel: Parallel,
) -> None:
    """See what the last step came to, which no further step would notice. Raises TrainingDiverged."""
    config = run.config
    if not held_out:
        inputs, labels = _collate(task, last, state.model)
        with torch.no_grad(), autocast(state.model, config):
            loss = float(state.model(**inputs, labels=labels).loss)
        _check(ranks.broadcast(loss), state.step + 1, config)
    elif not state.evaluations or state.evaluations[-1].step != state.step:
        _evaluate(run, state, task, held_out, parallel)


def _check_weights(state: State, config: FinetuneConfig) -> None:
    """Let no checkpoint hold weights that are no numbers. Raises TrainingDiverged."""
    for name, parameter in state.learnt().items():
        if not bool(unsharded(parameter.isfinite().all())):
            raise TrainingDiverged(state.step, math.nan, config.learning_rate, f"parameter '{name}'")


def _collate(task: Task, batch: Sequence[Features], model: Model) -> tuple[dict[str, Tensor], Tensor]:
    inputs = collate(task.rows(batch), model.pad_token_id, model.device)
    labels = task.collate_labels(batch, inputs["input_ids"].shape[1], model.settings)
    return inputs, labels.to(model.device)


def _check(value: float, step: int, config: FinetuneConfig, what: str = "loss") -> None:
    if not math.isfinite(value):
        raise TrainingDiverged(step, value, config.learning_rate, what)


@contextmanager
def _prepared(run: Run) -> Iterator[None]:
    """Make the model and the random numbers ready for training, and leave both as they were whatever happens."""
    model, config = run.model, run.config
    stacks = [module for module in model.modules() if isinstance(module, Stack)]
    for setting, wanted, what in (
        ("gradient_checkpointing", config.gradient_checkpointing, "computed again"),
        ("compile", config.compile, "compiled"),
    ):
        if wanted and not stacks:
            raise InvalidInput(
                f"{setting}: the architecture '{model.architecture.name}' is not made of zoo.layers' stacks, "
                f"whose layers could be {what}; leave it out"
            )
    compiled = Compiled(run_layer, "trains", "compile", dynamic=True) if config.compile else None
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), frozen(model, config.frozen_layers):
        shares_examples = config.parallel != "tensor"  # where not, what one rank drops all others have to drop
        torch.manual_seed(epoch_seed(config.seed, ranks.rank() if shares_examples else 0))
        model.train()
        for stack in stacks:
            stack.recomputes, stack.compiled = config.gradient_checkpointing, compiled
        try:
            yield
        finally:
            model.eval()
            for stack in stacks:
                stack.recomputes, stack.compiled = False, None
