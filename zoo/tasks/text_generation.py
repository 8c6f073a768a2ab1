"""text-generation: what could come next (causal language modelling, Radford et al. 2018, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from zoo.tasks.base import (
    IGNORED_LABEL,
    Features,
    HeadSettings,
    Output,
    TokenLevelTask,
    check_columns,
    check_some_text,
    check_texts,
    encode_texts,
)
from zoo.tasks.packing import encode_pieces, pack

if TYPE_CHECKING:
    from zoo.generation.decoding import Generated
    from zoo.model import Model


class WritingTask(TokenLevelTask):
    """A task whose answers are texts that the model writes."""

    fixed_labels = ()

    def encode(self, inputs: Sequence[Any], model: Model) -> list[Features]:
        """inputs: texts."""
        check_texts(inputs)
        return encode_texts(inputs, model)

    def interpret(
        self, inputs: Sequence[Any], features: Sequence[Features], rows: Sequence[Output], model: Model
    ) -> list[Any]:
        """Never asked: `predict` generates."""
        raise NotImplementedError

    def predict(self, inputs: Sequence[Any], model: Model, batch_size: int) -> list[Generated]:
        """Give what `model.generate` gives with the checkpoint's own settings."""
        return model.generate(inputs, batch_size=batch_size)


class TextGeneration(WritingTask):
    """Prompts, and the likeliest text that goes on from each."""

    name = "text-generation"
    columns = ("text",)

    def output(self, scores: Tensor | None, hidden: Tensor, labels: Tensor | None, settings: HeadSettings) -> Output:
        """labels: the input ids themselves, -100 where nothing counts: each position is judged by the token after it."""
        assert scores is not None
        loss = None
        if labels is not None:
            predicted, wanted = scores[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten()
            loss = F.cross_entropy(predicted, wanted, ignore_index=IGNORED_LABEL)
        return Output(last_hidden_state=hidden, logits=scores, loss=loss)

    def encode_examples(
        self, examples: Sequence[Mapping[str, Any]], model: Model, max_length: int | None
    ) -> list[Features]:
        """Each token of a text is to be told from those before it; a text of one token teaches nothing.

        Long texts go on in further pieces, and pieces are packed in rows (see zoo.tasks.packing).
        """
        check_columns(examples, self.columns, self.name)
        texts = [example["text"] for example in examples]
        check_some_text(texts)
        pieces, length = encode_pieces(texts, model, max_length)
        pieces = [piece for piece in pieces if len(piece.ids) > 1]
        for piece in pieces:
            piece.label = [IGNORED_LABEL, *piece.ids[1:]]  # nothing of its own text stands before a piece's first token
        return pack(pieces, length, model)

    def weight(self, labels: Tensor) -> int:
        """The tokens that another stands before."""
        return int((labels[:, 1:] != IGNORED_LABEL).sum())

    def record(self, feature: Features, row: Output, settings: HeadSettings) -> tuple[int, int, float]:
        """How many tokens were told from those before, how many there are, and the sum of their losses."""
        assert row.logits is not None
        wanted, logits = torch.tensor(feature.label[1:]), row.logits[:-1]
        right = int((logits.argmax(-1) == wanted).sum())
        loss = F.cross_entropy(logits, wanted, ignore_index=IGNORED_LABEL, reduction="sum")
        return right, int((wanted != IGNORED_LABEL).sum()), float(loss)

    def measure(self, records: Sequence[tuple[int, int, float]]) -> dict[str, float]:
        """accuracy: the share of tokens told from those before; perplexity: exp of the mean loss of a token."""
        total = max(sum(count for _, count, _ in records), 1)
        loss = sum(loss for _, _, loss in records) / total
        return {
            "accuracy": sum(right for right, _, _ in records) / total,
            "perplexity": float(torch.tensor(loss).exp()),
        }


TASK = TextGeneration()
