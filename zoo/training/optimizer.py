"""The optimiser: AdamW (Loshchilov & Hutter 2017, https://arxiv.org/abs/1711.05101)."""

from __future__ import annotations

import torch

from zoo.model import Model
from zoo.training.config import FinetuneConfig
from zoo.training.freezing import places

FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu", "hpu")  # torch would say so at the first step only


def make_optimizer(model: Model, config: FinetuneConfig) -> torch.optim.AdamW:
    """Give AdamW over the parameters that learn: matrices decayed, the rest not; fused where the device has it.

    Each group has the share of the learning rate that its distance from the head leaves it (`share`).
    A matrix that is a view of a larger one, as GPT-2's query is in its file, is copied out of it first: the fused kernel
    walks through weights, gradients and moments by their place in memory, and would walk into its neighbours.
    """
    where = places(model)
    groups: dict[tuple[int, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.contiguous()
            groups.setdefault((where[name].height, parameter.dim() > 1), []).append(parameter)
    settings = [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if is_matrix else 0.0,
            "share": config.layer_decay**height,
        }
        for (height, is_matrix), parameters in groups.items()
    ]
    return torch.optim.AdamW(settings, lr=config.learning_rate, fused=model.device.type in FUSED_DEVICES)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate at the head; below it each group keeps its share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]
