"""text-classification: a label for a text, several labels, or a number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from zoo.errors import InvalidInput
from zoo.tasks import metrics
from zoo.tasks.base import (
    Features,
    HeadSettings,
    Output,
    Task,
    check_columns,
    check_not_empty,
    check_texts,
    encode_texts,
)
from zoo.tasks.soft_targets import binary_divergence, divergence, told

if TYPE_CHECKING:
    from zoo.model import Model


@dataclass(frozen=True)
class Label:
    """A label and its score: a probability, or the predicted number where the head was made for regression."""

    label: str
    score: float


class TextClassification(Task):
    """Single label (the default), multi-label, or regression, as the checkpoint's `problem_type` says."""

    name = "text-classification"
    columns = ("text", "label")
    optional_columns = ("text_pair",)

    def output(self, scores: Tensor | None, hidden: Tensor, labels: Tensor | None, settings: HeadSettings) -> Output:
        """labels: int64 (batch,) for a single label; 0/1 (batch, labels) for several; float (batch,) for regression."""
        assert scores is not None
        loss = None if labels is None else self._loss(scores.float(), labels, settings)
        return Output(last_hidden_state=hidden, logits=scores, loss=loss)

    @staticmethod
    def _loss(scores: Tensor, labels: Tensor, settings: HeadSettings) -> Tensor:
        match problem_type(settings, labels):
            case "regression":
                return F.mse_loss(scores.reshape(labels.shape), labels.float())
            case "multi_label_classification":
                return F.binary_cross_entropy_with_logits(scores, labels.float())
            case _:
                return F.cross_entropy(scores, labels.reshape(-1))

    def encode(self, inputs: Sequence[Any], model: Model) -> list[Features]:
        """inputs: texts, or pairs of texts as tuples. Longer than the model are cut at the end."""
        self._check(inputs)
        return encode_texts(inputs, model)

    @staticmethod
    def _check(inputs: Sequence[Any]) -> None:
        if isinstance(inputs, str) or not all(_is_pair(text) for text in inputs):
            check_texts(inputs)

    def interpret(
        self, inputs: Sequence[Any], features: Sequence[Features], rows: Sequence[Output], model: Model
    ) -> list[Label] | list[list[Label]]:
        """Give each text's likeliest label; with multi-label, all labels, likeliest first."""
        logits = [row.logits for row in rows if row.logits is not None]
        names = model.labels
        match problem_type(model.settings):
            case "regression":
                return [Label(names[0], float(row[0])) for row in logits]
            case "multi_label_classification":
                scored = [[Label(*pair) for pair in zip(names, row.sigmoid().tolist(), strict=True)] for row in logits]
                return [sorted(labels, key=lambda label: -label.score) for labels in scored]
            case _:
                best = [row.softmax(-1).max(-1) for row in logits]
                return [Label(names[int(top.indices)], float(top.values)) for top in best]

    def settings_for(self, examples: Sequence[Mapping[str, Any]]) -> HeadSettings:
        """Numbers that are not all whole ask for regression, lists of labels for multi-label; else the labels found."""
        check_columns(examples, self.columns, self.name)
        values = _numbers([example["label"] for example in examples])
        if all(type(value) in (int, float) for value in values) and any(isinstance(value, float) for value in values):
            return HeadSettings(("score",), "regression")
        if all(isinstance(value, list | tuple) for value in values):
            found = {label for value in values for label in value}
            return HeadSettings(_named(found), "multi_label_classification")
        if not all(isinstance(value, str | int) for value in values):
            raise InvalidInput(
                "The labels are not of one sort; they would all be names, all lists of names, or all numbers"
            )
        return HeadSettings(_named(set(values)), "single_label_classification")

    def serves(self, own: HeadSettings, wanted: HeadSettings) -> bool:
        """The problem must be the same; labels may also be the numbers of the head's own, counted from 0."""
        if wanted.problem_type != problem_type(own):
            return False
        if wanted.problem_type == "regression" or set(wanted.labels) <= set(own.labels):
            return True
        return set(wanted.labels) <= {str(number) for number in range(len(own.labels))}

    def encode_examples(
        self, examples: Sequence[Mapping[str, Any]], model: Model, max_length: int | None
    ) -> list[Features]:
        """examples: `text` (and `text_pair`, where there is one) and `label`."""
        check_columns(examples, self.columns, self.name)
        texts = [(e["text"], e["text_pair"]) if e.get("text_pair") is not None else e["text"] for e in examples]
        check_not_empty(examples, "text")
        self._check(texts)
        features = encode_texts(texts, model, max_length=max_length)
        kind = problem_type(model.settings)
        for feature, example in zip(features, examples, strict=True):
            feature.label = _target(example["label"], model.labels, kind, feature.source)
        return features

    def collate_labels(self, features: Sequence[Features], length: int, settings: HeadSettings) -> Tensor:
        """See output()."""
        return torch.tensor([feature.label for feature in features])

    def soft_loss(
        self, output: Output, taught: Output, counts: Tensor, settings: HeadSettings, temperature: float
    ) -> Tensor:
        """With several labels the divergence of each label's probability; for regression the mean square to the number."""
        assert output.logits is not None and taught.logits is not None
        match problem_type(settings):
            case "regression":
                return F.mse_loss(output.logits.float(), taught.logits.float())
            case "multi_label_classification":
                return binary_divergence(output.logits, taught.logits, temperature)
            case _:
                return divergence(output.logits, taught.logits, temperature)

    def describe_soft_loss(self, settings: HeadSettings, temperature: float) -> str:
        """See Task."""
        if problem_type(settings) == "regression":
            return "the mean square of the difference from the teacher's number"
        several = problem_type(settings) == "multi_label_classification"
        return told("probability of each label" if several else "probabilities", temperature)

    def record(self, feature: Features, row: Output, settings: HeadSettings) -> tuple[Any, Any]:
        """The answer beside the label: a number, a tuple of 0 and 1, or the number predicted."""
        assert row.logits is not None
        match problem_type(settings):
            case "regression":
                return float(row.logits[0]), feature.label
            case "multi_label_classification":
                return tuple((row.logits > 0).long().tolist()), tuple(int(value) for value in feature.label)
            case _:
                return int(row.logits.argmax()), feature.label

    def measure(self, records: Sequence[tuple[Any, Any]]) -> dict[str, float]:
        """accuracy (multi-label: of whole sets) and f1; for regression mse and correlations. See zoo.tasks.metrics."""
        answers, labels = [answer for answer, _ in records], [label for _, label in records]
        if isinstance(answers[0], float):
            return metrics.regression(answers, labels)
        measure = metrics.several_labels if isinstance(answers[0], tuple) else metrics.classification
        return measure(answers, labels)


def problem_type(settings: HeadSettings, labels: Tensor | None = None) -> str:
    """Give the problem type: the checkpoint's own, else by the Hub's convention from the number and dtype of labels."""
    if settings.problem_type is not None:
        return settings.problem_type
    if len(settings.labels) == 1:
        return "regression"
    if labels is not None and labels.is_floating_point():
        return "multi_label_classification"
    return "single_label_classification"


def _is_pair(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, str) for part in value)
    )


def _named(values: set[Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in sorted(values, key=lambda value: (isinstance(value, str), value)))


def _numbers(labels: Sequence[Any], *, whole: bool = False) -> list[Any]:
    """Give labels that a table holds as texts as numbers, where all are such and one at least has a fraction.

    whole: whether they are meant as numbers without a fraction too; otherwise 0 and 1 are names.
    """
    try:
        numbers = [float(label) for label in labels if isinstance(label, str)]
    except ValueError:
        return list(labels)
    fractions = whole or any(not number.is_integer() for number in numbers)
    return numbers if len(numbers) == len(labels) and fractions else list(labels)


def _target(label: Any, names: Sequence[str], kind: str, index: int) -> Any:
    """Give the number, or row of 0 and 1, that the loss compares with. Raises InvalidInput."""
    if kind == "regression":
        (label,) = _numbers([label], whole=True)
        if isinstance(label, bool) or not isinstance(label, int | float) or not math.isfinite(label):
            raise InvalidInput(f"Example {index} has the label {label!r}; regression learns from numbers")
        return float(label)
    several = kind == "multi_label_classification"
    wanted = list(label) if several and isinstance(label, list | tuple) else [label]
    numbers = [_number(value, names) for value in wanted]
    unknown = [value for value, number in zip(wanted, numbers, strict=True) if number is None]
    if unknown:
        raise InvalidInput(f"Example {index} has the label {unknown[0]!r}; the model's labels are: {', '.join(names)}")
    return [float(number in numbers) for number in range(len(names))] if several else numbers[0]


def _number(label: Any, names: Sequence[str]) -> int | None:
    """Give the number of a label that is named, or given by its number; None for neither."""
    if str(label) in names:
        return names.index(str(label))
    number = int(label) if str(label).isdecimal() else len(names)
    return number if number < len(names) else None


TASK = TextClassification()
