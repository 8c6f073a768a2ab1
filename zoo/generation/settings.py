"""What decides which token comes next, and when to stop: the caller's wishes over a checkpoint's own defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, TypedDict

from zoo.errors import InvalidInput

GENERATION_FILE = "generation_config.json"
DEFAULT_NEW_TOKENS = 64


class Wishes(TypedDict, total=False):
    """What a caller may ask of `generate`; each is explained at GenerationSettings. None: as the checkpoint says."""

    max_new_tokens: int | None
    min_new_tokens: int | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    repetition_penalty: float | None
    frequency_penalty: float | None
    no_repeat_ngram_size: int | None
    num_beams: int | None
    length_penalty: float | None
    early_stopping: bool | Literal["never"] | None
    best_of: int | None
    stop: str | Sequence[str] | None
    seed: int | None


@dataclass(frozen=True)
class GenerationSettings:
    """How to write. Lengths are in tokens; probabilities are between 0 and 1.

    max_new_tokens: the most to write; None for what max_length leaves, or 64. max_length: the most that prompt and
    answer have together (beside an encoder: start token and answer). min_new_tokens, min_length: likewise the fewest.
    temperature: 0 for the likeliest token always, else the spread of chance. top_k: draw among so many likeliest tokens.
    top_p: draw among the fewest tokens that have so much probability together (Holtzman et al. 2019). min_p: only tokens
    at least so probable, counted in shares of the likeliest's (Nguyen et al. 2024). typical_p: the fewest tokens of that
    probability together whose surprise is nearest to the expected (Meister et al. 2022).
    repetition_penalty: scores of tokens that prompt or answer have are divided by it, negative ones multiplied (Keskar et
    al. 2019). frequency_penalty: taken off a token's score for each time the answer has it. no_repeat_ngram_size: no
    sequence of so many tokens occurs twice.
    num_beams: how many answers are followed at once; the best of them is given. length_penalty: a finished answer's
    log-probability is divided by its length to this power. early_stopping: True to end with as many finished answers as
    beams; False to end when going on looks hopeless at the present length; "never" only when it is hopeless at any.
    best_of: draw so many answers, and give that of the highest mean log-probability.
    stop: texts that end an answer, which does not include them. end_token_ids: tokens that do.
    start_token_id: what a decoder beside an encoder begins with. forced_first, forced_last: ids that stand first, and at
    the very end of an answer of full length. suppressed: sequences of tokens that are never written.
    suppressed_first: tokens that do not begin an answer, or where its first is forced, come second.
    seed: of the draws; each prompt has its own chain of them, whatever it is batched with.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int = 0
    min_length: int = 0
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    best_of: int = 1
    stop: tuple[str, ...] = ()
    end_token_ids: tuple[int, ...] = ()
    start_token_id: int | None = None
    forced_first: int | None = None
    forced_last: int | None = None
    suppressed_first: tuple[int, ...] = ()
    suppressed: tuple[tuple[int, ...], ...] = ()
    seed: int = 0

    @classmethod
    def from_config(cls, config: Mapping[str, Any], own: Self) -> Self:
        """Read a generation_config.json over `own`, what the spec says. Raises InvalidInput for what cannot be meant."""
        ends = config.get("eos_token_id")
        found = {key: config.get(key) for key in ("max_new_tokens", "max_length", "min_new_tokens", "min_length")}
        found |= {
            key: config.get(key) for key in ("repetition_penalty", "num_beams", "length_penalty", "early_stopping")
        }
        found |= {
            "no_repeat_ngram_size": config.get("no_repeat_ngram_size"),
            "end_token_ids": None if ends is None else tuple(ends) if isinstance(ends, list) else (ends,),
            "start_token_id": config.get("decoder_start_token_id"),
            "forced_first": config.get("forced_bos_token_id"),
            "forced_last": config.get("forced_eos_token_id"),
            "suppressed": _suppressed(config),
            "suppressed_first": tuple(config.get("begin_suppress_tokens") or ()),
        }
        if config.get("do_sample") is True:
            found |= {key: config.get(key) for key in ("top_p", "min_p", "typical_p")}
            found |= {"temperature": config.get("temperature", 1.0), "top_k": config.get("top_k") or None}
        return own.with_wishes(found)

    def with_wishes(self, wishes: Mapping[str, Any]) -> Self:
        """Give these settings with those wished for that are not None. Raises InvalidInput."""
        wanted = {name: value for name, value in wishes.items() if value is not None}
        known = [field.name for field in fields(self)]
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise InvalidInput(f"There is no generation setting '{unknown[0]}'; there are: {', '.join(known)}")
        if isinstance(wanted.get("stop"), str):
            wanted["stop"] = (wanted["stop"],)
        elif "stop" in wanted:
            wanted["stop"] = tuple(wanted["stop"])
        settings = replace(self, **wanted)
        settings._check()
        return settings

    def new_tokens(self, start: int) -> int:
        """Give the most tokens to write after `start` that are there already."""
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        return DEFAULT_NEW_TOKENS if self.max_length is None else max(0, self.max_length - start)

    def _check(self) -> None:
        for name, least in (("max_new_tokens", 0), ("max_length", 0), ("min_new_tokens", 0), ("min_length", 0)):
            self._check_number(name, int, least)
        for name in ("top_k", "num_beams", "best_of"):
            self._check_number(name, int, 1)
        self._check_number("no_repeat_ngram_size", int, 0)
        self._check_number("temperature", float, 0)
        for name in ("top_p", "typical_p", "min_p"):
            self._check_number(name, float, 0, 1)
        for name in ("repetition_penalty", "frequency_penalty", "length_penalty"):
            self._check_number(name, float, -math.inf)
        if self.repetition_penalty <= 0:
            raise InvalidInput(f"repetition_penalty is {self.repetition_penalty!r}; it would be above 0")
        if self.early_stopping not in (True, False, "never"):
            raise InvalidInput(f"early_stopping is {self.early_stopping!r}; it would be True, False or 'never'")
        if not all(isinstance(text, str) and text for text in self.stop):
            raise InvalidInput(f"stop is {list(self.stop)!r}; it would be texts, none of them empty")
        ids = [*self.end_token_ids, self.start_token_id, self.forced_first, self.forced_last]
        ids += [token for word in self.suppressed for token in word]
        if any(token is not None and type(token) is not int for token in ids):
            raise InvalidInput(
                f"The ids of tokens that begin, end and may not be in a text are {ids!r}; they would be numbers"
            )
        if self.num_beams > 1 and (self.temperature > 0 or self.best_of > 1):
            raise InvalidInput("num_beams follows the likeliest answers; it goes with neither temperature nor best_of")
        if self.best_of > 1 and self.temperature == 0:
            raise InvalidInput(f"best_of is {self.best_of}, and without a temperature all answers are the same one")

    def _check_number(self, name: str, kind: type, least: float, most: float = math.inf) -> None:
        value = getattr(self, name)
        if value is None:
            return
        what = "a whole number" if kind is int else "a number"
        fits = type(value) in ((int,) if kind is int else (int, float))
        if not fits or not math.isfinite(value) or not least <= value <= most:
            limits = f", at least {least}" if least > -math.inf else ""
            limits += f" and at most {most}" if most < math.inf else ""
            raise InvalidInput(f"{name} is {value!r}; it would be {what}{limits}")


def _suppressed(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Give the sequences of tokens that a config forbids."""
    words = [tuple(word) if isinstance(word, list) else (word,) for word in config.get("bad_words_ids") or []]
    return (*words, *((token,) for token in config.get("suppress_tokens") or []))
