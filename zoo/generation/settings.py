"""What decides which token comes next, and when to stop: the caller's wishes over a checkpoint's own defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from zoo.errors import InvalidInput

GENERATION_FILE = "generation_config.json"
DEFAULT_NEW_TOKENS = 64


@dataclass(frozen=True)
class GenerationSettings:
    """max_new_tokens: the most to write. temperature: 0 for the likeliest token always, else the spread of chance.

    top_k: draw among so many likeliest tokens. top_p: draw among the fewest tokens that have so much probability
    together. end_token_ids: what ends a text. start_token_id: what a decoder beside an encoder begins with.
    forced_first, forced_last: ids that stand first, and at the very end of a text that fills max_new_tokens.
    suppressed: ids that are never written.
    seed: of the draws; each prompt has its own chain of them, whatever it is batched with.
    """

    max_new_tokens: int = DEFAULT_NEW_TOKENS
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    end_token_ids: tuple[int, ...] = ()
    start_token_id: int | None = None
    forced_first: int | None = None
    forced_last: int | None = None
    suppressed: tuple[int, ...] = ()
    seed: int = 0

    @classmethod
    def from_config(cls, config: Mapping[str, Any], own: Self) -> Self:
        """Read a generation_config.json over `own`, what the spec says.

        A length that counts the prompt too (`max_length`) is no length of the answer, and is not read.
        """
        ends = config.get("eos_token_id")
        sampled = config.get("do_sample") is True
        found = {
            "max_new_tokens": config.get("max_new_tokens"),
            "temperature": config.get("temperature", 1.0) if sampled else None,
            "top_k": config.get("top_k") or None if sampled else None,
            "top_p": config.get("top_p") if sampled else None,
            "end_token_ids": None if ends is None else tuple(ends) if isinstance(ends, list) else (ends,),
            "start_token_id": config.get("decoder_start_token_id"),
            "forced_first": config.get("forced_bos_token_id"),
            "forced_last": config.get("forced_eos_token_id"),
            "suppressed": _suppressed(config),
        }
        return own.with_wishes(found)

    def with_wishes(self, wishes: Mapping[str, Any]) -> Self:
        """Give these settings with those wished for that are not None. Raises InvalidInput."""
        wanted = {name: value for name, value in wishes.items() if value is not None}
        unknown = wanted.keys() - {field.name for field in fields(self)}
        if unknown:
            raise InvalidInput(f"There is no generation setting '{min(unknown)}'")
        settings = replace(self, **wanted)
        settings._check()
        return settings

    def _check(self) -> None:
        whole, least = {"max_new_tokens": self.max_new_tokens, "top_k": self.top_k}, {"max_new_tokens": 0, "top_k": 1}
        for name, number in whole.items():
            if number is not None and (type(number) is not int or number < least[name]):
                raise InvalidInput(f"{name} is {number!r}; it would be a whole number, at least {least[name]}")
        if not isinstance(self.temperature, int | float) or not 0 <= self.temperature < math.inf:
            raise InvalidInput(f"temperature is {self.temperature!r}; it would be 0 or a number above it")
        if self.top_p is not None and not (isinstance(self.top_p, int | float) and 0 < self.top_p <= 1):
            raise InvalidInput(f"top_p is {self.top_p!r}; it would be above 0 and at most 1")
        ids = (*self.end_token_ids, *self.suppressed, self.start_token_id, self.forced_first, self.forced_last)
        if any(token is not None and type(token) is not int for token in ids):
            raise InvalidInput(f"The ids of tokens that begin and end a text are {ids!r}; they would be whole numbers")


def _suppressed(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Give the tokens that a config forbids one by one."""
    words = config.get("bad_words_ids") or []
    single = [word[0] for word in words if isinstance(word, list) and len(word) == 1]
    return (*single, *(config.get("suppress_tokens") or []))
