"""What mutants are made with: one change to a sound architecture, in its modules, its layout, its spec or the layers."""

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo.architecture import Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.layers import stacks
from zoo.layers.attention import Attention

Mutation = Callable[[Architecture], Architecture]


@dataclass(frozen=True)
class Base:
    """What is changed. module: where the architecture is. toy_sizes: settings of its small model beside its own."""

    architecture: str
    module: str
    toy_sizes: Mapping[str, Any] = field(default_factory=dict)


def backbone(change: Callable[[Any], Any]) -> Mutation:
    """A mutation of the backbone after it is built."""

    def mutate(original: Architecture) -> Architecture:
        def build(spec: Any) -> nn.Module:
            built = original.build(spec)
            change(built)
            return built

        return replace(original, build=build)

    return mutate


def heads(kind: type[nn.Module], change: Callable[[Any, Any], Any]) -> Mutation:
    """A mutation of what is of a kind in the heads after they are built. change: called with it and the backbone."""

    def changed(head: Head) -> Head:
        def build(spec: Any, backbone: nn.Module, num_labels: int) -> nn.Module:
            assert head.build is not None
            built = head.build(spec, backbone, num_labels)
            for module in built.modules():
                if isinstance(module, kind):
                    change(module, backbone)
            return built

        return replace(head, build=build) if head.build else head

    return lambda original: replace(original, heads=tuple(changed(head) for head in original.heads))


def layout(change: Callable[[list[Any]], Any]) -> Mutation:
    """A mutation of the backbone's rows."""

    def mutate(original: Architecture) -> Architecture:
        rows: list[Any] = [(row.hub[0], row.zoo[0]) for row in original.layout.rows]
        change(rows)
        return replace(original, layout=Layout(*rows, ignored=original.layout.ignored, prefix=original.layout.prefix))

    return mutate


def patched(owner: Any, name: str, change: Callable[[Any], Any]) -> Mutation:
    """A mutation of the layers themselves, for the process. change: gives what takes the place of the attribute."""

    def mutate(original: Architecture) -> Architecture:
        setattr(owner, name, change(getattr(owner, name, None)))
        return original

    return mutate


def every(kind: type[nn.Module], change: Callable[[Any], Any]) -> Callable[[nn.Module], None]:
    """Apply a change to every module of a kind."""

    def apply(module: nn.Module) -> None:
        for child in module.modules():
            if isinstance(child, kind):
                change(child)

    return apply


def put(**values: Any) -> Callable[[Any], None]:
    """Set attributes."""

    def apply(module: Any) -> None:
        for name, value in values.items():
            setattr(module, name, value)

    return apply


def method(name: str, function: Callable[..., Any]) -> Callable[[Any], None]:
    """Replace a method of one object."""
    return lambda module: setattr(module, name, types.MethodType(function, module))


def forward(function: Callable[..., Any]) -> Callable[[Any], None]:
    """Replace a module's forward pass."""
    return method("forward", function)


def reaches(change: Callable[[stacks.Reach], stacks.Reach]) -> Callable[[stacks.Stack], None]:
    """Change how far the layers look, and by which positions."""
    return lambda stack: setattr(stack, "reaches", tuple(change(reach) for reach in stack.reaches))


def seeing(rule: Callable[[Tensor, int], Tensor], causal: bool = True) -> Mutation:
    """Another rule of what a query sees, beside padding. rule: from query's position minus key's, and how many are past.

    causal: whether it is for decoders; else for the layers with a window of encoders.
    """

    def change(original: Callable[..., Tensor | None]) -> Callable[..., Tensor | None]:
        def mask(attention_mask: Tensor | None, reference: Tensor, past: int, **options: Any) -> Tensor | None:
            if options["causal"] is not causal or (not causal and options["window"] is None):
                return original(attention_mask, reference, past, **options)
            keys = torch.arange(past + reference.shape[1])
            seen = rule(keys[past:, None] - keys[None, :], past)[None, None]
            return seen if attention_mask is None else seen & attention_mask.bool()[:, None, None, :]

        return mask

    return patched(stacks, "window_mask", change)


def masking(change: Callable[[Tensor | None, int], Tensor | None]) -> Mutation:
    """Give decoders another padding mask. change: called with the mask and how many positions are past."""

    def changed(original: Callable[..., Tensor | None]) -> Callable[..., Tensor | None]:
        def mask(attention_mask: Tensor | None, reference: Tensor, past: int, **options: Any) -> Tensor | None:
            found = change(attention_mask, past) if options["causal"] else attention_mask
            return original(found, reference, past, **options)

        return mask

    return patched(stacks, "window_mask", changed)


def crossing(change: Callable[[Attention], Any]) -> Mutation:
    """A mutation of the attention over a source."""
    return backbone(every(Attention, lambda attention: change(attention) if attention.cross else None))
