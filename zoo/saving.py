"""From a model to files in the Hub's format."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from zoo.adapters.binding import digests
from zoo.adapters.files import save_adapter
from zoo.checkpoint.fitting import written
from zoo.checkpoint.reader import CONFIG_FILE
from zoo.checkpoint.writer import write_json, write_weights
from zoo.errors import InvalidInput
from zoo.model import Model
from zoo.tasks import get_task, head_task
from zoo.tokenization import TOKENIZER_FILES

POOLING_FILES = (
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "[0-9]_*/config.json",
)


def save(model: Model, folder: Path, max_shard_size: str = "5GB") -> None:
    """Write a model in the Hub's format. See Model.save. Raises InvalidInput for quantised weights."""
    if model.adapter is not None:
        save_adapter(model, folder, digests(model.checkpoint) if model.checkpoint else None)
        return
    assert model.fit is not None
    if model.quantized is not None:
        raise InvalidInput(
            f"The model was loaded with quantize='{model.quantized}', and no longer has the weights of its checkpoint. "
            "Load it without, and save that; quantise where you load it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    tensors = written(model, model.fit) | dict(model.kept)
    write_weights({name: tensor.cpu() for name, tensor in tensors.items()}, folder, max_shard_size)
    write_json(folder / CONFIG_FILE, model_config(model))
    if model.tokenizer is not None:
        _copy(model.tokenizer.folder, folder, TOKENIZER_FILES)
    if model.settings_folder is not None:
        pooling = POOLING_FILES if model.task == "feature-extraction" else ()
        _copy(model.settings_folder, folder, ("generation_config.json", *pooling))


def model_config(model: Model) -> dict[str, Any]:
    """Give the config.json of a model: its checkpoint's own, with what differs by now."""
    original = dict(model.config) if model.config is not None else None
    config = model.spec.to_config(original)
    own = model.architecture.head_of(original or {})
    wanted = head_task(model.task)
    head = own if own is not None and own.task == wanted else model.architecture.head(wanted)
    named = get_task(model.task).fixed_labels is None
    if own is not head:
        config["architectures"] = [head.classes[0]]
    if named and (original is None or type(model.settings).from_config(original) != model.settings):
        config = _without_labels(config) | model.settings.to_config()
    elif not named and own is not head:
        config = _without_labels(config)  # another head's: `transformers` would give this one as many outputs
    dtype = str(model.dtype).removeprefix("torch.")
    for key in [key for key in ("dtype", "torch_dtype") if key in config] or ([] if original else ["dtype"]):
        config[key] = dtype
    return config


def _without_labels(config: Mapping[str, Any]) -> dict[str, Any]:
    stale = ("id2label", "label2id", "num_labels", "_num_labels", "problem_type", "finetuning_task")
    return {key: value for key, value in config.items() if key not in stale}


def _copy(source: Path, target: Path, patterns: Sequence[str]) -> None:
    """Copy the files that fit a pattern, unless source and target are the same folder."""
    if source.resolve() == target.resolve():
        return
    for path in source.rglob("*"):
        name = "/".join(path.relative_to(source).parts)
        if path.is_file() and any(fnmatchcase(name, pattern) for pattern in patterns):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)
