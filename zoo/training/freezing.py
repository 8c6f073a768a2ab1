"""Which parameters learn, and how far each is from the head: told from the layers' uniform names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from zoo.errors import InvalidInput
from zoo.model import Model

_LAYER = re.compile(r"^(backbone(?:\.\w+)?)\.layers\.(\d+)\.")


@dataclass(frozen=True)
class Place:
    """Where a parameter stands. depth: 0 for embeddings, 1 for the lowest layer, None above the layers.

    height: how many learning-rate decays it is below the head: 0 for the head, 1 for the uppermost layer.
    """

    depth: int | None
    height: int


def places(model: Model) -> dict[str, Place]:
    """Give the place of each parameter, by name; each stack of layers is counted by itself."""
    names = [name for name, _ in model.named_parameters()]
    found = {name: match for name in names if (match := _LAYER.match(name))}
    counts: dict[str, int] = {}
    for match in found.values():
        counts[match[1]] = max(counts.get(match[1], 0), int(match[2]) + 1)
    last_norms = tuple(f"{prefix}.norm." for prefix in counts)
    result = {}
    for name in names:
        if name in found:
            depth = int(found[name][2]) + 1
            result[name] = Place(depth, counts[found[name][1]] + 1 - depth)
        elif not name.startswith("backbone.") or name.startswith(last_norms):
            result[name] = Place(None, 0)
        else:
            stack = next((count for prefix, count in counts.items() if name.startswith(f"{prefix}.")), None)
            result[name] = Place(0, 1 + (max(counts.values(), default=0) if stack is None else stack))
    return result


@contextmanager
def frozen(model: Model, layers: int | None) -> Iterator[None]:
    """Keep embeddings and the lowest layers of each stack from learning while the context lasts.

    layers: how many; 0 for the embeddings alone, None for nothing. Raises InvalidInput for more than there are.
    """
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}
    where = places(model)
    most = max((place.depth or 0 for place in where.values()), default=0)
    if layers is not None and layers > most:
        raise InvalidInput(f"frozen_layers is {layers}; the model has {most}")
    try:
        for name, parameter in model.named_parameters():
            depth = where[name].depth
            if layers is not None and depth is not None and depth <= layers:
                parameter.requires_grad_(False)
        yield
    finally:
        for parameter, learns in before.items():
            parameter.requires_grad_(learns)
