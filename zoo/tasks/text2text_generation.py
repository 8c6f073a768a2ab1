"""text2text-generation: a text for a text. Summarization and translation are the same head under their own names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zoo.tasks.base import Features, Output, TokenLevelTask, check_texts, encode_texts

if TYPE_CHECKING:
    from zoo.generation.decoding import Generated
    from zoo.model import Model


class Text2TextGeneration(TokenLevelTask):
    """Source texts, and the text that the model makes of each (Sutskever et al. 2014).

    Labels are the target's ids (batch, target_time), -100 where nothing counts; the decoder reads them one to the right.
    """

    columns = ("source", "target")
    fixed_labels = ()
    head = "text2text-generation"
    decodes_labels = True

    def __init__(self, name: str) -> None:
        """name: the Hub's pipeline tag."""
        self.name = name

    def encode(self, inputs: Sequence[Any], model: Model) -> list[Features]:
        """inputs: texts, a task's prefix included where the checkpoint was trained with one."""
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


TASKS = {name: Text2TextGeneration(name) for name in ("text2text-generation", "summarization", "translation")}
