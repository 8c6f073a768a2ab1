"""Columns: which of the data's columns is which of the task's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zoo.errors import InvalidInput
from zoo.tasks.base import Task
from zoo.training.files import Example

USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "text": (
        "anchor",
        "query",
        "sentence",
        "review",
        "content",
        "document",
        "body",
        "tweet",
        "comment",
        "sentence1",
        "premise",
    ),
    "positive": ("answer", "passage", "pair", "sentence2", "hypothesis", "text_pair"),
    "text_pair": ("sentence2", "hypothesis"),
    "label": ("labels", "target", "class", "category", "sentiment", "stars", "score"),
    "tokens": ("words",),
    "tags": ("ner_tags", "labels"),
    "source": ("article", "document", "dialogue", "text"),
    "target": ("highlights", "summary", "abstract"),
}
"""Under which names published datasets have what a task's column means, likeliest first."""


def choose_columns(examples: Sequence[Example], task: Task, wanted: Mapping[str, str]) -> dict[str, str]:
    """Give the data's column for each of the task's that goes by another name: as wanted, else by the usual names.

    Raises InvalidInput for wishes that the task or the data does not have.
    """
    has = list(examples[0])
    takes = (*task.columns, *task.optional_columns)
    for column, name in wanted.items():
        if column not in takes:
            raise InvalidInput(f"'{task.name}' has no column '{column}'; it has: {', '.join(takes)}")
        if name not in has:
            raise InvalidInput(f"The examples have no column '{name}' to be the {column}; they have: {', '.join(has)}")
    chosen = {column: name for column, name in wanted.items() if column != name}
    taken = {*wanted.values(), *(column for column in takes if column in has)}
    lower = {str(name).lower(): name for name in has if name not in taken}
    for column in takes:
        if column in has or column in wanted:
            continue
        found = [lower[name] for name in (column, *USUAL_NAMES.get(column, ())) if name in lower]
        if found and not (column in task.optional_columns and not chosen):
            chosen[column] = found[0]
            lower = {key: name for key, name in lower.items() if name != found[0]}
    return chosen


def rename(examples: Sequence[Example], chosen: Mapping[str, str]) -> list[Example]:
    """Give the examples with the task's own names for its columns."""
    if not chosen:
        return list(examples)
    return [{**example, **{column: example.get(name) for column, name in chosen.items()}} for example in examples]
