"""Training examples: mappings with the task's columns, from memory, a file, a folder, or a named dataset."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from zoo.errors import ExtraMissing, InvalidInput
from zoo.training.files import READERS, Example, named, read_file

Source = str | Path | Iterable[Example]
Purpose = Literal["train", "eval"]
_SPLITS: Mapping[Purpose, tuple[str, ...]] = {"train": ("train",), "eval": ("validation", "test")}
_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)?(?::[\w.-]+){0,2}")


def read_examples(source: Source, purpose: Purpose = "train") -> list[Example]:
    """Give examples as a list.

    source: a list of mappings or anything that gives them one by one (a `datasets.Dataset`); a file (see
    zoo.training.files); a folder of data files; or the name of a dataset on the hub, as `name`, `name:split` or
    `name:configuration:split`. purpose: which split of a folder or dataset is meant where none is named.
    Raises InvalidInput, ExtraMissing.
    """
    examples = _read_named(source, purpose) if isinstance(source, str | Path) else _listed(source)
    for index, example in enumerate(examples):
        if not isinstance(example, Mapping):
            raise InvalidInput(
                f"Example {index} is {example!r}; it would be a mapping such as {{'text': ..., 'label': ...}}"
            )
    if not examples:
        raise InvalidInput("There are no examples to learn from")
    return examples


def _listed(source: Iterable[Example]) -> list[Example]:
    return named(source) if hasattr(source, "features") else list(source)


def _read_named(source: str | Path, purpose: Purpose) -> list[Example]:
    path = Path(source).expanduser()
    if path.is_dir():
        return _read_folder(path, purpose)
    text = str(source)
    is_path = isinstance(source, Path) or path.exists() or path.suffix.lower() in READERS or text[0] in "./~"
    if is_path or not _NAME.fullmatch(text):
        return read_file(path)
    name, _, rest = text.partition(":")
    configuration, _, split = rest.rpartition(":")
    return _load(name, configuration or None, split or None, purpose)


def _read_folder(path: Path, purpose: Purpose) -> list[Example]:
    """Texts of a folder of plain text, one a file; else what `datasets` makes of the folder."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    if files and all(file.suffix.lower() == ".txt" for file in files):
        return [example for file in files for example in read_file(file)]
    return _load(str(path), None, None, purpose)


def _load(name: str, configuration: str | None, split: str | None, purpose: Purpose) -> list[Example]:
    """Load through `datasets`. Raises InvalidInput, ExtraMissing."""
    try:
        import datasets  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("train", f"the dataset '{name}'", str(error)) from None
    datasets.disable_progress_bars()
    try:
        found: Any = datasets.load_dataset(name, configuration)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise InvalidInput(f"The dataset '{name}' cannot be loaded: {_first_line(error)}") from None
    wanted = (split,) if split is not None else _SPLITS[purpose]
    for part in wanted:
        if part in found:
            return named(found[part])
    raise InvalidInput(
        f"The dataset '{name}' has no split {' or '.join(map(repr, wanted))}; it has: {', '.join(found)}"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def split(examples: Sequence[Example], held_out_share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Give (training, held-out) examples, shuffled by seed. held_out_share: between 0 and 1."""
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = round(len(examples) * held_out_share)
    return [examples[index] for index in order[held_out:]], [examples[index] for index in order[:held_out]]


def hold_out(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Give (training, held-out) examples as `split` does; with single labels, of each label the same share.

    Each label is learnt from and held out at least once. Raises InvalidInput for a label with one example, or where
    nothing would be held out.
    """
    labels = [example.get("label") for example in examples]
    groups: dict[Any, list[Example]] = {}
    if all(isinstance(label, str | int) for label in labels):
        counts = Counter(labels)
        alone = [label for label, count in counts.items() if count == 1]
        if alone:
            raise InvalidInput(
                f"The label {alone[0]!r} has one example, which cannot be both learnt from and held out; "
                "add examples, leave it out, or give held-out examples yourself"
            )
        for example in examples:
            groups.setdefault(example["label"], []).append(example)
    else:
        groups[None] = list(examples)
    train: list[Example] = []
    held_out: list[Example] = []
    for group in groups.values():
        kept, given = split(group, share, seed)
        if len(group) > 1 and not given:
            kept, given = kept[1:], kept[:1]
        if len(group) > 1 and not kept:
            kept, given = given[:1], given[1:]
        train += kept
        held_out += given
    if not train or not held_out:
        lacking = "hold out" if train else "learn from"
        raise InvalidInput(
            f"Of {len(examples)} examples, a share of {share:g} leaves none to {lacking}; give more of them"
        )
    return train, held_out
