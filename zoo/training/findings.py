"""What a trained model gets wrong among held-out examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.model import Model
from zoo.tasks import get_task
from zoo.tasks.base import IGNORED_LABEL, run
from zoo.tasks.text2text_generation import Text2TextGeneration
from zoo.tasks.text_classification import problem_type

MOST_MISSES = 20
MOST_WRITTEN = 100  # to write takes long
WORDS_BESIDE = 8


@dataclass(frozen=True)
class Miss:
    """An example with another answer than the right one.

    score: the model's, for its answer; of a written text how like the right one it is, chrF from 0 to 1.
    """

    text: str
    expected: str
    answered: str
    score: float


@dataclass(frozen=True)
class Findings:
    """What was found over `examined` examples.

    confusion: how many examples, or words, had a label (row) and got one (column), in the order of `labels`; empty where
    there are none.
    misses: those of which the model was most sure, or written texts least like the right ones; misses_are: which, in words.
    """

    examined: int = 0
    labels: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    misses: tuple[Miss, ...] = ()
    misses_are: str = "Wrong answers that it was most sure of"

    def confusions(self) -> list[tuple[str, str, int]]:
        """Give (label, answer, count) of what was taken for something else, the most frequent first."""
        wrong = [
            (expected, answered, count)
            for expected, row in zip(self.labels, self.confusion, strict=True)
            for answered, count in zip(self.labels, row, strict=True)
            if count and expected != answered
        ]
        return sorted(wrong, key=lambda entry: -entry[2])


def examine(model: Model, examples: Sequence[Mapping[str, Any]], batch_size: int = 32) -> Findings:
    """Let a model answer examples, and give what it gets wrong.

    examples: with the task's columns. Of text classification with one label a text, of the tags of words, of question
    answering, and of the first hundred texts to be written; other tasks have no answer that is right or wrong by itself, and
    no findings.
    """
    if model.task == "token-classification":
        return _tags(model, examples, batch_size)
    if model.task == "text-classification" and problem_type(model.settings) == "single_label_classification":
        return _classification(model, examples, batch_size)
    if model.task == "question-answering":
        return _answers(model, examples, batch_size)
    if examples and isinstance(get_task(model.task), Text2TextGeneration):
        return _texts(model, examples[:MOST_WRITTEN], batch_size)
    return Findings()


def _classification(model: Model, examples: Sequence[Mapping[str, Any]], batch_size: int) -> Findings:
    given = [(e["text"], e["text_pair"]) if e.get("text_pair") is not None else e["text"] for e in examples]
    answers = model.predict(given, batch_size)
    expected = [_label(example["label"], model.labels) for example in examples]
    counts = Counter((label, answer.label) for label, answer in zip(expected, answers, strict=True))
    misses = [
        Miss(text if isinstance(text, str) else " | ".join(text), label, answer.label, answer.score)
        for text, label, answer in zip(given, expected, answers, strict=True)
        if answer.label != label
    ]
    confusion = tuple(tuple(counts[label, answer] for answer in model.labels) for label in model.labels)
    return Findings(len(examples), model.labels, confusion, _surest(misses))


def _tags(model: Model, examples: Sequence[Mapping[str, Any]], batch_size: int) -> Findings:
    """Count words, and show a wrong one among those beside it."""
    features = get_task(model.task).encode_examples(examples, model, model.max_length)
    counts: Counter[tuple[int, int]] = Counter()
    misses = []
    for feature, row in zip(features, run(features, model, batch_size), strict=True):
        assert row.logits is not None
        scores, answers = row.logits.softmax(-1).max(-1)
        for position, right in enumerate(feature.label):
            if right == IGNORED_LABEL:
                continue
            answer = int(answers[position])
            counts[right, answer] += 1
            if answer != right:
                text = _beside(examples[feature.source]["tokens"], feature.encoding.word_ids[position])
                misses.append(Miss(text, model.labels[right], model.labels[answer], float(scores[position])))
    numbers = range(len(model.labels))
    confusion = tuple(tuple(counts[label, answer] for answer in numbers) for label in numbers)
    return Findings(len(examples), model.labels, confusion, _surest(misses))


def _beside(words: Sequence[str], index: int) -> str:
    """Give a word in angle quotes, with those near it."""
    before, after = words[max(0, index - WORDS_BESIDE) : index], words[index + 1 : index + 1 + WORDS_BESIDE]
    return " ".join([*before, f"«{words[index]}»", *after])


def _answers(model: Model, examples: Sequence[Mapping[str, Any]], batch_size: int) -> Findings:
    answers = model.predict(examples, batch_size)
    misses = [
        Miss(example["question"], " / ".join(right), answer.text, answer.score)
        for example, answer in zip(examples, answers, strict=True)
        if answer.text not in (right := example["answers"]["text"])
    ]
    return Findings(len(examples), misses=_surest(misses))


def _texts(model: Model, examples: Sequence[Mapping[str, Any]], batch_size: int) -> Findings:
    from sacrebleu import sentence_chrf

    task = get_task(model.task)
    features = task.encode_examples(examples, model, model.max_length)
    records = task.records(features, model, batch_size)
    assert records is not None
    misses = [
        Miss(example["source"], example["target"], answer, sentence_chrf(answer, [example["target"]]).score / 100)
        for example, (answer, _) in zip(examples, records, strict=True)
        if answer != example["target"]
    ]
    least = sorted(misses, key=lambda miss: miss.score)[:MOST_MISSES]
    return Findings(len(examples), misses=tuple(least), misses_are="Texts least like the right ones, by chrF")


def _label(given: Any, labels: Sequence[str]) -> str:
    """Give a label's name, also where the data has its number."""
    name = str(given)
    return name if name in labels else labels[int(name)]


def _surest(misses: Sequence[Miss]) -> tuple[Miss, ...]:
    return tuple(sorted(misses, key=lambda miss: -miss.score)[:MOST_MISSES])
