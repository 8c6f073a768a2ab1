"""What the parity suite runs over: one Case an architecture, gathered from the modules in `cases/`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis.strategies import SearchStrategy


@dataclass(frozen=True)
class Case:
    """An architecture as transformers builds it.

    config_class: transformers' class of configs. classes: its model class for each task that both have; a task may
    come as "task (remark)" where two classes do it. config: sizes of a small model, every dimension different.
    variants: further settings of the config, by what they show, each laid over `config`. variant_task: the task that
    they are compared by; variant_tasks: another one for some of them. draws: for keys of the config what a random one
    may hold. options: what a class is called with beside its config, by the task as it is written in `classes`.
    """

    architecture: str
    config_class: str
    classes: Mapping[str, str]
    config: Mapping[str, Any]
    variant_task: str
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    draws: Mapping[str, SearchStrategy[Any]] = field(default_factory=dict)
    variant_tasks: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
