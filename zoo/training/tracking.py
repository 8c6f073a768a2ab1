"""Who looks on at a run: plugins, and the run's own trackers, which implement the same lifecycle hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo import host
from zoo.training.distributed import ranks

if TYPE_CHECKING:
    from zoo.training.loop import Run

Tracker = Any
"""An object with some of the lifecycle hooks of zoo.hookspecs as methods, each marked with zoo.hookimpl."""


def tell(hook: str, run: Run, **facts: Any) -> None:
    """Tell plugins, then trackers, of an event. A plugin that fails is set aside; what a tracker raises ends the run.

    Of several ranks, the first tells.
    """
    if not ranks.is_first():
        return
    host.notify(hook, run=run, **facts)
    for hooks in run.hooks:
        getattr(hooks, hook)(run=run, **facts)


def tell_of_step(run: Run, step: int, metrics: dict[str, float]) -> None:
    """Tell of a step in the same order; trackers find the figures that plugins answer with among the metrics."""
    if not ranks.is_first():
        return
    given = host.figures("zoo_training_step", run=run, step=step, metrics=metrics)
    for hooks in run.hooks:
        hooks.zoo_training_step(run=run, step=step, metrics={**metrics, **given})
