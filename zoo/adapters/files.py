"""An adapter's files, written and read: PEFT's two, and what binds them to their base."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.adapters.attaching import let_learn, name_in_layer, put, refuse_second
from zoo.adapters.conversion import (
    LORA_A,
    LORA_B,
    MAGNITUDE,
    Neighbour,
    Unfit,
    is_transposed,
    read_neighbours,
    rows_of,
    whole_tensors,
    write_neighbours,
)
from zoo.adapters.settings import PeftSettings, read_settings
from zoo.checkpoint.adapter_files import ADAPTER_CONFIG, ADAPTER_RECORD, ADAPTER_WEIGHTS, read_record
from zoo.checkpoint.headers import read_header
from zoo.checkpoint.layout import Row
from zoo.checkpoint.manifest import Checkpoint
from zoo.checkpoint.reader import read_json
from zoo.checkpoint.writer import write_json
from zoo.errors import CorruptFile, InvalidInput
from zoo.layers.lora import LoraLinear
from zoo.lora import LoraConfig, divisor
from zoo.model import Model
from zoo.tasks import get_task
from zoo.tasks.base import HeadSettings

_PREFIX = "base_model.model."
_PEFT_TASKS = {
    "text-classification": "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
    "question-answering": "QUESTION_ANS",
    "text-generation": "CAUSAL_LM",
    "text2text-generation": "SEQ_2_SEQ_LM",
    "summarization": "SEQ_2_SEQ_LM",
    "translation": "SEQ_2_SEQ_LM",
    "feature-extraction": "FEATURE_EXTRACTION",
}


@dataclass(frozen=True)
class Adapter:
    """An adapter's files, read. where: its repository or folder.

    task, head: what it was learnt for, None where the files do not say. base: sha256 of the base's weights by file;
    locked_base: the same as one digest, as the project's lock holds it.
    """

    path: Path
    where: str
    config: Mapping[str, Any]
    settings: PeftSettings
    task: str | None
    head: HeadSettings | None
    base: Mapping[str, str] | None
    locked_base: str | None = None


def save_adapter(model: Model, folder: Path, base: Mapping[str, str] | None) -> None:
    """Write a model's adapter: PEFT's two files, and what binds it to its base. base: sha256 of its weights by file."""
    from safetensors.torch import save_file

    neighbours = write_neighbours(model)
    whole = whole_tensors(model)
    tensors = dict(whole)
    for name, one in neighbours.items():
        tensors |= {name + LORA_A: one.a, name + LORA_B: one.b} | (
            {} if one.magnitude is None else {name + MAGNITUDE: one.magnitude}
        )
    folder.mkdir(parents=True, exist_ok=True)
    on_cpu = {_PREFIX + name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(on_cpu, folder / ADAPTER_WEIGHTS, {"format": "pt"})
    write_json(folder / ADAPTER_CONFIG, _config(model, neighbours, {name.rpartition(".")[0] for name in whole}))
    record: dict[str, Any] = {"task": model.task, "base": dict(base) if base is not None else None}
    if get_task(model.task).fixed_labels is None:
        record |= {"labels": list(model.labels), "problem_type": model.settings.problem_type}
    write_json(folder / ADAPTER_RECORD, record)


def _config(model: Model, neighbours: Mapping[str, Neighbour], whole: set[str]) -> dict[str, Any]:
    """Give PEFT's settings: of all modules, and of those that are not as all."""
    lora, base = model.adapter, model.checkpoint
    assert lora is not None
    ranks = {name: len(one.a) for name, one in neighbours.items()}
    alphas = {name: one.scale * divisor(ranks[name], lora.use_rslora) for name, one in neighbours.items()}
    return {
        "peft_type": "LORA",
        "task_type": _PEFT_TASKS.get(model.task),
        "base_model_name_or_path": (base.repo_id or str(base.path)) if base else None,
        "revision": base.commit if base else None,
        "inference_mode": True,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "rank_pattern": {name: rank for name, rank in ranks.items() if rank != lora.rank},
        "alpha_pattern": {name: alpha for name, alpha in alphas.items() if not math.isclose(alpha, lora.alpha)},
        "target_modules": _short(list(ranks), model),
        "modules_to_save": sorted(whole) or None,
        "fan_in_fan_out": is_transposed(model),
        "bias": "none",
        "use_dora": lora.use_dora,
        "use_rslora": lora.use_rslora,
    }


def _short(modules: list[str], model: Model) -> list[str]:
    """Give PEFT's target_modules: last parts of names where they mean these modules and no other, else whole names."""
    every = {hub.removesuffix(".weight") for row in rows_of(model) for hub in row.hub}
    lasts = {name.rpartition(".")[2] for name in modules}
    alike = {name for name in every if name.rpartition(".")[2] in lasts}
    return sorted(lasts if alike == set(modules) else modules)


def read_adapter(found: Checkpoint, locked_base: str | None = None) -> Adapter:
    """Read what an adapter's files say. Raises InvalidInput, CorruptFile."""
    path, where = found.path, found.repo_id or str(found.path)
    if not (path / ADAPTER_CONFIG).is_file() or not (path / ADAPTER_WEIGHTS).is_file():
        raise InvalidInput(
            f"'{where}' holds no adapter; it would have the files {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS}"
        )
    config = read_json(path / ADAPTER_CONFIG)
    settings, record = read_settings(config, where), read_record(path)
    read_header(path / ADAPTER_WEIGHTS)
    head = None if record.labels is None else _head_settings(record.labels, record.problem_type, path)
    return Adapter(path, where, config, settings, record.task, head, record.base, locked_base)


def _head_settings(labels: tuple[str, ...], problem_type: str | None, path: Path) -> HeadSettings:
    if problem_type not in (None, "single_label_classification", "multi_label_classification", "regression"):
        raise CorruptFile(path / ADAPTER_RECORD, f"its problem_type is {problem_type[:60]!r}")
    return HeadSettings(labels, problem_type)  # type: ignore[arg-type]


def apply_adapter(model: Model, adapter: Adapter) -> None:
    """Put an adapter's matrices beside those of a model, and its head in place. Raises InvalidInput, CorruptFile.

    On the meta device this tells whether names and shapes fit.
    """
    from safetensors.torch import load_file

    refuse_second(model)
    tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(adapter.path / ADAPTER_WEIGHTS).items()}
    filled: set[str] = set()
    targets: list[str] = []
    try:
        for row in rows_of(model):
            for name, one in read_neighbours(row, tensors, model, adapter.settings).items():
                _put_beside(model, name, one)
                targets.append(name_in_layer(name))
            if all(hub in tensors for hub in row.hub):
                _refuse_tied(row, model, adapter)
                filled |= _copy_whole(row, tensors, model)
    except Unfit as error:
        raise CorruptFile(adapter.path / ADAPTER_WEIGHTS, str(error)) from None
    if tensors:
        raise CorruptFile(
            adapter.path / ADAPTER_WEIGHTS, f"the model has no place for {', '.join(sorted(tensors)[:5])}"
        )
    if not targets:
        raise CorruptFile(adapter.path / ADAPTER_WEIGHTS, "it holds nothing beside any of the model's matrices")
    model.learnt_whole = frozenset(filled)
    model.fresh_parameters = tuple(name for name in model.fresh_parameters if name not in filled)
    if adapter.head is not None:
        model.settings = adapter.head
    known = adapter.settings
    model.adapter = LoraConfig(
        rank=known.r,
        alpha=known.lora_alpha,
        targets=tuple(dict.fromkeys(targets)),
        use_dora=known.use_dora,
        use_rslora=known.use_rslora,
    )
    let_learn(model)


def _put_beside(model: Model, name: str, one: Neighbour) -> None:
    linear = model.get_submodule(name)
    assert isinstance(linear, nn.Linear)
    device = linear.weight.device
    magnitude = None if one.magnitude is None else one.magnitude.to(device)
    put(model, name, LoraLinear(linear, one.a.to(device), one.b.to(device), one.scale, magnitude=magnitude))


def _refuse_tied(row: Row, model: Model, adapter: Adapter) -> None:
    """Raises InvalidInput for a parameter that PEFT keeps apart from another, and that is one with it here."""
    own = {id(model.get_parameter(name)) for name in row.zoo}
    names = [name for name, one in model.named_parameters(remove_duplicate=False) if id(one) in own]
    if len(names) > len(row.zoo) and not adapter.config.get("ensure_weight_tying"):
        raise InvalidInput(
            f"The adapter '{adapter.where}' has {', '.join(row.hub)} of its own, which is one parameter with others in this "
            f"model ({', '.join(names)}), and PEFT would keep them apart. Train it with ensure_weight_tying, or leave it out of "
            "modules_to_save"
        )


def _copy_whole(row: Row, tensors: dict[str, Tensor], model: Model) -> set[str]:
    """Copy the tensors of a row that an adapter holds whole, as those of a head; give the parameters' names. Raises Unfit."""
    parameters = [model.get_parameter(name) for name in row.zoo]
    given = [tensors.pop(hub) for hub in row.hub]
    for hub, tensor, like in zip(
        row.hub, given, row.write([parameter.detach() for parameter in parameters]), strict=True
    ):
        if tensor.shape != like.shape:
            raise Unfit(f"{hub} has the shape {tuple(tensor.shape)}; in this model it would be {tuple(like.shape)}")
    with torch.no_grad():
        for parameter, value in zip(
            parameters, row.read(given, [parameter.shape for parameter in parameters]), strict=True
        ):
            parameter.copy_(value)
    return set(row.zoo)
