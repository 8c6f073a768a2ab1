"""Beam search: several answers followed at once, the best of them given (Graves 2012; Wu et al. 2016, section 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from zoo.generation.decoding import Scorer, ToText, checked
from zoo.generation.scores import adjusted
from zoo.generation.settings import GenerationSettings


@dataclass(frozen=True)
class Beam:
    """An answer that is being followed, or is finished. score: with the length penalty, once it is finished."""

    token_ids: tuple[int, ...]
    log_probability: float
    score: float = 0.0
    ended: bool = False


@dataclass
class Search:
    """One prompt's beams. most: tokens of an answer. running: best first. finished: best first, at most num_beams."""

    given: Sequence[int]
    most: int
    running: list[Beam]
    finished: list[Beam] = field(default_factory=list)
    over: bool = False


def search(
    scorer: Scorer,
    prompts: Tensor,
    given: Sequence[Sequence[int]],
    settings: GenerationSettings,
    most: Sequence[int],
    to_text: ToText,
) -> list[Beam]:
    """Give the best answer to each prompt.

    prompts, given, most: see zoo.generation.decoding.decode. Every prompt has num_beams rows in the batch from its first
    step on; each step reads them once, keeps the best continuations, and puts the scorer's rows in their order.
    """
    searches = [Search(text, limit, [Beam((), 0.0)]) for text, limit in zip(given, most, strict=True)]
    newest = prompts
    for length in range(1, max(most) + 1):
        live = [one for one in searches if not one.over]
        scores = checked(scorer.advance(newest))
        rows: list[int] = []
        tokens: list[int] = []
        first = 0
        for one in live:
            beams = len(one.running)
            origins = _step(one, scores[first : first + beams], settings, length, to_text)
            if not one.over:
                rows += [first + origin for origin in origins]
                tokens += [beam.token_ids[-1] for beam in one.running]
            first += beams
        if not rows:
            break
        scorer.keep(rows)
        newest = torch.tensor(tokens, device=newest.device)[:, None]
    return [one.finished[0] if one.finished else Beam((), 0.0) for one in searches]


def _step(one: Search, scores: Tensor, settings: GenerationSettings, length: int, to_text: ToText) -> list[int]:
    """Follow one prompt's beams by a token. Gives the beam that each of the new ones goes on from.

    scores: (beams, vocab). length: of the answers after this step.
    """
    texts = [[*one.given, *beam.token_ids] for beam in one.running]
    chances = adjusted(scores.log_softmax(-1), settings, texts, [len(one.given)] * len(texts), [one.most] * len(texts))
    if settings.renormalize_logits:
        chances = chances.log_softmax(-1)
    sums = chances + torch.tensor([[beam.log_probability] for beam in one.running], device=scores.device)
    wanted = max(2, 1 + len(settings.end_token_ids)) * settings.num_beams
    best = sums.flatten().topk(min(wanted, sums.numel()))
    running: list[Beam] = []
    origins: list[int] = []
    improved = not (settings.early_stopping is True and len(one.finished) >= settings.num_beams)
    for rank, (total, place) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
        origin, token = divmod(place, sums.shape[1])
        followed = one.running[origin].token_ids
        ended = token in settings.end_token_ids
        token_ids = followed if ended else (*followed, token)
        stopped = bool(settings.stop) and any(text in to_text(token_ids) for text in settings.stop)
        if ended or stopped or length == one.most:
            if rank < settings.num_beams and improved:
                score = total / length**settings.length_penalty
                one.finished.append(Beam(token_ids, total, score, ended or stopped))
        elif len(running) < settings.num_beams:
            running.append(Beam((*followed, token), total))
            origins.append(origin)
    one.finished = sorted(one.finished, key=lambda beam: -beam.score)[: settings.num_beams]
    one.running = running
    one.over = not running or not _may_improve(one, settings, length)
    return origins


def _may_improve(one: Search, settings: GenerationSettings, length: int) -> bool:
    """Tell whether going on may give a better answer than the worst of those finished."""
    if len(one.finished) < settings.num_beams:
        return True
    if settings.early_stopping is True:
        return False
    at = one.most if settings.early_stopping == "never" and settings.length_penalty > 0 else length
    hoped: float = one.running[0].log_probability / at**settings.length_penalty
    return hoped > one.finished[-1].score
