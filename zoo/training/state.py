"""How far a training run has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from zoo.model import Model

LOSS = "eval_loss"


@dataclass(frozen=True)
class Evaluation:
    """What was measured after a step. step: counted from 1."""

    step: int
    metrics: Mapping[str, float]


@dataclass
class State:
    """All that changes in a run. step: how many were taken; losses: of each; best: the weights with the least eval_loss.

    rank: of those that share the examples, which random numbers are drawn for.
    """

    model: Model
    optimizer: torch.optim.Optimizer
    step: int = 0
    losses: list[float] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    rank: int = 0

    def learnt(self) -> dict[str, Tensor]:
        """Give the parameters that learn, by name."""
        return {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}

    def best_evaluation(self) -> Evaluation | None:
        """Give the evaluation with the least loss, of equal ones the first."""
        return min(self.evaluations, key=lambda evaluation: evaluation.metrics[LOSS], default=None)

    def take_evaluation(self, evaluation: Evaluation, *, keep_best: bool) -> None:
        """Note an evaluation. keep_best: whether to keep the weights if they are the best so far."""
        self.evaluations.append(evaluation)
        if keep_best and self.best_evaluation() is evaluation:
            self.best = {name: tensor.clone() for name, tensor in self.learnt().items()}

    def has_stalled(self, patience: int | None) -> bool:
        """Tell whether so many evaluations in a row were no better than an earlier one."""
        best = self.best_evaluation()
        if patience is None or best is None:
            return False
        return self.evaluations.index(best) < len(self.evaluations) - patience

    def return_to_best(self) -> None:
        """Put the best weights back in place."""
        learnt = self.learnt()
        for name, tensor in (self.best or {}).items():
            learnt[name].copy_(tensor)

    def train_loss(self) -> float:
        """Give the mean loss of the last tenth of the steps."""
        tail = self.losses[-max(1, len(self.losses) // 10) :]
        return sum(tail) / len(tail)
