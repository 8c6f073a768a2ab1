"""text2text-generation: a text for a text. Summarization and translation are the same head under their own names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from zoo.tasks import metrics
from zoo.tasks.base import (
    IGNORED_LABEL,
    Features,
    HeadSettings,
    Output,
    check_columns,
    check_not_empty,
    check_texts,
    tokenizer_of,
)
from zoo.tasks.text_generation import WritingTask

if TYPE_CHECKING:
    from zoo.model import Model


class Text2TextGeneration(WritingTask):
    """Source texts, and the text that the model makes of each (Sutskever et al. 2014).

    Labels are the target's ids (batch, target_time), -100 where nothing counts; the decoder reads them one to the right.
    """

    columns = ("source", "target")
    head = "text2text-generation"
    decodes_labels = True

    def __init__(self, name: str) -> None:
        """name: the Hub's pipeline tag."""
        self.name = name

    def encode_examples(
        self, examples: Sequence[Mapping[str, Any]], model: Model, max_length: int | None
    ) -> list[Features]:
        """examples: `source` and `target`, texts. A source gets the prefix that the checkpoint was trained to find."""
        from zoo.tasks.prompts import prefixes

        check_columns(examples, self.columns, self.name)
        for column in self.columns:
            check_texts([example[column] for example in examples])
            check_not_empty(examples, column)
        tokenizer = tokenizer_of(model)
        given = [example["source"] for example in examples]
        sources = [prefix + text for prefix, text in zip(prefixes(given, model), given, strict=True)]
        targets = [example["target"] for example in examples]
        pairs = zip(
            tokenizer.encode(sources, max_length=max_length),
            tokenizer.encode(targets, max_length=max_length, target=True),
            strict=True,
        )
        return [
            Features(
                source.ids,
                source.type_ids,
                index,
                label=list(target.ids),
                reference=(given[index], targets[index]),
                cut=bool(source.overflowing or target.overflowing),
            )
            for index, (source, target) in enumerate(pairs)
        ]

    def length(self, feature: Features) -> int:
        """Source and target together."""
        return len(feature.ids) + len(feature.label)

    def collate_labels(self, features: Sequence[Features], length: int, settings: HeadSettings) -> Tensor:
        """(batch, target_time), as long as the longest target; padding does not count."""
        return super().collate_labels(features, max(len(feature.label) for feature in features), settings)

    def smooth(self, output: Output, labels: Tensor, share: float) -> Tensor:
        """See Task.smooth. Source: Szegedy et al. 2015, section 7."""
        assert output.logits is not None
        scores = output.logits.flatten(0, 1).float()
        return F.cross_entropy(scores, labels.flatten(), ignore_index=IGNORED_LABEL, label_smoothing=share)

    def records(self, features: Sequence[Features], model: Model, batch_size: int) -> list[Any]:
        """What the model writes beside what it should: at most twice the longest target."""
        most = 2 * max(len(feature.label) for feature in features)
        sources = [feature.reference[0] for feature in features]
        written = model.generate(sources, batch_size=batch_size, truncate=True, max_new_tokens=most)
        return [(answer.text, feature.reference[1]) for answer, feature in zip(written, features, strict=True)]

    def measure(self, records: Sequence[tuple[str, str]]) -> dict[str, float]:
        """translation: bleu and chrf; else rouge1, rouge2 and rougeL. See zoo.tasks.metrics."""
        measure = metrics.translation if self.name == "translation" else metrics.summarization
        return measure([answer for answer, _ in records], [label for _, label in records])


TASKS = {name: Text2TextGeneration(name) for name in ("text2text-generation", "summarization", "translation")}
