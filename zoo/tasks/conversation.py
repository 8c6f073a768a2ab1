"""Conversation: a chat with a model that writes, turn by turn, each of which reads only what is new."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Unpack

from zoo.errors import InvalidInput
from zoo.generation.prefixes import PrefixCache
from zoo.generation.settings import Wishes
from zoo.tasks.base import tokenizer_of

if TYPE_CHECKING:
    from zoo.generation.decoding import Generated
    from zoo.model import Model


class Conversation:
    """Messages said so far, and what the model has read of them.

    model: who answers. messages: the chat, a list of {"role", "content"} that may be read and changed. prefix_cache:
    keeps what was read, in memory as long as the conversation lives; see zoo.PrefixCache.
    """

    def __init__(self, model: Model, system: str | None = None) -> None:
        """system: what the model is told before the chat. Raises InvalidInput without a chat template, TokenizerMissing."""
        tokenizer = tokenizer_of(model)
        if tokenizer.chat_template is None:
            raise InvalidInput(
                f"The checkpoint in '{tokenizer.folder}' has no chat template, so it was not made to chat. "
                "Use model.generate, with a prompt as its model card says"
            )
        self.model = model
        self.messages: list[dict[str, str]] = [] if system is None else [{"role": "system", "content": system}]
        # What an encoder reads is read anew at each turn.
        self.prefix_cache = None if hasattr(model.backbone, "encode") else PrefixCache()

    def say(self, text: str, **wishes: Unpack[Wishes]) -> Generated:
        """Say something, and give the answer; both join the messages.

        wishes: as for Model.generate. Raises InvalidInput, also where the chat has become too long for the model: nothing
        joins the messages then.
        """
        asked = self._with(text)
        answer = self.model.generate([asked], prefix_cache=self.prefix_cache, **wishes)[0]
        self.messages = [*asked, {"role": "assistant", "content": answer.text}]
        return answer

    def stream(self, text: str, **wishes: Unpack[Wishes]) -> Iterator[str]:
        """Say something, and give the answer in pieces as it comes. One that is left early joins as far as it came."""
        asked = self._with(text)
        said, complete = "", False
        try:
            for piece in self.model.stream(asked, prefix_cache=self.prefix_cache, **wishes):
                said += piece
                yield piece
            complete = True
        finally:
            if said or complete:
                self.messages = [*asked, {"role": "assistant", "content": said}]

    def _with(self, text: str) -> list[dict[str, str]]:
        return [*self.messages, {"role": "user", "content": text}]
