"""text2text-generation: a text for a text. Summarization and translation are the same head under their own names."""

from __future__ import annotations

from zoo.tasks.text_generation import WritingTask


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


TASKS = {name: Text2TextGeneration(name) for name in ("text2text-generation", "summarization", "translation")}
