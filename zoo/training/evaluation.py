"""Evaluation: the loss and the task's metrics over examples that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from zoo.model import Model
from zoo.tasks.base import Features, Task, collate, split_rows
from zoo.training.batches import group
from zoo.training.config import FinetuneConfig
from zoo.training.distributed.shares import ALL, Share


def evaluate(
    model: Model, task: Task, features: Sequence[Features], config: FinetuneConfig, share: Share = ALL
) -> dict[str, float]:
    """Give `eval_loss` and the task's metrics over features with labels. share: see examine."""
    loss, records = examine(model, task, features, config, share)
    return {"eval_loss": loss, **task.measure(records)}


def examine(
    model: Model, task: Task, features: Sequence[Features], config: FinetuneConfig, share: Share = ALL
) -> tuple[float, list[Any]]:
    """Give the loss over features with labels, and the record of each example.

    Batches and precision are those of the settings; each answer is reduced to its record at once, so that memory does
    not grow with the answers. share: this rank's, where several deal the batches out; answers that are written are so by each.
    """
    written = task.records(features, model, config.batch_size)
    records: list[Any] = [None] * len(features) if written is None else written
    loss, weight, found = 0.0, 0, dict[int, Any]()
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            batches = group(range(len(features)), [task.length(feature) for feature in features], config)
            for batch, counts in share.of(batches, whole_batches=True):
                chosen = [features[index] for index in batch]
                inputs = collate(task.rows(chosen), model.pad_token_id, model.device)
                labels = task.collate_labels(chosen, inputs["input_ids"].shape[1], model.settings).to(model.device)
                with autocast(model, config):
                    output = model(**inputs, labels=labels)
                count = task.weight(labels) * counts
                loss, weight = loss + float(output.loss) * count, weight + count
                if written is None and counts:
                    for index, row in zip(batch, split_rows(output, chosen), strict=True):
                        found[index] = task.record(features[index], row, model.settings)
    finally:
        model.train(was_training)
    losses, weights, parts = zip(*share.exchange((loss, weight, found)), strict=True)
    for part in parts:
        for index, record in part.items():
            records[index] = record
    return sum(losses) / max(sum(weights), 1), task.collapse(records)


def autocast(model: Model, config: FinetuneConfig) -> torch.autocast:
    """Give the context in which the model runs with the precision of the settings."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=config.precision == "bf16")
