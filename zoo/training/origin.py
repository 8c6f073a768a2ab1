"""What a run is made from: told by digests, so that a checkpoint is gone on with in the run that it is of."""

from __future__ import annotations

import ctypes
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from zoo.model import Model
from zoo.tasks.base import Features
from zoo.training.config import FinetuneConfig

ORDERING = (
    "epochs",
    "max_steps",
    "batch_size",
    "tokens_per_batch",
    "accumulation",
    "frozen_layers",
    "layer_decay",
    "lora",
    "seed",
    "data_seed",
)
"""Settings that decide the order of the run and what its optimiser holds; all others may change when it is gone on with."""


def origin_of(
    model: Model, features: Sequence[Features], held_out: Sequence[Features], config: FinetuneConfig
) -> dict[str, Any]:
    """Give what decides a run, as JSON: settings, and digests of the weights it starts from and of its examples."""
    weights = hashlib.sha256()
    for name, parameter in model.named_parameters():
        weights.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}".encode())
        weights.update(_content(parameter.detach()))
    return {
        **config.model_dump(mode="json", include=set(ORDERING)),
        "task": model.task,
        "weights": weights.hexdigest(),
        "examples": _digest(features),
        "held-out examples": _digest(held_out),
    }


def _content(tensor: Tensor) -> ctypes.Array[ctypes.c_char]:
    """Give a tensor's bytes. The tensor lives as long as what is given back."""
    on_cpu = tensor.cpu().contiguous()
    content = (ctypes.c_char * on_cpu.nbytes).from_address(on_cpu.data_ptr())
    content.tensor = on_cpu  # type: ignore[attr-defined]
    return content


def _digest(features: Sequence[Features]) -> str:
    digest = hashlib.sha256()
    for feature in features:
        digest.update(json.dumps([feature.ids, feature.type_ids, feature.label]).encode())
    return digest.hexdigest()
