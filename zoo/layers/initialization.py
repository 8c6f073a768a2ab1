"""Fresh weights, reproducible by seed on any device."""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

import torch
from torch import Tensor, nn


def fresh_weights(
    module: nn.Module,
    names: Collection[str],
    std: float,
    seed: int,
    deviations: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """Give a first value for the parameters named: normal for matrices, 1 for norm weights, 0 for biases.

    module: on any device, also meta; names: of its parameters; std: of the normal distribution (Devlin et al. 2018
    use 0.02). deviations: other ones, by a pattern of names such as `*.query.weight`; the first that fits counts.
    A submodule that begins otherwise says so by a method `initial_values() -> {name: tensor}`, on CPU.
    Each tensor is float32 on CPU and depends on the seed and on the parameters named before it alone.
    """
    own: dict[str, Tensor] = {}
    for prefix, child in module.named_modules():
        if hasattr(child, "initial_values"):
            own |= {f"{prefix}.{name}" if prefix else name: value for name, value in child.initial_values().items()}
    generator = torch.Generator().manual_seed(seed)
    fresh = {}
    for name, parameter in module.named_parameters():
        if name not in names:
            continue
        if name in own:
            fresh[name] = own[name]
        elif name.endswith("bias"):
            fresh[name] = torch.zeros(parameter.shape)
        elif parameter.dim() == 1:
            fresh[name] = torch.ones(parameter.shape)
        else:
            own_std = next((other for pattern, other in deviations.items() if fnmatchcase(name, pattern)), std)
            fresh[name] = torch.empty(parameter.shape).normal_(0, own_std, generator=generator)
    return fresh
