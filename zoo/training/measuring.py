"""Measuring a checkpoint: the task's metrics over a set of examples, each with how far chance could have moved it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from zoo.errors import InvalidInput
from zoo.model import Model
from zoo.tasks import get_task
from zoo.tasks.metrics import require_metrics
from zoo.training.config import FinetuneConfig
from zoo.training.data import Source
from zoo.training.evaluation import examine
from zoo.training.preparation import Say, encode, once, read

TAILS = (0.025, 0.975)


@dataclass(frozen=True)
class Interval:
    """A metric, and between what it lies in 95 of 100 draws of as many examples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """What was measured over how many examples."""

    task: str
    examples: int
    metrics: Mapping[str, Interval]


def measure(
    model: Model,
    data: Source,
    config: FinetuneConfig | None = None,
    *,
    resamples: int = 1000,
    say: Say = lambda text: None,
) -> Measured:
    """Give the metrics of a model over examples with labels, with percentile bootstrap intervals (Efron 1979).

    data: see zoo.training.data.read_examples. config: its columns, lengths, batches, precision and seed count.
    resamples: draws of as many examples, with replacement, from those measured. Raises InvalidInput, ExtraMissing.
    """
    if resamples < 1:
        raise InvalidInput(f"resamples is {resamples}; it would be at least 1")
    require_metrics()
    config, say, task = config or FinetuneConfig(), once(say), get_task(model.task)
    examples = read(data, "eval", task, config, say)
    model.settings = task.settings_to_train(model)
    features = encode(examples, task, model, config, say)
    if not features:
        raise InvalidInput("No example holds anything to measure: all are empty")
    _, records = examine(model, task, features, config)
    values = task.measure(records)
    generator = torch.Generator().manual_seed(config.seed)
    drawn: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(resamples):
        order = torch.randint(len(records), (len(records),), generator=generator).tolist()
        for name, value in task.measure([records[index] for index in order]).items():
            if name in drawn:  # of some draws a correlation, for instance, cannot be told
                drawn[name].append(value)
    return Measured(model.task, len(examples), {name: _interval(value, drawn[name]) for name, value in values.items()})


def _interval(value: float, drawn: list[float]) -> Interval:
    ends = torch.tensor(drawn or [value], dtype=torch.float64).quantile(torch.tensor(TAILS, dtype=torch.float64))
    return Interval(value, *ends.tolist())


def data_name(data: str | Path) -> str:
    """Give a name for the data in a card: the file's or dataset's own, without the folders of this machine."""
    return Path(data).name if Path(data).exists() else str(data)
