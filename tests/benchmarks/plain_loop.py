"""What Zoo's training is compared with: a plain loop over a model of transformers, with the same optimiser and schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers

from zoo.training.config import FinetuneConfig
from zoo.training.schedule import learning_rate_share


def learn(model: Any, batches: Any, config: FinetuneConfig) -> list[float]:
    """Train in place, and give the loss of each step.

    batches: of one epoch, anything with a length that gives mappings with labels. As with transformers' own Trainer,
    AdamW is fused, and only matrices are decayed.
    """
    plain = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1]}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    steps = min(config.epochs * len(batches), config.max_steps or config.epochs * len(batches))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_share(step, steps, config))
    losses: list[float] = []
    model.train()
    for batch in (batch for _ in range(config.epochs) for batch in batches):
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_gradient_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss))
        if len(losses) == steps:
            break
    model.eval()
    return losses


def shuffled(features: Sequence[Any], collator: Any, batch_size: int) -> torch.utils.data.DataLoader[Any]:
    """Give batches in another random order each epoch, each padded by the collator to its longest text."""
    return torch.utils.data.DataLoader(features, batch_size, shuffle=True, collate_fn=collator)  # type: ignore[arg-type]


def quietly() -> None:
    """Let transformers say nothing of fresh heads, nor draw bars."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
