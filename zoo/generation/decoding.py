"""The decoding loop: from scores to tokens, for any model that gives the scores of what comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from zoo.errors import InvalidInput
from zoo.generation.scores import adjusted, drawable
from zoo.generation.settings import GenerationSettings

ToText = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Generated:
    """What was written after a prompt. log_probability: of its tokens together, under the model's own distribution.

    finish_reason: "stop" for a token or text that ends an answer, "length" for the most tokens it may have.
    """

    text: str
    token_ids: list[int]
    log_probability: float
    finish_reason: Literal["stop", "length"]


class Scorer(Protocol):
    """A model with what it has read so far: the decoding loop's only view of it."""

    def advance(self, newest: Tensor) -> Tensor:
        """Read new tokens, int64 (batch, time), and give the scores of what follows the last: float32 (batch, vocab)."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows of the batch, in this order; a row may come twice."""
        ...


@dataclass
class Row:
    """One prompt's answer so far. The token that ends it is counted in its probability, and not kept."""

    given: Sequence[int]
    chance: torch.Generator
    most: int
    """How many tokens it may have."""
    token_ids: list[int] = field(default_factory=list)
    log_probability: float = 0.0
    finish_reason: Literal["stop", "length"] | None = None
    cut: int | None = None
    """Where in its text a stop text begins."""

    def take(self, token: int, gain: float, settings: GenerationSettings, to_text: ToText) -> None:
        """Add a token, and see whether it ends the answer."""
        self.log_probability += gain
        if token in settings.end_token_ids:
            self.finish_reason = "stop"
            return
        self.token_ids.append(token)
        if settings.stop:
            text = to_text(self.token_ids)
            places = [place for place in map(text.find, settings.stop) if place >= 0]
            if places:
                self.cut, self.finish_reason = min(places), "stop"
                return
        if len(self.token_ids) >= self.most:
            self.finish_reason = "length"


def decode(
    scorer: Scorer,
    prompts: Tensor,
    given: Sequence[Sequence[int]],
    settings: GenerationSettings,
    most: Sequence[int],
    seeds: Sequence[int],
    to_text: ToText,
) -> Iterator[list[Row]]:
    """Write after each prompt, a token a step, and give all rows after each step; the last time when all have ended.

    prompts: int64 (batch, time), padded on the left; beside an encoder the start tokens. given: the same without
    padding. most: how many tokens each answer may have. seeds: one a prompt.
    Rows that have ended leave the batch once they are half of it, so that they stop costing.
    Raises InvalidInput when the scores are not numbers.
    """
    rows = [
        Row(text, torch.Generator().manual_seed(seed), limit)
        for text, seed, limit in zip(given, seeds, most, strict=True)
    ]
    for row in rows:
        row.finish_reason = None if row.most else "length"
    live = rows
    newest = prompts
    while any(row.finish_reason is None for row in live):
        scores = checked(scorer.advance(newest))
        texts = [[*row.given, *row.token_ids] for row in live]
        counted = adjusted(scores, settings, texts, [len(row.given) for row in live], [row.most for row in live])
        chosen = _choose(counted, settings, live)
        gains = scores.log_softmax(-1).gather(1, chosen[:, None])[:, 0].tolist()
        for row, token, gain in zip(live, chosen.tolist(), gains, strict=True):
            if row.finish_reason is None:
                row.take(token, gain, settings, to_text)
        newest = chosen[:, None]
        yield rows
        going = [index for index, row in enumerate(live) if row.finish_reason is None]
        if going and len(going) <= len(live) // 2:
            scorer.keep(going)
            live, newest = [live[index] for index in going], newest[going]
    if not any(most):
        yield rows


def checked(scores: Tensor) -> Tensor:
    """Give scores in float32. Raises InvalidInput where they are no numbers."""
    scores = scores.float()
    if not bool(torch.isfinite(scores.amax(-1)).all()):
        raise InvalidInput("The model's scores are not finite numbers; its weights are damaged, or its dtype too small")
    return scores


def _choose(scores: Tensor, settings: GenerationSettings, rows: Sequence[Row]) -> Tensor:
    """Give each row's next token: int64 (batch)."""
    if settings.temperature == 0:
        return scores.argmax(-1)
    shares = drawable(scores, settings).softmax(-1).cpu()
    drawn = [torch.multinomial(one, 1, generator=row.chance) for one, row in zip(shares, rows, strict=True)]
    return torch.cat(drawn).to(scores.device)
