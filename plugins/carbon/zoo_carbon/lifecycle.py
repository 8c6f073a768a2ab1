"""The hooks around a training run: begin counting, keep what was counted, and hand it to the result.

Counting never stops a training: whatever goes wrong with it is said on stderr, and the training goes on.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zoo
from zoo_carbon.tracking import Tracking

_trackings: dict[int, Tracking] = {}
"""By the identity of the run, which lives as long as its training does."""


@zoo.hookimpl
def zoo_training_started(run: Any) -> None:
    """Begin to count, unless `ZOO_CARBON=off`, or the first of several processes counts the machine for all."""
    if os.environ.get("ZOO_CARBON", "").lower() == "off" or os.environ.get("LOCAL_RANK", "0") != "0":
        return
    with _forgiving():
        _trackings[id(run)] = Tracking(
            run.config.output_dir,
            "fine-tuning" if run.model.checkpoint else "pre-training",
            run.model.device.type,
            _say,
        )
        weakref.finalize(run, _finish, id(run))  # a training that fails has no end, but lets its run go


@zoo.hookimpl
def zoo_training_step(run: Any, step: int) -> dict[str, float] | None:
    """Learn from the first step whether this run goes on from an earlier one; give the grams of all of it so far."""
    tracking = _trackings.get(id(run))
    if tracking is not None:
        with _forgiving():
            tracking.decide(step)
            if tracking.sessions.footprint is not None:
                return {"CO2_grams": tracking.sessions.footprint.grams}
    return None


@zoo.hookimpl
def zoo_training_finished(run: Any, result: Any) -> None:
    """End counting, and tell the result."""
    _finish(id(run), result)


def _finish(key: int, result: Any = None) -> None:
    tracking = _trackings.pop(key, None)
    if tracking is None:
        return
    with _forgiving():
        footprint = tracking.finish()
        _say(f"carbon: {footprint}")
        if result is not None:
            result.emissions, result.footprint = footprint.grams / 1000, footprint


@contextmanager
def _forgiving() -> Iterator[None]:
    """Say what goes wrong, and go on."""
    try:
        yield
    except Exception as error:
        _say(f"carbon: this training is not counted: {error or type(error).__name__}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
