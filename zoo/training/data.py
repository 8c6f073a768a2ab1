"""Training examples: mappings with the task's columns, from memory or from a file."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from zoo.errors import InvalidInput

Example = Mapping[str, Any]
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")


def read_examples(source: str | Path | Iterable[Example]) -> list[Example]:
    """Give examples as a list.

    source: a list of mappings or anything that gives them one by one (a `datasets.Dataset`), or a file of JSON lines,
    a JSON list, CSV or TSV with a header. Raises InvalidInput.
    """
    examples = _read_file(Path(source).expanduser()) if isinstance(source, str | Path) else list(source)
    for index, example in enumerate(examples):
        if not isinstance(example, Mapping):
            raise InvalidInput(
                f"Example {index} is {example!r}; it would be a mapping such as {{'text': ..., 'label': ...}}"
            )
    if not examples:
        raise InvalidInput("There are no examples to learn from")
    return examples


def split(examples: Sequence[Example], held_out_share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Give (training, held-out) examples, shuffled by seed. held_out_share: between 0 and 1."""
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = round(len(examples) * held_out_share)
    return [examples[index] for index in order[held_out:]], [examples[index] for index in order[:held_out]]


def _read_file(path: Path) -> list[Example]:
    if path.suffix not in SUFFIXES:
        raise InvalidInput(f"The data file '{path}' is none of: {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InvalidInput(f"There is no data file '{path}'")
    try:
        text = path.read_bytes().decode("utf-8-sig")  # spreadsheets begin their files with a byte-order mark
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The data file '{path}' is not UTF-8 text ({error})") from None
    try:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.split("\n") if line.strip()]  # U+2028 may stand inside a text
        if path.suffix == ".json":
            content = json.loads(text)
            if not isinstance(content, list):
                raise InvalidInput(f"The data file '{path}' holds no list of examples")
            return content
    except ValueError as error:
        raise InvalidInput(f"The data file '{path}' is not valid JSON ({error})") from None
    try:
        # newline="": a quoted field may hold line breaks of its own.
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="," if path.suffix == ".csv" else "\t"))
    except csv.Error as error:
        raise InvalidInput(f"The data file '{path}' is not valid {path.suffix[1:].upper()} ({error})") from None
