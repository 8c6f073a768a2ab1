"""Files of training examples: JSON lines, JSON, CSV, TSV, CoNLL columns, plain text, Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zoo.errors import ExtraMissing, InvalidInput

Example = Mapping[str, Any]


def read_file(path: Path) -> list[Example]:
    """Give the examples in a file; its suffix says how it is to be read. Raises InvalidInput, ExtraMissing."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidInput(f"The data file '{path}' is none of: {', '.join(READERS)}")
    if not path.is_file():
        raise InvalidInput(f"There is no data file '{path}'")
    return reader(path)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")  # spreadsheets begin their files with a byte-order mark
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The data file '{path}' is not UTF-8 text ({error})") from None


def _read_lines(path: Path) -> list[Example]:
    try:
        return [json.loads(line) for line in _text(path).split("\n") if line.strip()]  # U+2028 may stand inside a text
    except ValueError as error:
        raise InvalidInput(f"The data file '{path}' is not valid JSON ({error})") from None


def _read_json(path: Path) -> list[Example]:
    try:
        content = json.loads(_text(path))
    except ValueError as error:
        raise InvalidInput(f"The data file '{path}' is not valid JSON ({error})") from None
    if not isinstance(content, list):
        raise InvalidInput(f"The data file '{path}' holds no list of examples")
    return content


def _read_table(path: Path) -> list[Example]:
    """CSV or TSV with a header: every value is a text."""
    delimiter = "," if path.suffix.lower() == ".csv" else "\t"
    try:
        # newline="": a quoted field may hold line breaks of its own.
        rows = list(csv.DictReader(io.StringIO(_text(path), newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise InvalidInput(f"The data file '{path}' is not valid {path.suffix[1:].upper()} ({error})") from None
    for line, row in enumerate(rows):
        if None in row:
            raise InvalidInput(f"Example {line} of the data file '{path}' has more fields than the header names")
    return list(rows)


def _read_columns(path: Path) -> list[Example]:
    """CoNLL: a word a line, its tag in the last column, an empty line after each sentence (Tjong Kim Sang 2003)."""
    sentences: list[tuple[list[str], list[str]]] = [([], [])]
    for number, line in enumerate(_text(path).split("\n"), start=1):
        fields = line.split()
        if not fields or fields[0] == "-DOCSTART-":
            sentences.append(([], []))
            continue
        if len(fields) == 1:
            raise InvalidInput(f"Line {number} of the data file '{path}' is {line!r}; it would be a word and its tag")
        sentences[-1][0].append(fields[0])
        sentences[-1][1].append(fields[-1])
    return [{"tokens": tokens, "tags": tags} for tokens, tags in sentences if tokens]


def _read_text(path: Path) -> list[Example]:
    """The whole file is one text."""
    return [{"text": text}] if (text := _text(path)).strip() else []


def _read_parquet(path: Path) -> list[Example]:
    try:
        from datasets import Dataset  # type: ignore[import-untyped]
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("train", "Parquet files", str(error)) from None
    try:
        return named(Dataset(parquet.read_table(path)))
    except ArrowException as error:
        raise InvalidInput(f"The data file '{path}' is not valid Parquet ({error})") from None


def named(dataset: Any) -> list[Example]:
    """Give the examples of a `datasets.Dataset`, labels that it keeps as numbers by their names."""
    names: dict[str, list[str]] = {}
    for column, feature in dataset.features.items():
        found = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
        if found:
            names[column] = found

    def name_of(value: Any, labels: list[str]) -> Any:
        if isinstance(value, list):
            return [name_of(part, labels) for part in value]
        return labels[value] if isinstance(value, int) and 0 <= value < len(labels) else None

    return [{key: name_of(v, names[key]) if key in names else v for key, v in example.items()} for example in dataset]


READERS: Mapping[str, Callable[[Path], list[Example]]] = {
    ".jsonl": _read_lines,
    ".json": _read_json,
    ".csv": _read_table,
    ".tsv": _read_table,
    ".conll": _read_columns,
    ".txt": _read_text,
    ".parquet": _read_parquet,
}
