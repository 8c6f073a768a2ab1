"""Checkpoints of a run: all that changes in it, written whole or not at all, so that a killed run can be gone on with.

A checkpoint is a folder `checkpoints/step-N` in the result's folder: tensors as safetensors, the rest as JSON.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.checkpoint.reader import read_json
from zoo.errors import CheckpointNotSaved, CorruptFile, ResumeRefused
from zoo.training.config import FinetuneConfig
from zoo.training.state import Evaluation, State

FOLDER = "checkpoints"
STATE_FILE = "state.json"
_STEP = re.compile(r"step-(\d+)")


class Checkpoints:
    """The checkpoints of one run. Only the newest is kept, and the one before it until the newest is complete."""

    def __init__(self, output_dir: Path, config: FinetuneConfig, origin: Mapping[str, Any]) -> None:
        """origin: what the run is made from, as JSON; a checkpoint of another origin is not gone on with."""
        self.folder = output_dir / FOLDER
        self._config = config
        self._origin = dict(origin)
        self._saved_at = time.monotonic()

    def is_due(self, step: int) -> bool:
        """Tell whether a checkpoint is to be written after this step."""
        steps, minutes = self._config.save_steps, self._config.save_minutes
        passed = (time.monotonic() - self._saved_at) / 60
        return (steps is not None and step % steps == 0) or (minutes is not None and passed >= minutes)

    def save(self, state: State) -> None:
        """Write a checkpoint. Raises CheckpointNotSaved, and leaves the one before as it is."""
        from safetensors import SafetensorError

        target = self.folder / f"step-{state.step:08d}"
        temporary = self.folder / f".{target.name}.partial"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            _write(temporary, state, self._origin)
            temporary.rename(target)
            _flush(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointNotSaved(target, state.step, str(error), find_step(self.folder.parent)) from None
        for path in self.folder.iterdir():
            if path != target:
                shutil.rmtree(path)
        self._saved_at = time.monotonic()

    def restore(self, state: State) -> None:
        """Put the newest checkpoint's content in place, where there is one. Raises ResumeRefused, CorruptFile."""
        step = find_step(self.folder.parent)
        if step is None:
            return
        path = self.folder / f"step-{step:08d}"
        saved = read_json(path / STATE_FILE)
        differing = {
            key: (saved["origin"].get(key), self._origin.get(key))
            for key in sorted(saved["origin"].keys() | self._origin.keys())
            if saved["origin"].get(key) != self._origin.get(key)
        }
        if differing:
            raise ResumeRefused(path, step, differing)
        _read(path, state, saved)


def find_step(output_dir: Path) -> int | None:
    """Give the step of the newest checkpoint in the folder of a result, or None where there is none."""
    folder = output_dir / FOLDER
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return max((int(match[1]) for name in names if (match := _STEP.fullmatch(name))), default=None)


def remove_checkpoints(output_dir: Path) -> None:
    """Remove what is no longer needed once the result itself is saved."""
    shutil.rmtree(output_dir / FOLDER, ignore_errors=True)


def _write(folder: Path, state: State, origin: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    files = {"model": state.learnt(), "optimizer": _moments(state), "random": _random_states(state)}
    if state.best is not None:
        files["best"] = state.best
    for name, tensors in files.items():
        path = folder / f"{name}.safetensors"
        save_file({key: tensor.contiguous().cpu() for key, tensor in tensors.items()}, path)
        _flush(path)
    content = {
        "step": state.step,
        "losses": state.losses,
        "evaluations": [asdict(evaluation) for evaluation in state.evaluations],
        "origin": origin,
    }
    (folder / STATE_FILE).write_text(json.dumps(content), encoding="utf-8")
    _flush(folder / STATE_FILE)
    _flush(folder)


def _read(folder: Path, state: State, saved: Mapping[str, Any]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        learnt = state.learnt()
        for name, tensor in load_file(folder / "model.safetensors").items():
            learnt[name].copy_(tensor)
        _take_moments(state, load_file(folder / "optimizer.safetensors"))
        best = folder / "best.safetensors"
        state.best = {n: t.to(learnt[n].device) for n, t in load_file(best).items()} if best.exists() else None
        random = load_file(folder / "random.safetensors")
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise CorruptFile(folder, f"it is no checkpoint of this run ({error})") from None
    state.step, state.losses = saved["step"], list(saved["losses"])
    state.evaluations = [Evaluation(**evaluation) for evaluation in saved["evaluations"]]
    torch.set_rng_state(random["cpu"])
    if "cuda" in random and state.model.device.type == "cuda":
        torch.cuda.set_rng_state(random["cuda"], state.model.device)


def _moments(state: State) -> dict[str, Tensor]:
    """Give what the optimiser remembers of each parameter, by `parameter/entry`."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in state.model.named_parameters()}
    entries = state.optimizer.state.items()
    return {f"{names[parameter]}/{key}": value for parameter, entry in entries for key, value in entry.items()}


def _take_moments(state: State, tensors: Mapping[str, Tensor]) -> None:
    by_name = dict(state.model.named_parameters())
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, entry = key.rpartition("/")
        like = by_name[name]
        if tensor.shape == like.shape:
            tensor = torch.empty_like(like, dtype=tensor.dtype, requires_grad=False).copy_(
                tensor
            )  # strides as the fused kernel reads them
        found.setdefault(name, {})[entry] = tensor
    content = state.optimizer.state_dict()
    names = {parameter: name for name, parameter in by_name.items()}
    ordered = [names[parameter] for group in state.optimizer.param_groups for parameter in group["params"]]
    content["state"] = {index: found[name] for index, name in enumerate(ordered) if name in found}
    state.optimizer.load_state_dict(content)


def _random_states(state: State) -> dict[str, Tensor]:
    device = state.model.device
    on_gpu = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **on_gpu}


def _flush(path: Path) -> None:
    """Have the disk hold what was written, before anything that relies on it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
