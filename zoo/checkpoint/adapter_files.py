"""An adapter's files: PEFT's two, and Zoo's record of what it was learnt beside. In a folder, or on a hub."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.checkpoint.reader import INDEX_FILE, WEIGHTS_FILE, read_json, read_optional_json
from zoo.errors import AdapterAlone, CorruptFile
from zoo.references import is_commit, is_repository

if TYPE_CHECKING:
    from zoo.checkpoint.manifest import Checkpoint

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_RECORD = "zoo_adapter.json"
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADAPTER_RECORD)


@dataclass(frozen=True)
class Record:
    """What Zoo writes beside PEFT's files; what is unknown is None. base: sha256 of the base's weights by file."""

    task: str | None = None
    labels: tuple[str, ...] | None = None
    problem_type: str | None = None
    base: Mapping[str, str] | None = None


def holds_adapter(names: Collection[str]) -> bool:
    """Tell whether files, by their names, are an adapter and no whole checkpoint."""
    return ADAPTER_CONFIG in names and WEIGHTS_FILE not in names and INDEX_FILE not in names


def is_adapter(folder: Path) -> bool:
    """Tell whether a folder holds an adapter and no whole checkpoint."""
    names = (ADAPTER_CONFIG, WEIGHTS_FILE, INDEX_FILE)
    return holds_adapter([name for name in names if (folder / name).is_file()])


def read_record(folder: Path) -> Record:
    """Read zoo_adapter.json, where there is one. Raises CorruptFile."""
    path = folder / ADAPTER_RECORD
    found = read_optional_json(path)
    texts = {key: found.get(key) for key in ("task", "problem_type")}
    labels, base = found.get("labels"), found.get("base")
    wrong = [key for key, value in texts.items() if not isinstance(value, str | None)]
    wrong += ["labels"] * (labels is not None and not _are_texts(labels))
    wrong += ["base"] * (base is not None and not (isinstance(base, dict) and base and _are_texts([*base.values()])))
    if wrong:
        raise CorruptFile(path, f"its {wrong[0]} is {str(found[wrong[0]])[:60]!r}")
    return Record(texts["task"], None if labels is None else tuple(labels), texts["problem_type"], base)


def weights_digest(digests: Collection[str]) -> str:
    """Give one sha256 for weights: that of their file, or where they are several, of the files' digests, sorted, a line each."""
    return next(iter(digests)) if len(digests) == 1 else hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def named_base(config: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Give what adapter_config.json names as its base, and the commit: None where that is no reference, or no commit."""
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    printable = isinstance(name, str) and name.isprintable() and 0 < len(name) < 1000
    return (str(name) if printable else None), (str(revision) if is_commit(revision) else None)


def base_reference(config: Mapping[str, Any]) -> str | None:
    """Give the reference to the base that an adapter names: `org/name`, with its commit where that is known, or a path."""
    name, commit = named_base(config)
    return f"{name}@{commit}" if commit and is_repository(name) else name


def kind_of(config: Mapping[str, Any]) -> str:
    """Say what adapter_config.json describes, such as "LoRA of rank 8"."""
    kind = {"LORA": "DoRA" if config.get("use_dora") else "LoRA"}.get(
        str(config.get("peft_type")), config.get("peft_type")
    )
    return f"{kind} of rank {config.get('r')}"


def refuse_adapter(checkpoint: Checkpoint) -> None:
    """Refuse an adapter where a whole checkpoint is wanted. Raises AdapterAlone, CorruptFile."""
    if is_adapter(checkpoint.path):
        config = read_json(checkpoint.path / ADAPTER_CONFIG)
        raise AdapterAlone(checkpoint.repo_id or str(checkpoint.path), base_reference(config))


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
