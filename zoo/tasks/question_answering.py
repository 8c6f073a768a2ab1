"""question-answering: the span of a context that answers a question (Rajpurkar et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from zoo.errors import InvalidInput
from zoo.tasks import metrics
from zoo.tasks.base import Features, HeadSettings, Output, Task, check_columns, check_not_empty, tokenizer_of
from zoo.tasks.soft_targets import divergence, told

if TYPE_CHECKING:
    from zoo.model import Model

WINDOW_OVERLAP_TOKENS = 128
LONGEST_ANSWER_TOKENS = 30


@dataclass(frozen=True)
class Answer:
    """The answer's text, where it stands in the context (characters), and its probability."""

    text: str
    start: int
    end: int
    score: float


class QuestionAnswering(Task):
    """Questions with contexts; a context longer than the model is read in overlapping windows."""

    name = "question-answering"
    columns = ("question", "context", "answers")
    fixed_labels = ("start", "end")

    def output(self, scores: Tensor | None, hidden: Tensor, labels: Tensor | None, settings: HeadSettings) -> Output:
        """scores: (batch, time, 2). labels: int64 (batch, 2), first and last position of the answer."""
        assert scores is not None
        start, end = scores.unbind(-1)
        loss = None
        if labels is not None:
            first, last = labels.unbind(-1)
            loss = (F.cross_entropy(start.float(), first) + F.cross_entropy(end.float(), last)) / 2
        return Output(last_hidden_state=hidden, start_logits=start, end_logits=end, loss=loss)

    def encode(self, inputs: Sequence[Any], model: Model) -> list[Features]:
        """inputs: mappings with `question` and `context`, or pairs of the two."""
        if isinstance(inputs, str | Mapping):
            raise InvalidInput("One question was given where a list of them is expected; write [question]")
        if not inputs:
            return []
        return self._windows(inputs, model, model.max_length)

    @staticmethod
    def _windows(inputs: Sequence[Any], model: Model, longest: int | None) -> list[Features]:
        """Give a feature for each window of at most `longest` tokens."""
        pairs = [_pair(value, index) for index, value in enumerate(inputs)]
        tokenizer = tokenizer_of(model)
        window = None
        if longest is not None:
            # The question is kept whole, so it must leave room for a window of the context.
            room = [longest - len(e.ids) for e in tokenizer.encode([(question, "") for question, _ in pairs])]
            for index, tokens in enumerate(room):
                if tokens < 2:
                    raise InvalidInput(
                        f"Question {index} leaves no room for a context within the model's {longest} tokens; shorten it"
                    )
            window = min([WINDOW_OVERLAP_TOKENS, *(tokens // 2 for tokens in room)])
        features = []
        for source, encoding in enumerate(tokenizer.encode(pairs, max_length=longest, window=window)):
            features += [Features(e.ids, e.type_ids, source, e) for e in (encoding, *encoding.overflowing)]
        return features

    def interpret(
        self, inputs: Sequence[Any], features: Sequence[Features], rows: Sequence[Output], model: Model
    ) -> list[Answer]:
        """Give the likeliest span of each context; the probability is taken over its best window."""
        best: dict[int, Answer] = {}
        for feature, row in zip(features, rows, strict=True):
            _, context = _pair(inputs[feature.source], feature.source)
            answer = _best_span(feature, row, context)
            if feature.source not in best or answer.score > best[feature.source].score:
                best[feature.source] = answer
        return [best[source] for source in range(len(inputs))]

    def encode_examples(
        self, examples: Sequence[Mapping[str, Any]], model: Model, max_length: int | None
    ) -> list[Features]:
        """examples: `question`, `context` and `answers` ({"text": [...], "answer_start": [...]}, the first counts).

        A window without the whole answer learns to point at the first token.
        """
        check_columns(examples, self.columns, self.name)
        check_not_empty(examples, "question")
        check_not_empty(examples, "context")
        spans = [_answer_span(example, index) for index, example in enumerate(examples)]
        features = self._windows(examples, model, max_length)
        for feature in features:
            start, end = spans[feature.source]
            inside = [
                position
                for position in _context_positions(feature)
                if feature.encoding.offsets[position][0] < end and feature.encoding.offsets[position][1] > start
            ]
            whole = (
                inside
                and feature.encoding.offsets[inside[0]][0] <= start
                and feature.encoding.offsets[inside[-1]][1] >= end
            )
            feature.label = [inside[0], inside[-1]] if whole else [0, 0]
            feature.reference = examples[feature.source]["context"], list(examples[feature.source]["answers"]["text"])
        return features

    def soft_loss(
        self, output: Output, taught: Output, counts: Tensor, settings: HeadSettings, temperature: float
    ) -> Tensor:
        """The mean of the divergences of start and end over the tokens of each text (Sanh et al. 2019, section 4.1)."""
        start, end = (
            divergence(_within(found, counts), _within(wanted, counts), temperature)
            for found, wanted in (
                (output.start_logits, taught.start_logits),
                (output.end_logits, taught.end_logits),
            )
        )
        return (start + end) / 2

    def describe_soft_loss(self, settings: HeadSettings, temperature: float) -> str:
        """See Task."""
        return told("probabilities of start and end", temperature)

    def record(self, feature: Features, row: Output, settings: HeadSettings) -> tuple[int, Answer, list[str]]:
        """The question that a window is of, the window's likeliest answer, and the right ones."""
        context, right = feature.reference
        return feature.source, _best_span(feature, row, context), right

    def collapse(self, records: Sequence[tuple[int, Answer, list[str]]]) -> list[tuple[str, list[str]]]:
        """The likeliest answer over each question's windows, and the right ones."""
        best: dict[int, tuple[Answer, list[str]]] = {}
        for source, answer, right in records:
            if source not in best or answer.score > best[source][0].score:
                best[source] = answer, right
        return [(answer.text, right) for answer, right in best.values()]

    def measure(self, records: Sequence[tuple[str, list[str]]]) -> dict[str, float]:
        """exact and f1. See zoo.tasks.metrics."""
        return metrics.answers_in_text([answer for answer, _ in records], [right for _, right in records])


def _within(scores: Tensor | None, counts: Tensor) -> Tensor:
    """Give scores in float32, next to no probability left for the padding."""
    assert scores is not None
    return scores.float().masked_fill(~counts, -1e9)


def _pair(value: Any, index: int) -> tuple[str, str]:
    found = (value.get("question"), value.get("context")) if isinstance(value, Mapping) else value
    if isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, str) for part in found):
        return found
    raise InvalidInput(f'Input {index} is {value!r}; it would be {{"question": ..., "context": ...}}')


def _answer_span(example: Mapping[str, Any], index: int) -> tuple[int, int]:
    """Give where the first answer begins and ends in the context, in characters. Raises InvalidInput."""
    answers, context = example["answers"], example["context"]
    try:
        texts, starts = answers["text"], answers["answer_start"]
        if len(texts) == len(starts) == 0:
            raise InvalidInput(
                f"Example {index} has no answer; it would have one, taken from its context: leave it out"
            )
        text, start = str(texts[0]), int(starts[0])
    except (KeyError, IndexError, TypeError, ValueError):
        raise InvalidInput(
            f"Example {index} has the answers {answers!r}; they would have lists 'text' and 'answer_start'"
        ) from None
    there = context[max(start, 0) :][: len(text)]
    if there != text or not text:
        raise InvalidInput(
            f"Example {index} has the answer {text!r} at {start}, and its context has {there!r} there; "
            "answer_start would count the characters of the context before the answer"
        )
    return start, start + len(text)


def _context_positions(feature: Features) -> list[int]:
    return [position for position, part in enumerate(feature.encoding.sequence_ids) if part == 1]


def _best_span(feature: Features, row: Output, context: str) -> Answer:
    """Give the span with the largest product of start and end probability, at most 30 tokens long."""
    positions = _context_positions(feature)
    assert row.start_logits is not None and row.end_logits is not None
    if not positions:
        return Answer("", 0, 0, 0.0)
    start = row.start_logits.softmax(-1)[positions]
    end = row.end_logits.softmax(-1)[positions]
    products = torch.outer(start, end).triu().tril(LONGEST_ANSWER_TOKENS - 1)
    first, last = divmod(int(products.argmax()), len(positions))
    begin, finish = feature.encoding.offsets[positions[first]][0], feature.encoding.offsets[positions[last]][1]
    return Answer(context[begin:finish], begin, finish, float(products[first, last]))


TASK = QuestionAnswering()
