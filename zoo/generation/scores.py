"""From a model's scores to those that count: penalties and bans first, then which tokens chance may draw."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.errors import InvalidInput
from zoo.generation.settings import GenerationSettings

SMALLEST_TEMPERATURE = 1e-30  # what float32 can still divide by


def adjusted(
    scores: Tensor,
    settings: GenerationSettings,
    texts: Sequence[Sequence[int]],
    starts: Sequence[int],
    most: Sequence[int],
) -> Tensor:
    """Apply what prompt and answer so far rule in or out. A new tensor where anything changes.

    scores: float32 (batch, vocab). texts: each row's token ids so far, prompt or start token included; starts: how many
    of them were given. most: how many tokens each answer may have.
    """
    changed = False
    for row, (text, start, limit) in enumerate(zip(texts, starts, most, strict=True)):
        new = len(text) - start
        forced = settings.forced_first if new == 0 else settings.forced_last if new == limit - 1 else None
        if new == 0 and forced is None and limit == 1:
            forced = settings.forced_last
        edits = _needs(settings, new, len(text)) or forced is not None
        if not edits:
            continue
        if not changed:
            scores, changed = scores.clone(), True
        one = scores[row]
        _penalise(one, settings, text, start)
        banned = _banned(settings, text)
        if new == _beginning(settings):
            banned.update(settings.suppressed_first)
        if new < settings.min_new_tokens or len(text) < settings.min_length:
            banned.update(settings.end_token_ids)
        banned = {token for token in banned if token < len(one)}
        if len(banned) == len(one):
            raise InvalidInput(
                f"After {new} new tokens everything that could come next is ruled out: by bad words, min_new_tokens or "
                f"no_repeat_ngram_size ({settings.no_repeat_ngram_size}). Loosen one of them, or ask for fewer tokens"
            )
        if banned:
            one[torch.tensor(sorted(banned), device=one.device)] = -torch.inf
        if forced is not None:
            one.fill_(-torch.inf)
            one[forced] = 0.0
    return scores


def _needs(settings: GenerationSettings, new: int, length: int) -> bool:
    """Tell whether a row's scores change at all: most often they do not."""
    return bool(
        settings.repetition_penalty != 1
        or (settings.frequency_penalty and new)
        or settings.no_repeat_ngram_size
        or settings.suppressed
        or (settings.suppressed_first and new == _beginning(settings))
        or (settings.end_token_ids and (new < settings.min_new_tokens or length < settings.min_length))
    )


def _beginning(settings: GenerationSettings) -> int:
    """Give the place of an answer's first token that is not forced."""
    return 0 if settings.forced_first is None else 1


def _penalise(one: Tensor, settings: GenerationSettings, text: Sequence[int], start: int) -> None:
    """Lower the scores of tokens that are there already, in place."""
    if settings.repetition_penalty != 1 and text:
        seen = torch.tensor(sorted(set(text)), device=one.device)
        penalty = settings.repetition_penalty
        one[seen] = torch.where(one[seen] < 0, one[seen] * penalty, one[seen] / penalty)
    if settings.frequency_penalty and len(text) > start:
        said = torch.tensor(text[start:], device=one.device)
        one -= settings.frequency_penalty * torch.bincount(said, minlength=len(one)).to(one.dtype)


def _banned(settings: GenerationSettings, text: Sequence[int]) -> set[int]:
    """Give the tokens that would complete a forbidden sequence, or one that occurred before."""
    banned = {word[-1] for word in settings.suppressed if word and _ends_with(text, word[:-1])}
    size = settings.no_repeat_ngram_size
    if size and len(text) >= size - 1:
        last = tuple(text[len(text) - size + 1 :])
        banned.update(
            text[place + size - 1]
            for place in range(len(text) - size + 1)
            if tuple(text[place : place + size - 1]) == last
        )
    return banned


def _ends_with(text: Sequence[int], word: Sequence[int]) -> bool:
    return not word or tuple(text[-len(word) :]) == tuple(word)


def drawable(scores: Tensor, settings: GenerationSettings) -> Tensor:
    """Leave only the tokens that chance may draw, -inf elsewhere, after the temperature. scores: (batch, vocab)."""
    # The likeliest is 0, so that no temperature, however small, makes an infinite number.
    scores = (scores - scores.amax(-1, keepdim=True)) / max(settings.temperature, SMALLEST_TEMPERATURE)
    if settings.top_k is not None and settings.top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(settings.top_k).values[:, -1:], -torch.inf)
    if settings.top_p is not None and settings.top_p < 1:
        scores = _first_to_reach(scores, -scores, settings.top_p)
    if settings.min_p:
        shares = scores.softmax(-1)
        scores = scores.masked_fill(shares < settings.min_p * shares.amax(-1, keepdim=True), -torch.inf)
    if settings.typical_p is not None and settings.typical_p < 1:
        surprise = -scores.log_softmax(-1)
        expected = (surprise.nan_to_num(posinf=0.0) * scores.softmax(-1)).sum(-1, keepdim=True)
        scores = _first_to_reach(scores, (surprise - expected).abs(), settings.typical_p)
    return scores


def _first_to_reach(scores: Tensor, order_by: Tensor, share: float) -> Tensor:
    """Keep the fewest tokens, lowest `order_by` first, that have a share of the probability together; one at least."""
    order = order_by.argsort(stable=True, dim=-1)
    shares = scores.softmax(-1).gather(-1, order)
    before = shares.cumsum(-1) - shares
    beyond = before >= share
    beyond[:, 0] = False
    return scores.masked_fill(beyond.gather(-1, order.argsort(-1)), -torch.inf)
