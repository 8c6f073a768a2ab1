"""Models and features that tests of training share."""

from typing import Any

import torch

import zoo
from tests.checkpoints import LABELS, SIZES
from zoo.tasks.base import Features
from zoo.training.batches import count_steps
from zoo.training.loop import Run


def make_model(task: str = "text-classification", **changes: Any) -> zoo.Model:
    """A small BERT with random weights; changes: of its spec."""
    labels = LABELS if task.endswith("-classification") else None
    return zoo.build(zoo.make_spec("bert", **{**SIZES, **changes}), task, labels=labels, seed=2)


def make_dropless(task: str = "text-classification", **changes: Any) -> zoo.Model:
    """The same without dropout."""
    return make_model(task, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **changes)


def make_run(model: zoo.Model, features: list[Features], **config: Any) -> Run:
    """A run over the features."""
    chosen = zoo.FinetuneConfig(**config)
    return Run(model, chosen, count_steps([len(feature.ids) for feature in features], chosen))


def make_features(count: int, seed: int = 3) -> list[Features]:
    """Texts of 1 to 18 tokens, each with one of five labels."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 19, (count,), generator=generator).tolist()
    ids = [torch.randint(1, 53, (length,), generator=generator).tolist() for length in lengths]
    return [Features(row, [0] * len(row), index, label=index % 5) for index, row in enumerate(ids)]


def unwatched(step: int, steps: int, loss: float) -> None:
    """Nobody looks on."""
