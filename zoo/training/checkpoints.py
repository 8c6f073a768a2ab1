"""Checkpoints of a run: all that changes in it, written whole or not at all, so that a killed run can be gone on with.

A checkpoint is a folder `checkpoints/step-N` in the result's folder: tensors as safetensors, the rest as JSON. Several
ranks each write their own part of every tensor, by torch's distributed checkpointing; it tells in each file's header which
part that is, and reads whatever parts there are into those that ranks hold now. So any number of ranks goes on with what
any other number wrote.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.checkpoint.reader import read_json
from zoo.errors import CheckpointNotSaved, CorruptFile, ResumeRefused
from zoo.training.batches import epoch_seed
from zoo.training.config import FinetuneConfig
from zoo.training.distributed import ranks
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
        """Tell whether a checkpoint is to be written after this step: by the first rank's clock, for all."""
        steps, minutes = self._config.save_steps, self._config.save_minutes
        if minutes is not None and ranks.broadcast((time.monotonic() - self._saved_at) / 60 >= minutes):
            return True
        return steps is not None and step % steps == 0

    def save(self, state: State) -> None:
        """Write a checkpoint. Raises CheckpointNotSaved, and leaves the one before as it is."""
        from safetensors import SafetensorError
        from torch.distributed.checkpoint.api import CheckpointException

        target = self.folder / f"step-{state.step:08d}"
        temporary = self.folder / f".{target.name}.partial"
        try:
            if ranks.is_first():
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
            ranks.wait()
            _write_tensors(temporary, _tensors(state))
            if ranks.is_first():
                _complete(temporary, target, state, self._origin)
        except (OSError, SafetensorError, CheckpointException) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointNotSaved(target, state.step, _reason(error), find_step(self.folder.parent)) from None
        ranks.wait()
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


def _complete(temporary: Path, target: Path, state: State, origin: Mapping[str, Any]) -> None:
    """Add what is no tensor, have the disk hold all of it, and let it take the place of the one before."""
    content = {
        "step": state.step,
        "losses": state.losses,
        "evaluations": [asdict(evaluation) for evaluation in state.evaluations],
        "origin": origin,
    }
    (temporary / STATE_FILE).write_text(json.dumps(content), encoding="utf-8")
    for path in (*temporary.iterdir(), temporary):
        _flush(path)
    temporary.rename(target)
    _flush(target.parent)
    for path in target.parent.iterdir():
        if path != target:
            shutil.rmtree(path)


def _write_tensors(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write tensors by kind and name: each kind to a file, or each rank's part of all kinds."""
    from safetensors.torch import save_file
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    if ranks.count() > 1:
        save(_flat(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
        return
    for kind, named in tensors.items():
        on_cpu = {name: tensor.contiguous().cpu() for name, tensor in _flat({kind: named}).items()}
        save_file(on_cpu, folder / f"{kind}.safetensors")


def _read(folder: Path, state: State, saved: Mapping[str, Any]) -> None:
    """Raises CorruptFile."""
    from safetensors import SafetensorError
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(folder))
    try:
        entries: Mapping[str, Any] = reader.read_metadata().state_dict_metadata
        stored: dict[str, torch.Size] = {name: entry.size for name, entry in entries.items()}
        learnt = state.learnt()
        moments = _room_for_moments(state, stored)
        best = {name: torch.empty_like(like) for name, like in learnt.items() if f"best/{name}" in stored}
        random = {name: value for name, value in _random_states(state).items() if f"random/{name}" in stored}
        tensors = _flat({"model": learnt, "optimizer": moments, "best": best, "random": random})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # as it is for one alone
            load(tensors, storage_reader=reader, no_dist=ranks.count() == 1)
        _take_moments(state, moments)
    except (OSError, SafetensorError, KeyError, RuntimeError, CheckpointException) as error:
        raise CorruptFile(folder, f"it is no checkpoint of this run ({_reason(error)})") from None
    state.best = best or None
    state.step, state.losses = saved["step"], list(saved["losses"])
    state.evaluations = [Evaluation(**evaluation) for evaluation in saved["evaluations"]]
    _take_random_states(state, random)


def _tensors(state: State) -> dict[str, Mapping[str, Tensor]]:
    """Give all tensors of a state, by kind and name."""
    best = {} if state.best is None else {"best": state.best}
    return {"model": state.learnt(), "optimizer": _moments(state), "random": _random_states(state), **best}


def _flat(tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Give tensors by `kind/name`."""
    return {f"{kind}/{name}": tensor for kind, named in tensors.items() for name, tensor in named.items()}


def _reason(error: BaseException) -> str:
    """Give what went wrong; of what went wrong on ranks, one."""
    failures = getattr(error, "failures", None)
    return str(next(iter(failures.values()))[0]) if failures else str(error)


def _moments(state: State) -> dict[str, Tensor]:
    """Give what the optimiser remembers of each parameter, by `parameter/entry`."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in state.model.named_parameters()}
    entries = state.optimizer.state.items()
    return {f"{names[parameter]}/{key}": value for parameter, entry in entries for key, value in entry.items()}


def _room_for_moments(state: State, stored: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Give tensors for the moments that were stored, sharded as their parameters are, with strides as those have them."""
    by_name = dict(state.model.named_parameters())
    found = {}
    for key, size in stored.items():
        kind, _, name = key.partition("/")
        if kind == "optimizer":
            like = by_name[name.rpartition("/")[0]]
            found[name] = torch.empty_like(like, requires_grad=False) if size == like.shape else torch.empty(size)
    return found


def _take_moments(state: State, tensors: Mapping[str, Tensor]) -> None:
    names = {parameter: name for name, parameter in state.model.named_parameters()}
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, entry = key.rpartition("/")
        found.setdefault(name, {})[entry] = tensor
    content = state.optimizer.state_dict()
    ordered = [names[parameter] for group in state.optimizer.param_groups for parameter in group["params"]]
    content["state"] = {index: found[name] for index, name in enumerate(ordered) if name in found}
    state.optimizer.load_state_dict(content)


def _random_states(state: State) -> dict[str, Tensor]:
    """Give the states of this rank's random numbers, by `rank/device`."""
    device = state.model.device
    on_gpu = {f"{state.rank}/cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {f"{state.rank}/cpu": torch.get_rng_state(), **on_gpu}


def _take_random_states(state: State, stored: Mapping[str, Tensor]) -> None:
    """Go on with the random numbers stored for this rank; one more than there were begins with others than any had."""
    if not stored:
        torch.manual_seed(epoch_seed(torch.initial_seed(), state.step))
    for name, value in stored.items():
        if name.endswith("/cpu"):
            torch.set_rng_state(value)
        else:
            torch.cuda.set_rng_state(value, state.model.device)


def _flush(path: Path) -> None:
    """Have the disk hold what was written, before anything that relies on it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
