"""token-classification: named entities and other labels of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo.errors import InvalidInput
from zoo.tasks import metrics
from zoo.tasks.base import (
    IGNORED_LABEL,
    Features,
    HeadSettings,
    Output,
    TokenLevelTask,
    check_columns,
    check_texts,
    encode_texts,
    with_labels,
)

if TYPE_CHECKING:
    from zoo.model import Model


@dataclass(frozen=True)
class Entity:
    """A stretch of the text: its label without B- or I-, the text itself, and where it stands (characters).

    score: the mean probability of its words.
    """

    label: str
    text: str
    start: int
    end: int
    score: float


class TokenClassification(TokenLevelTask):
    """One label a word, decided at the word's first piece; neighbours of one entity are joined (BIO labels)."""

    name = "token-classification"
    columns = ("tokens", "tags")

    def encode(self, inputs: Sequence[Any], model: Model) -> list[Features]:
        """inputs: texts."""
        check_texts(inputs)
        return encode_texts(inputs, model)

    def interpret(
        self, inputs: Sequence[Any], features: Sequence[Features], rows: Sequence[Output], model: Model
    ) -> list[list[Entity]]:
        """Give the entities of each text, in order; the label O is no entity."""
        return [
            _entities(text, _words(feature, row, model.labels))
            for text, feature, row in zip(inputs, features, rows, strict=True)
        ]

    def settings_for(self, examples: Sequence[Mapping[str, Any]]) -> HeadSettings:
        """The tags found, sorted, O first."""
        check_columns(examples, self.columns, self.name)
        _check_words(examples)
        found = {str(tag) for example in examples for tag in example["tags"]}
        if not found:
            raise InvalidInput("No example holds anything to learn from: all are without words")
        return HeadSettings(tuple(sorted(found, key=lambda tag: (tag != "O", tag))))

    def encode_examples(
        self, examples: Sequence[Mapping[str, Any]], model: Model, max_length: int | None
    ) -> list[Features]:
        """examples: `tokens` (words) and `tags`, one for each. A word's first piece carries its tag.

        An example without words is left out.
        """
        check_columns(examples, self.columns, self.name)
        _check_words(examples)
        for index, example in enumerate(examples):
            unknown = [tag for tag in example["tags"] if str(tag) not in model.labels]
            if unknown:
                raise InvalidInput(
                    f"Example {index} has the tag {unknown[0]!r}; the model's labels are: {', '.join(model.labels)}"
                )
        features = encode_texts([example["tokens"] for example in examples], model, words=True, max_length=max_length)
        for feature, example in zip(features, examples, strict=True):
            tags = [model.labels.index(str(tag)) for tag in example["tags"]]
            words = feature.encoding.word_ids
            firsts = [word is not None and (index == 0 or words[index - 1] != word) for index, word in enumerate(words)]
            feature.label = [tags[word] if first else IGNORED_LABEL for word, first in zip(words, firsts, strict=True)]
        return with_labels(features)

    def record(self, feature: Features, row: Output, settings: HeadSettings) -> tuple[list[str], list[str]]:
        """The tags answered for the words that count, beside the right ones."""
        assert row.logits is not None
        pairs = zip(row.logits.argmax(-1).tolist(), feature.label, strict=True)
        counted = [
            (settings.labels[answer], settings.labels[label]) for answer, label in pairs if label != IGNORED_LABEL
        ]
        return [answer for answer, _ in counted], [label for _, label in counted]

    def measure(self, records: Sequence[tuple[list[str], list[str]]]) -> dict[str, float]:
        """precision, recall and f1 of entities, accuracy of words. See zoo.tasks.metrics."""
        return metrics.entities([answers for answers, _ in records], [labels for _, labels in records])


def _check_words(examples: Sequence[Mapping[str, Any]]) -> None:
    """Refuse examples that are not words with a tag each. Raises InvalidInput."""
    for index, example in enumerate(examples):
        tokens, tags = example["tokens"], example["tags"]
        for column, value in (("tokens", tokens), ("tags", tags)):
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise InvalidInput(f"Example {index} has the {column} {value!r}; it would be a list, one for each word")
        if not all(isinstance(token, str) for token in tokens):
            raise InvalidInput(f"Example {index} has the tokens {tokens!r}; they would be texts")
        wrong = [tag for tag in tags if tag is None or isinstance(tag, float)]
        if wrong:
            raise InvalidInput(f"Example {index} has the tag {wrong[0]!r}; tags would be names, such as O, or numbers")
        if len(tokens) != len(tags):
            raise InvalidInput(f"Example {index} has {len(tokens)} tokens and {len(tags)} tags; they go in pairs")


@dataclass(frozen=True)
class _Word:
    label: str
    score: float
    start: int
    end: int


def _words(feature: Features, row: Output, labels: Sequence[str]) -> list[_Word]:
    """Give each word with the label and probability of its first piece, and its place in the text."""
    assert row.logits is not None
    scores, choices = row.logits.softmax(-1).max(-1)
    words: list[_Word] = []
    previous = None
    for position, word in enumerate(feature.encoding.word_ids):
        start, end = feature.encoding.offsets[position]
        if word is None:
            continue
        if word == previous:
            words[-1] = _Word(words[-1].label, words[-1].score, words[-1].start, end)
        else:
            words.append(_Word(labels[int(choices[position])], float(scores[position]), start, end))
        previous = word
    return words


def _entities(text: str, words: Sequence[_Word]) -> list[Entity]:
    """Join neighbouring words of one entity: a B- label, or another kind, begins a new one."""
    groups: list[list[_Word]] = []
    for previous, word in zip([None, *words], words, strict=False):
        if word.label == "O":
            continue
        continues = (
            previous is not None and not word.label.startswith("B-") and _kind(previous.label) == _kind(word.label)
        )
        if continues:
            groups[-1].append(word)
        else:
            groups.append([word])
    return [
        Entity(
            label=_kind(group[0].label),
            text=text[group[0].start : group[-1].end],
            start=group[0].start,
            end=group[-1].end,
            score=sum(word.score for word in group) / len(group),
        )
        for group in groups
    ]


def _kind(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label


TASK = TokenClassification()
