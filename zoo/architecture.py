"""Architecture: the one value that a plugin hands over, and its heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zoo.checkpoint.layout import Layout
from zoo.errors import InvalidConfig, InvalidPlugin, UnknownTask
from zoo.specs import Kind, Spec

if TYPE_CHECKING:
    from torch import nn

FEATURES = "feature-extraction"


@dataclass(frozen=True)
class Head:
    """The layers that a task adds to the backbone.

    task: the Hub's pipeline tag. classes: names in `architectures` of config.json that mean this head; the first is
    written. build: gives the layers from spec, backbone (to share parameters with) and number of labels, called as
    `head(hidden, input_ids, attention_mask)`; None where the backbone alone does the task.
    layout: the head's tensors, spelled as on the Hub, the backbone's prefix included where they have it.
    output: the submodule that projects to the labels; it starts fresh when new labels are asked for.
    optional: whether a checkpoint without these tensors still does the task. prefixed: whether the backbone's tensors
    carry the layout's prefix in checkpoints with this head; prefix: which of the layout's, None for its first.
    backbone: builds the part of the architecture that this head stands on, such as an encoder alone; None for all of it.
    """

    task: str
    classes: tuple[str, ...]
    build: Callable[[Any, nn.Module, int], nn.Module] | None = None
    layout: Layout = field(default_factory=Layout)
    output: str | None = None
    optional: bool = False
    prefixed: bool = True
    prefix: str | None = None
    backbone: Callable[[Any], nn.Module] | None = None


@dataclass(frozen=True)
class Architecture:
    """Code under a name: how to read a config, build the module, and fit a checkpoint's tensors to it.

    name: the Hub's `model_type` where one exists. spec: the hyperparameters. build: gives the backbone from a spec,
    called on the meta device. layout: the backbone's tensors. heads: what it can be used for; one of them is
    `feature-extraction`. paper: title and address of the source. summary: what sets it apart from its relatives, in two
    sentences. toy_sizes: spec fields that a small model for tests needs beside the usual ones (see zoo.testing.models).
    """

    name: str
    spec: type[Spec]
    build: Callable[[Any], nn.Module]
    layout: Layout
    heads: tuple[Head, ...]
    paper: str
    summary: str = ""
    toy_sizes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if FEATURES not in self.tasks:
            raise InvalidPlugin(
                f"The architecture '{self.name}' has no head for '{FEATURES}'; every backbone needs one"
            )

    @property
    def kind(self) -> Kind:
        """encoder-only, decoder-only or encoder-decoder."""
        return self.spec.kind

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks it has heads for."""
        return tuple(dict.fromkeys(head.task for head in self.heads))

    def head(self, task: str, asked: str | None = None) -> Head:
        """Give the head for a task. asked: the task that it is to serve, if another. Raises UnknownTask."""
        for head in self.heads:
            if head.task == task:
                return head
        raise UnknownTask(asked or task, self.tasks, self.name)

    def head_of(self, config: Mapping[str, Any]) -> Head | None:
        """Give the head that a checkpoint's config.json says it has, if this architecture knows it.

        Raises InvalidConfig.
        """
        claimed = config.get("architectures") or []
        if not isinstance(claimed, list):
            raise InvalidConfig({"architectures": f"is {claimed!r}; it would be a list of class names"}, self.name)
        return next((head for head in self.heads for name in claimed if name in head.classes), None)
