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
    """
    lay_out(model)
    where = places(model)
    groups: dict[tuple[int, bool, type], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kind = type(parameter)  # shards and whole ones apart: the kernel takes no list of both
            groups.setdefault((where[name].height, parameter.dim() > 1, kind), []).append(parameter)
    settings = [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if is_matrix else 0.0,
            "share": config.layer_decay**height,
        }
        for (height, is_matrix, _), parameters in groups.items()
    ]
    return torch.optim.AdamW(settings, lr=config.learning_rate, fused=model.device.type in FUSED_DEVICES)


def lay_out(model: Model) -> None:
    """Let each parameter that learns be by itself in memory, row after row.

    A matrix may be a view of a larger one, as GPT-2's query is in its file. The fused kernel walks through weights,
    gradients and moments by their place in memory, and would walk into its neighbours.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.is_contiguous():
            parameter.data = parameter.data.contiguous()


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate at the head; below it each group keeps its share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]
