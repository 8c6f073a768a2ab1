"""What decides which token comes next, and when to stop: the caller's wishes over a checkpoint's own defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, TypedDict

from zoo.errors import InvalidInput

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
    temperature: 0 for the likeliest token always, whatever the next four are, else the spread of chance. top_k: draw
    among so many likeliest tokens. top_p: draw among the fewest tokens that have so much probability together (Holtzman
    et al. 2019). min_p: only tokens at least so probable, counted in shares of the likeliest's (Nguyen et al. 2024).
    typical_p: the fewest tokens of that probability together whose surprise is nearest to the expected (Meister et al.
    2022).
    repetition_penalty: scores of tokens that prompt or answer have are divided by it, negative ones multiplied (Keskar et
    al. 2019). frequency_penalty: taken off a token's score for each time the answer has it. no_repeat_ngram_size: no
    sequence of so many tokens occurs twice.
    num_beams: how many answers are followed at once; the best of them is given. length_penalty: a finished answer's
    log-probability is divided by its length to this power. early_stopping: True to end with as many finished answers as
    beams; False to end when going on looks hopeless at the present length; "never" only when it is hopeless at any.
    renormalize_logits: with beams, whether penalties and bans leave a distribution, which sums to 1 again.
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
    renormalize_logits: bool = False
    best_of: int = 1
    stop: tuple[str, ...] = ()
    end_token_ids: tuple[int, ...] = ()
    start_token_id: int | None = None
    forced_first: int | None = None
    forced_last: int | None = None
    suppressed_first: tuple[int, ...] = ()
    suppressed: tuple[tuple[int, ...], ...] = ()
    seed: int = 0

    def with_wishes(self, wishes: Mapping[str, Any]) -> Self:
        """Give these settings with those wished for that are not None. Raises InvalidInput, also for contradictions."""
        settings = self.with_values(wishes)
        fewest, most = settings.min_new_tokens, settings.max_new_tokens
        if most is not None and fewest > most and wishes.get("min_new_tokens") and wishes.get("max_new_tokens"):
            raise InvalidInput(f"min_new_tokens is {fewest} and max_new_tokens {most}; the fewest is above the most")
        if settings.num_beams > 1 and (settings.temperature > 0 or settings.best_of > 1):
            raise InvalidInput(
                f"num_beams is {settings.num_beams}, and follows the likeliest answers; it goes with neither temperature "
                f"({settings.temperature}) nor best_of ({settings.best_of}). Set num_beams=1, or temperature=0 and best_of=1"
            )
        if settings.best_of > 1 and settings.temperature == 0:
            raise InvalidInput(
                f"best_of is {settings.best_of}, and without a temperature all answers are the same one. "
                "Set temperature=1.0, or best_of=1"
            )
        return settings

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """Give these settings with those values that are not None, each checked by itself. Raises InvalidInput."""
        wanted = {name: value for name, value in values.items() if value is not None}
        known = [field.name for field in fields(self)]
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise InvalidInput(f"There is no generation setting '{unknown[0]}'; there are: {', '.join(known)}")
        if isinstance(wanted.get("stop"), str):
            wanted["stop"] = (wanted["stop"],)
        elif isinstance(wanted.get("stop"), Sequence):
            wanted["stop"] = tuple(wanted["stop"])
        settings = replace(self, **wanted)
        settings._check()
        return settings

    def new_tokens(self, start: int) -> int:
        """Give the most tokens to write after `start` that are there already."""
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        return DEFAULT_NEW_TOKENS if self.max_length is None else max(0, self.max_length - start)

    def check_ids(self, vocab_size: int) -> None:
        """Check that every token that has to be written exists. Raises InvalidInput."""
        for name in ("start_token_id", "forced_first", "forced_last"):
            token = getattr(self, name)
            if token is not None and token >= vocab_size:
                raise InvalidInput(f"{name} is {token}; the model has the tokens 0 to {vocab_size - 1}")

    def _check(self) -> None:
        for name, least in (("max_new_tokens", 0), ("max_length", 0), ("min_new_tokens", 0), ("min_length", 0)):
            self._check_number(name, int, least)
        for name in ("top_k", "num_beams", "best_of"):
            self._check_number(name, int, 1)
        self._check_number("no_repeat_ngram_size", int, 0)
        self._check_number("seed", int, 0, 2**63 - 1)
        self._check_number("temperature", float, 0)
        for name in ("top_p", "typical_p", "min_p"):
            self._check_number(name, float, 0, 1)
        for name in ("repetition_penalty", "frequency_penalty", "length_penalty"):
            self._check_number(name, float, -math.inf)
        if self.repetition_penalty <= 0:
            raise InvalidInput(f"repetition_penalty is {self.repetition_penalty!r}; it would be above 0")
        if self.early_stopping not in (True, False, "never"):
            raise InvalidInput(f"early_stopping is {self.early_stopping!r}; it would be True, False or 'never'")
        if not isinstance(self.renormalize_logits, bool):
            raise InvalidInput(f"renormalize_logits is {self.renormalize_logits!r}; it would be True or False")
        if not isinstance(self.stop, tuple) or not all(isinstance(text, str) and text for text in self.stop):
            said = list(self.stop) if isinstance(self.stop, tuple) else self.stop
            raise InvalidInput(f"stop is {said!r}; it would be texts, none of them empty")
        ids = [*self.end_token_ids, self.start_token_id, self.forced_first, self.forced_last, *self.suppressed_first]
        ids += [token for word in self.suppressed for token in word]
        if any(token is not None and (type(token) is not int or token < 0) for token in ids):
            raise InvalidInput(
                f"The ids of tokens that begin, end and may not be in a text are {ids!r}; they would be whole numbers, "
                "none below 0"
            )

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
