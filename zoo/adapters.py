"""Adapters: what LoRA learnt beside a checkpoint, in PEFT's own files, bound to the weights that it was learnt beside."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.checkpoint.layout import Row
from zoo.checkpoint.manifest import Checkpoint
from zoo.checkpoint.reader import read_json, read_optional_json
from zoo.checkpoint.writer import write_json
from zoo.errors import AdapterMismatch, CorruptFile, InvalidInput
from zoo.layers.lora import LoraLinear, fresh_pair
from zoo.lora import LoraConfig
from zoo.model import Model
from zoo.tasks import get_task
from zoo.tasks.base import HeadSettings

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
BINDING_FILE = "zoo_adapter.json"
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
    """An adapter's files, read. task, settings: of the head, None where the files do not say. base: digests by file."""

    path: Path
    config: Mapping[str, Any]
    task: str | None
    settings: HeadSettings | None
    base: Mapping[str, str] | None
    base_name: str | None


def attach(model: Model, config: LoraConfig, seed: int) -> None:
    """Put fresh low-rank neighbours beside a model's matrices, and let nothing else learn but a head for new labels.

    Raises InvalidInput for targets that the model does not have, or where it has an adapter already.
    """
    _refuse_second(model)
    generator = torch.Generator().manual_seed(seed)
    found = list(_targets(model, config.targets))
    model.requires_grad_(False)
    for name, linear in found:
        pair = fresh_pair(linear, config.rank, generator)
        _put(model, name, LoraLinear(linear, *pair, config.alpha / config.rank, config.dropout))
    for name, parameter in model.named_parameters():
        if name in _head_that_learns(model):
            parameter.requires_grad_(True)
    model.adapter = config


def merge(model: Model) -> None:
    """Add what an adapter learnt to the weights: the model is an ordinary one again. Raises InvalidInput without one."""
    if model.adapter is None:
        raise InvalidInput("The model has no adapter to merge")
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLinear):
            _put(model, name, module.merged())
    model.requires_grad_(True)
    model.adapter = None


def digests(checkpoint: Checkpoint) -> dict[str, str]:
    """Give the sha256 of each file of a checkpoint's weights: as its manifest has it, else worked out."""
    known = checkpoint.manifest.files if checkpoint.manifest else {}
    found = {}
    for path in sorted(checkpoint.path.glob("*.safetensors")):
        entry = known.get(path.name)
        if entry is not None and entry.sha256 is not None:
            found[path.name] = entry.sha256
        else:
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


# --- files ------------------------------------------------------------------------------------------------------------


def save_adapter(model: Model, folder: Path) -> None:
    """Write a model's adapter: PEFT's two files, and what binds it to its base. Raises InvalidInput."""
    from safetensors.torch import save_file

    assert model.adapter is not None and model.fit is not None
    tensors, ranks = _hub_tensors(model)
    head = {name.rpartition(".")[0] for name in _head_names(model)}
    folder.mkdir(parents=True, exist_ok=True)
    on_cpu = {_PREFIX + name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(on_cpu, folder / WEIGHTS_FILE, {"format": "pt"})
    base = model.checkpoint
    ratio = model.adapter.alpha / model.adapter.rank
    write_json(
        folder / CONFIG_FILE,
        {
            "peft_type": "LORA",
            "task_type": _PEFT_TASKS.get(model.task),
            "base_model_name_or_path": (base.repo_id or str(base.path)) if base else None,
            "revision": base.commit if base else None,
            "inference_mode": True,
            "r": model.adapter.rank,
            "lora_alpha": model.adapter.alpha,
            "lora_dropout": model.adapter.dropout,
            "rank_pattern": {name: rank for name, rank in ranks.items() if rank != model.adapter.rank},
            "alpha_pattern": {name: ratio * rank for name, rank in ranks.items() if rank != model.adapter.rank},
            "target_modules": _short(ranks, model),
            "modules_to_save": sorted(head) or None,
            "fan_in_fan_out": _is_transposed(model),
            "bias": "none",
        },
    )
    binding: dict[str, Any] = {"task": model.task, "base": digests(base) if base else None}
    if get_task(model.task).fixed_labels is None:
        binding |= {"labels": list(model.labels), "problem_type": model.settings.problem_type}
    write_json(folder / BINDING_FILE, binding)


def read_adapter(folder: str | Path) -> Adapter:
    """Read what an adapter's files say. Raises InvalidInput, CorruptFile."""
    path = Path(folder).expanduser()
    if not (path / CONFIG_FILE).is_file() or not (path / WEIGHTS_FILE).is_file():
        raise InvalidInput(f"'{path}' holds no adapter; it would be a folder with {CONFIG_FILE} and {WEIGHTS_FILE}")
    config = read_json(path / CONFIG_FILE)
    refused = {
        key: config[key]
        for key in ("use_dora", "use_rslora", "lora_bias", "trainable_token_indices")
        if config.get(key)
    }
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or refused:
        what = refused or {key: config.get(key) for key in ("peft_type", "bias")}
        raise InvalidInput(
            f"The adapter in '{path}' is of a kind that is not implemented: {what}; it would be plain LoRA"
        )
    binding = read_optional_json(path / BINDING_FILE)
    labels = binding.get("labels")
    settings = None if labels is None else HeadSettings(tuple(map(str, labels)), binding.get("problem_type"))
    name = config.get("base_model_name_or_path")
    return Adapter(path, config, binding.get("task"), settings, binding.get("base"), name)


def check_base(adapter: Adapter, checkpoint: Checkpoint) -> None:
    """Refuse an adapter that was learnt beside other weights. One that PEFT made says nothing of them. Raises AdapterMismatch."""
    if adapter.base is not None and sorted(adapter.base.values()) != sorted(digests(checkpoint).values()):
        raise AdapterMismatch(adapter.path, adapter.base_name, checkpoint.repo_id or str(checkpoint.path))


def apply_adapter(model: Model, adapter: Adapter) -> None:
    """Put an adapter's matrices beside those of a model, and its head in place. Raises InvalidInput, CorruptFile."""
    from safetensors.torch import load_file

    _refuse_second(model)
    tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(adapter.path / WEIGHTS_FILE).items()}
    parameters = dict(model.named_parameters())
    targets: list[str] = []
    assert model.fit is not None
    for row in (*model.fit.rows, *model.fit.fresh_rows):
        for name, (a, b, scale) in _take_pairs(row, tensors, parameters, adapter).items():
            linear = model.get_submodule(name)
            assert isinstance(linear, nn.Linear)
            like = linear.weight
            _put(model, name, LoraLinear(linear, a.to(like.device), b.to(like.device), scale))
            targets.append(_in_layer(name))
        if all(hub in tensors for hub in row.hub):
            values = row.read([tensors.pop(hub) for hub in row.hub], [parameters[name].shape for name in row.zoo])
            for name, value in zip(row.zoo, values, strict=True):
                with torch.no_grad():
                    parameters[name].copy_(value)
    if tensors or not targets:
        raise CorruptFile(adapter.path / WEIGHTS_FILE, f"the model has no place for {', '.join(sorted(tensors)[:5])}")
    model.requires_grad_(False)
    model.fresh_parameters = ()
    if adapter.settings is not None:
        model.settings = adapter.settings
    config = adapter.config
    model.adapter = LoraConfig(rank=config["r"], alpha=config["lora_alpha"], targets=tuple(dict.fromkeys(targets)))


# --- between our matrices and the Hub's -------------------------------------------------------------------------------


def _hub_tensors(model: Model) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Give the adapter's tensors under the Hub's names, and the rank of each of the Hub's modules.

    Where one of the Hub's matrices is several here, their neighbours stand in blocks beside each other.
    """
    assert model.fit is not None
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    modules = dict(model.named_modules())
    for row in (*model.fit.rows, *model.fit.fresh_rows):
        owners = [modules.get(name.removesuffix(".weight")) for name in row.zoo]
        own = [(index, owner) for index, owner in enumerate(owners) if isinstance(owner, LoraLinear)]
        if own and row.zoo[0].endswith(".weight"):
            outs = [owner.out_features for owner in owners if isinstance(owner, nn.Linear)]
            parts = [_written(row, _block(owner.lora_b, index, outs)) for index, owner in own]
            for place, hub in enumerate(row.hub):
                name = hub.removesuffix(".weight")
                tensors[f"{name}.lora_A.weight"] = torch.cat([owner.lora_a for _, owner in own])
                tensors[f"{name}.lora_B.weight"] = torch.cat([part[place] for part in parts], 1)
                ranks[name] = sum(owner.lora_a.shape[0] for _, owner in own)
    for name, tensor in _head_tensors(model).items():
        tensors[name] = tensor
    return tensors, ranks


def _block(b: Tensor, index: int, outs: Sequence[int]) -> list[Tensor]:
    """Give one neighbour's B at its place among the parts of a row, zeros for the others."""
    return [b if place == index else b.new_zeros(out, b.shape[1]) for place, out in enumerate(outs)]


def _written(row: Row, columns: Sequence[Tensor]) -> list[Tensor]:
    """Give the Hub's (out, rank) matrices from ours: what a row does to the outputs, whatever it does to the axes."""
    turns = row.write([torch.empty(len(part), 1, device="meta") for part in columns])[0].shape[0] == 1
    return [part.t() if turns and sum(map(len, columns)) > 1 else part for part in row.write(list(columns))]


def _take_pairs(
    row: Row, tensors: dict[str, Tensor], parameters: Mapping[str, Tensor], adapter: Adapter
) -> dict[str, tuple[Tensor, Tensor, float]]:
    """Take a row's matrices out of an adapter's tensors: A, B and scale by the name of our module."""
    hubs = [hub.removesuffix(".weight") for hub in row.hub]
    if not all(f"{hub}.lora_A.weight" in tensors for hub in hubs):
        return {}
    first = hubs[0]
    a_parts = [tensors.pop(f"{hub}.lora_A.weight") for hub in hubs]
    b_parts = [tensors.pop(f"{hub}.lora_B.weight") for hub in hubs]
    if any(not part.equal(a_parts[0]) for part in a_parts[1:]):
        raise InvalidInput(
            f"The adapter in '{adapter.path}' has matrices of its own for {', '.join(hubs)}, which are one here"
        )
    config = adapter.config
    rank = config.get("rank_pattern", {}).get(first, config["r"])
    scale = config.get("alpha_pattern", {}).get(first, config["lora_alpha"]) / rank
    rank = a_parts[0].shape[0]
    outs = [parameters[name].shape[0] for name in row.zoo]
    turns = row.write([torch.empty(out, 1, device="meta") for out in outs])[0].shape[0] == 1 and sum(outs) > 1
    b_ours = row.read([part.t() if turns else part for part in b_parts], [torch.Size((out, rank)) for out in outs])
    names = [name.removesuffix(".weight") for name in row.zoo]
    return {name: (a_parts[0], b.contiguous(), scale) for name, b in zip(names, b_ours, strict=True)}


def _head_that_learns(model: Model) -> set[str]:
    """Give the parameters of the head that learn beside the adapter: fresh ones, and those that say what labels mean."""
    names = {name for name in model.fresh_parameters if name.startswith("head.")}
    if get_task(model.task).fixed_labels is None:
        output = model.architecture.head(model.task).output
        names |= {name for name, _ in model.named_parameters() if output and name.startswith(f"head.{output}.")}
    return names


def _head_tensors(model: Model) -> dict[str, Tensor]:
    """Give the tensors of the head that learnt, under the Hub's names."""
    assert model.fit is not None
    parameters = dict(model.named_parameters(remove_duplicate=False))
    learnt = _head_that_learns(model)
    found: dict[str, Tensor] = {}
    for row in (*model.fit.rows, *model.fit.fresh_rows):
        if learnt.intersection(row.zoo):
            found |= zip(row.hub, row.write([parameters[name] for name in row.zoo]), strict=True)
    return found


def _head_names(model: Model) -> list[str]:
    return list(_head_tensors(model))


def _targets(model: Model, targets: Sequence[str]) -> Iterator[tuple[str, nn.Linear]]:
    linears = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.Linear) and ".layers." in name
    }
    known = sorted({_in_layer(name) for name in linears})
    for target in targets:
        if target not in known:
            raise InvalidInput(f"The model has no matrix '{target}' for LoRA; its layers have: {', '.join(known)}")
    yield from ((name, linear) for name, linear in linears.items() if _in_layer(name) in targets)


def _in_layer(name: str) -> str:
    """Give a module's name in its layer: "attention.query" of "backbone.layers.3.attention.query"."""
    parts = name.split(".")
    last = max(index for index, part in enumerate(parts) if part.isdigit())
    return ".".join(parts[last + 1 :])


def _short(ranks: Mapping[str, int], model: Model) -> list[str]:
    """Give PEFT's target_modules: last parts of names where they mean these modules and no other, else whole names."""
    assert model.fit is not None
    every = {hub.removesuffix(".weight") for row in (*model.fit.rows, *model.fit.fresh_rows) for hub in row.hub}
    lasts = {name.rpartition(".")[2] for name in ranks}
    alike = {name for name in every if name.rpartition(".")[2] in lasts}
    return sorted(lasts if alike == set(ranks) else ranks)


def _is_transposed(model: Model) -> bool:
    """Tell whether the Hub holds the adapter's matrices as (in, out), as GPT-2's Conv1D does."""
    assert model.fit is not None
    modules = dict(model.named_modules())
    for row in (*model.fit.rows, *model.fit.fresh_rows):
        owners = [modules.get(name.removesuffix(".weight")) for name in row.zoo]
        if any(isinstance(owner, LoraLinear) for owner in owners):
            shapes = [
                torch.empty(owner.out_features, 1, device="meta") for owner in owners if isinstance(owner, nn.Linear)
            ]
            return bool(row.write(shapes)[0].shape[0] == 1)
    return False


def _put(model: Model, name: str, module: nn.Module) -> None:
    owner, _, last = name.rpartition(".")
    setattr(model.get_submodule(owner), last, module)


def _refuse_second(model: Model) -> None:
    if model.adapter is not None:
        raise InvalidInput("The model has an adapter already; merge it first with model.merge_adapter()")
