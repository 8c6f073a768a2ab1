"""The contract between Zoo and its plugins. An implementation takes those of a hook's arguments that it wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

    from zoo.architecture import Architecture
    from zoo.checkpoint.manifest import Checkpoint
    from zoo.model import Model
    from zoo.tasks.base import Task

hookspec = pluggy.HookspecMarker("zoo")
hookimpl = pluggy.HookimplMarker("zoo")


@hookspec
def zoo_architectures() -> Sequence[Architecture]:  # type: ignore[empty-body]
    """Give the architectures this module provides. Called when one of them is first used.

    The module is named by an entry point in group `zoo.encoder_only`, `zoo.decoder_only` or `zoo.encoder_decoder`,
    one entry point per architecture name, so that it can be listed without being imported.
    """


@hookspec
def zoo_tasks() -> Sequence[Task]:  # type: ignore[empty-body]
    """Give the tasks this module provides (group `zoo.tasks`, one entry point per task name)."""


@hookspec
def zoo_commands(cli: click.Group) -> None:
    """Add commands to `zoo` (group `zoo.commands`, one entry point per command name). Called when one is first used."""


@hookspec
def zoo_catalogues() -> Sequence[Path]:  # type: ignore[empty-body]
    """Give folders of catalogue files, `*.toml` (group `zoo.catalogues`). See zoo.hub.catalogue for their form."""


@hookspec
def zoo_sources() -> Sequence[Any]:  # type: ignore[empty-body]
    """Give sources for references of further schemes, such as `s3://` (group `zoo.sources`)."""


@hookspec
def zoo_checkpoint_pulled(checkpoint: Checkpoint) -> None:
    """A checkpoint was fetched and verified (lifecycle, group `zoo.lifecycle`)."""


@hookspec
def zoo_model_loaded(model: Model) -> None:
    """A model was loaded from a checkpoint (lifecycle)."""


@hookspec
def zoo_training_started(run: Any) -> None:
    """Training begins. `run` is a zoo.training.loop.Run: settings, model, folder (lifecycle)."""


@hookspec
def zoo_training_step(run: Any, step: int, metrics: dict[str, float]) -> Mapping[str, float] | None:
    """An optimiser step was taken (lifecycle).

    metrics: `loss`, `learning_rate`, `gradient_norm` before it is clipped, and `tokens_per_second`, padding left out.
    An implementation may give figures of its own, by a name with its unit such as `CO2_grams`: they are shown to whoever
    looks on, and trackers of the run find them among the metrics.
    """


@hookspec
def zoo_training_evaluated(run: Any, step: int, metrics: dict[str, float]) -> None:
    """Held-out examples were measured after a step; metrics hold `eval_loss` and the task's own (lifecycle)."""


@hookspec
def zoo_training_finished(run: Any, result: Any) -> None:
    """Training ended; a plugin may set `result.emissions`, in kg, and `result.footprint` (lifecycle).

    A training that fails has no end: `run` is let go, and no hook is called.
    """


@hookspec
def zoo_before_push(checkpoint: Path) -> str | None:
    """A folder is about to be pushed. Return a reason to refuse it, or None (lifecycle)."""
