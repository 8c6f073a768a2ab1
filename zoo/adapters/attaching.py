"""Putting low-rank neighbours beside a model's matrices, and into them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from zoo.errors import InvalidInput
from zoo.layers.lora import LoraLinear, fresh_pair, row_lengths
from zoo.lora import LoraConfig
from zoo.model import Model
from zoo.tasks import get_task


def attach(model: Model, config: LoraConfig, seed: int) -> None:
    """Put fresh low-rank neighbours beside a model's matrices, and let nothing else learn but a head for new labels.

    Raises InvalidInput for targets that the model does not have, or where it has an adapter already.
    """
    refuse_second(model)
    generator = torch.Generator().manual_seed(seed)
    for name, linear in list(_targets(model, config.targets)):
        pair = fresh_pair(linear, config.rank, generator)
        magnitude = row_lengths(linear.weight).float() if config.use_dora else None
        put(model, name, LoraLinear(linear, *pair, config.scale, config.dropout, magnitude))
    model.adapter, model.learnt_whole = config, _head_that_learns(model)
    let_learn(model)


def merge(model: Model) -> None:
    """Add what an adapter learnt to the weights: the model is an ordinary one again. Raises InvalidInput without one."""
    if model.adapter is None:
        raise InvalidInput("The model has no adapter to merge")
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLinear):
            put(model, name, module.merged())
    model.requires_grad_(True)
    model.adapter, model.learnt_whole = None, frozenset()


def let_learn(model: Model) -> None:
    """Let a model's adapter learn, and nothing else."""
    model.requires_grad_(False)
    added = [parameter for module in model.modules() if isinstance(module, LoraLinear) for parameter in module.learnt()]
    for parameter in (*added, *map(model.get_parameter, model.learnt_whole)):
        parameter.requires_grad_(True)


def put(model: Model, name: str, module: nn.Module) -> None:
    """Put a module in the place of the one that has the name."""
    owner, _, last = name.rpartition(".")
    setattr(model.get_submodule(owner), last, module)


def refuse_second(model: Model) -> None:
    """Raises InvalidInput where a model has an adapter already."""
    if model.adapter is not None:
        raise InvalidInput("The model has an adapter already; merge it first with model.merge_adapter()")


def name_in_layer(name: str) -> str:
    """Give a module's name in its layer: "attention.query" of "backbone.layers.3.attention.query"."""
    parts = name.split(".")
    last = max((index for index, part in enumerate(parts) if part.isdigit()), default=-1)
    return ".".join(parts[last + 1 :])


def _head_that_learns(model: Model) -> frozenset[str]:
    """Give the parameters of the head that learn beside the adapter: fresh ones, and those that say what labels mean."""
    names = {name for name in model.fresh_parameters if name.startswith("head.")}
    if get_task(model.task).fixed_labels is None:
        output = model.architecture.head(model.task).output
        names |= {name for name, _ in model.named_parameters() if output and name.startswith(f"head.{output}.")}
    return frozenset(names)


def _targets(model: Model, targets: Sequence[str]) -> Iterator[tuple[str, nn.Linear]]:
    linears = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.Linear) and ".layers." in name
    }
    known = sorted({name_in_layer(name) for name in linears})
    for target in targets:
        if target not in known:
            raise InvalidInput(f"The model has no matrix '{target}' for LoRA; its layers have: {', '.join(known)}")
    yield from ((name, linear) for name, linear in linears.items() if name_in_layer(name) in targets)
