"""TensorBoard's events of a run: its curves, in a folder that `tensorboard --logdir` shows."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import ExtraMissing
from zoo.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from zoo.training.loop import Run


class TensorBoard:
    """A tracker that writes loss, learning rate and what else a step has under `train/`, evaluations under `eval/`."""

    def __init__(self, folder: Path) -> None:
        """Raises ExtraMissing where the package is not installed."""
        require_tensorboard()
        self._folder = folder
        self._writer: SummaryWriter | None = None

    @hookimpl
    def zoo_training_step(self, run: Run, step: int, metrics: Mapping[str, float]) -> None:
        """Write the figures of a step."""
        self._write(run, step, {f"train/{name}": value for name, value in metrics.items()})

    @hookimpl
    def zoo_training_evaluated(self, run: Run, step: int, metrics: Mapping[str, float]) -> None:
        """Write the figures of an evaluation, and have the disk hold all so far."""
        self._write(run, step, {f"eval/{name.removeprefix('eval_')}": value for name, value in metrics.items()}).flush()

    @hookimpl
    def zoo_training_finished(self) -> None:
        """Write the last of them."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, run: Run, step: int, figures: Mapping[str, float]) -> SummaryWriter:
        writer = self._writer or self._open(run, step)
        for name, value in figures.items():
            writer.add_scalar(name, value, step)
        return writer

    def _open(self, run: Run, step: int) -> SummaryWriter:
        """Begin at a step: what an earlier session wrote of it and of later ones is no part of the curve any more."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder), purge_step=step)
        weakref.finalize(run, self._writer.close)  # a training that fails has no end, but lets its run go
        return self._writer


def require_tensorboard() -> None:
    """Raises ExtraMissing where the package is not installed."""
    try:
        import torch.utils.tensorboard as _writers  # noqa: F401
    except ImportError as error:
        raise ExtraMissing("tensorboard", "TensorBoard's events", str(error)) from None


def trackers_for(folder: Path | None) -> tuple[Any, ...]:
    """Give the tracker of a run whose settings name a folder for events."""
    return () if folder is None else (TensorBoard(folder),)
