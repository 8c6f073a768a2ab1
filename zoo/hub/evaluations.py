"""Evaluations in a model's card: for people under a heading of its own, for the Hub in the metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import InvalidInput
from zoo.hub.card import CARD_FILE, check_card

HEADING = "## Evaluation"


@dataclass(frozen=True)
class Evaluation:
    """What was measured. metrics: value, and the ends of its 95 % interval, by name. command: that gives the same again."""

    task: str
    dataset: str
    examples: int
    metrics: Mapping[str, tuple[float, float, float]]
    command: str


def write_evaluation(folder: Path, evaluation: Evaluation) -> Path:
    """Put an evaluation into the card of a checkpoint's folder, in place of one of the same task and data.

    Gives the card's path. Raises InvalidInput for a card whose metadata cannot be read.
    """
    path = folder / CARD_FILE
    wrong = check_card(path) if path.is_file() else None
    if wrong is not None:
        raise InvalidInput(f"The card '{path}' cannot be added to: {wrong}. Mend its metadata first")
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# {folder.resolve().name}\n"
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_text(with_evaluation(text, folder.resolve().name, evaluation), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def with_evaluation(text: str, name: str, evaluation: Evaluation) -> str:
    """Give a card's text with an evaluation. name: of the model, where the card names none."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    has_metadata = text.lstrip("\ufeff \r\n").startswith("---")
    data, body = ModelCardData(), text
    if has_metadata:
        card = ModelCard(text)
        assert isinstance(card.data, ModelCardData)
        data, body = card.data, card.text
    key = (evaluation.task, evaluation.dataset)
    others = [result for result in data.eval_results or [] if (result.task_type, result.dataset_name) != key]
    data.eval_results = others + [
        EvalResult(
            task_type=evaluation.task,
            dataset_type=evaluation.dataset,
            dataset_name=evaluation.dataset,
            metric_type=metric,
            metric_value=round(value, 6),
        )
        for metric, (value, _, _) in evaluation.metrics.items()
    ]
    data.model_name = data.model_name or name
    return f"---\n{data.to_yaml().strip()}\n---\n\n{_with_section(body.strip(), evaluation)}\n"


def _with_section(body: str, evaluation: Evaluation) -> str:
    title = f"### {evaluation.task} on {evaluation.dataset}"
    rows = "\n".join(
        f"| {metric} | {value:.4f} | {low:.4f} to {high:.4f} |"
        for metric, (value, low, high) in evaluation.metrics.items()
    )
    entry = (
        f"{title}\n\nOn {evaluation.examples:,} examples; the intervals are those of 95 in 100 bootstrap draws.\n\n"
        f"| metric | value | interval |\n|---|---|---|\n{rows}\n\n```\n{evaluation.command}\n```"
    )
    known = re.compile(rf"^{re.escape(title)}\n.*?(?=^#|\Z)", re.MULTILINE | re.DOTALL)
    if known.search(body):
        return known.sub(lambda _: entry + "\n\n", body).strip()
    if re.search(rf"^{HEADING}$", body, re.MULTILINE):
        return re.sub(rf"^{HEADING}$", lambda _: f"{HEADING}\n\n{entry}", body, count=1, flags=re.MULTILINE)
    return f"{body}\n\n{HEADING}\n\n{entry}"
