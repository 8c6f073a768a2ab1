"""fill-mask: the tokens that could stand in a gap (masked language modelling, Devlin et al. 2018, task #1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from zoo.errors import InvalidInput
from zoo.tasks.base import (
    IGNORED_LABEL,
    Features,
    Output,
    TokenLevelTask,
    check_columns,
    check_some_text,
    check_texts,
    encode_texts,
    tokenizer_of,
    with_labels,
)
from zoo.tasks.packing import encode_pieces, pack

if TYPE_CHECKING:
    from zoo.model import Model

BEST = 5
MASKED_SHARE = 0.15


@dataclass(frozen=True)
class Fill:
    """A token for the gap, its probability, and the text with it filled in."""

    token: str
    score: float
    text: str


class FillMask(TokenLevelTask):
    """Texts with one mask token each; the five likeliest fills."""

    name = "fill-mask"
    columns = ("text",)
    fixed_labels = ()

    def encode(self, inputs: Sequence[Any], model: Model) -> list[Features]:
        """inputs: texts that hold the tokenizer's mask token once."""
        check_texts(inputs)
        mask = tokenizer_of(model).special_token("mask_token")
        if mask is None:
            raise InvalidInput("The checkpoint's tokenizer names no mask token, so there is no gap to fill")
        for index, text in enumerate(inputs):
            if text.count(mask) != 1:
                raise InvalidInput(
                    f"Text {index} has {text.count(mask)} times the mask token {mask}; it would be once: {text!r}"
                )
        return encode_texts(inputs, model)

    def interpret(
        self, inputs: Sequence[Any], features: Sequence[Features], rows: Sequence[Output], model: Model
    ) -> list[list[Fill]]:
        """Give the likeliest fills of each text, best first."""
        tokenizer = tokenizer_of(model)
        mask_id = tokenizer.special_id("mask_token")
        results = []
        for feature, row in zip(features, rows, strict=True):
            if mask_id not in feature.ids:
                raise InvalidInput(
                    f"Text {feature.source} is longer than the model's {model.max_length} tokens before its gap"
                )
            gap = feature.ids.index(mask_id)
            assert row.logits is not None
            best = row.logits[gap].softmax(-1).topk(min(BEST, row.logits.shape[-1]))
            fills = []
            for score, token_id in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                text = tokenizer.decode([*feature.ids[:gap], token_id, *feature.ids[gap + 1 :]])
                fills.append(Fill(tokenizer.decode([token_id], skip_special_tokens=False), score, text))
            results.append(fills)
        return results

    def encode_examples(
        self, examples: Sequence[Mapping[str, Any]], model: Model, max_length: int | None
    ) -> list[Features]:
        """Mask 15 % of each text's tokens: 80 % by the mask token, 10 % by another, 10 % kept (Devlin et al. 2018).

        Of a short text it is one token at least, so that every batch has something to predict; a text without tokens
        is left out. Long texts go on in further pieces, and pieces are packed in rows (see zoo.tasks.packing).
        """
        check_columns(examples, self.columns, self.name)
        tokenizer = tokenizer_of(model)
        mask_id = tokenizer.special_id("mask_token")
        if mask_id is None:
            raise InvalidInput(
                "The checkpoint's tokenizer names no mask token, so masked language modelling cannot train"
            )
        texts = [example["text"] for example in examples]
        check_some_text(texts)
        features, length = encode_pieces(texts, model, max_length)
        generator = torch.Generator().manual_seed(0)
        for feature in features:
            special = torch.tensor(feature.encoding.special_tokens_mask, dtype=torch.bool)
            chance = torch.rand(len(feature.ids), generator=generator).masked_fill(special, 1.0)
            chosen = (chance < MASKED_SHARE) | (chance == chance.min()) & ~special
            ids = torch.tensor(feature.ids)
            others = torch.randint(0, model.spec.vocab_size, ids.shape, generator=generator)
            fate = torch.rand(ids.shape, generator=generator)
            feature.label = torch.where(chosen, ids, IGNORED_LABEL).tolist()
            replaced = torch.where(chosen & (fate < 0.8), mask_id, torch.where(chosen & (fate < 0.9), others, ids))
            feature.ids = replaced.tolist()
        return pack(with_labels(features), length, model)


TASK = FillMask()
