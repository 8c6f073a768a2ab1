"""The decoding loop: from scores to tokens, for any model that gives the scores of what comes next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from zoo.errors import InvalidInput
from zoo.generation.settings import GenerationSettings

Advance = Callable[[Tensor], Tensor]
"""Takes the newest token ids, int64 (batch, time), and gives the scores of what follows the last: (batch, vocab)."""


@dataclass(frozen=True)
class Generated:
    """What was written after a prompt. log_probability: of its tokens together, under the model's own distribution.

    finish_reason: "stop" for a token that ends a text, "length" for max_new_tokens or the end of the model's positions.
    """

    text: str
    token_ids: list[int]
    log_probability: float
    finish_reason: Literal["stop", "length"]


@dataclass
class Row:
    """One prompt's answer so far. The token that ends it is counted in its probability, and not kept."""

    chance: torch.Generator
    token_ids: list[int] = field(default_factory=list)
    log_probability: float = 0.0
    finished: bool = False


def decode(advance: Advance, prompts: Tensor, settings: GenerationSettings, seeds: Sequence[int]) -> list[Row]:
    """Write after each prompt until it ends or max_new_tokens are written.

    advance: with a cache behind it. prompts: int64 (batch, time), padded on the left; of a decoder beside an encoder
    the start token. seeds: one a prompt.
    Raises InvalidInput when the scores are not numbers.
    """
    rows = [Row(torch.Generator().manual_seed(seed)) for seed in seeds]
    newest = prompts
    for number in range(settings.max_new_tokens):
        scores = advance(newest).float()
        if not bool(torch.isfinite(scores.amax(-1)).all()):
            raise InvalidInput(
                "The model's scores are not finite numbers; its weights are damaged, or its dtype too small"
            )
        forced = settings.forced_first if number == 0 else None
        if forced is None and number == settings.max_new_tokens - 1:
            forced = settings.forced_last
        chosen = _choose(scores, forced, settings, rows)
        gained = scores.log_softmax(-1).gather(1, chosen[:, None])[:, 0].tolist()
        for row, token, gain in zip(rows, chosen.tolist(), gained, strict=True):
            if row.finished:
                continue
            row.log_probability += gain
            row.finished = token in settings.end_token_ids
            if not row.finished:
                row.token_ids.append(token)
        if all(row.finished for row in rows):
            break
        newest = chosen[:, None]
    return rows


def _choose(scores: Tensor, forced: int | None, settings: GenerationSettings, rows: Sequence[Row]) -> Tensor:
    """Give each row's next token: int64 (batch)."""
    if forced is not None:
        return torch.full(scores.shape[:1], forced, device=scores.device)
    if settings.suppressed:
        scores = scores.index_fill(-1, torch.tensor(settings.suppressed, device=scores.device), -torch.inf)
    if settings.temperature == 0:
        return scores.argmax(-1)
    probabilities = _kept(scores / settings.temperature, settings).softmax(-1).cpu()
    drawn = [torch.multinomial(one, 1, generator=row.chance) for one, row in zip(probabilities, rows, strict=True)]
    return torch.cat(drawn).to(scores.device)


def _kept(scores: Tensor, settings: GenerationSettings) -> Tensor:
    """Leave only the tokens that may be drawn: -inf elsewhere."""
    if settings.top_k is not None and settings.top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(settings.top_k).values[:, -1:], -torch.inf)
    if settings.top_p is not None and settings.top_p < 1:
        ordered, order = scores.sort(-1, descending=True)
        shares = ordered.softmax(-1)
        before = shares.cumsum(-1) - shares
        scores = scores.masked_fill((before >= settings.top_p).gather(1, order.argsort(-1)), -torch.inf)
    return scores
