"""Speculative decoding: guess several tokens, let the model judge them in one pass, keep what it would have said itself.

What is written has the distribution of the model alone (Leviathan et al. 2022, https://arxiv.org/abs/2211.17192): greedy
answers are the same, drawn ones as likely.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from zoo.generation.decoding import Row, Scorer, ToText, checked
from zoo.generation.scores import adjusted, drawable
from zoo.generation.settings import GenerationSettings

GUESSES = 8  # tokens guessed at once
LONGEST_MATCH = 3  # tokens that a look-up compares


class JudgingScorer(Scorer, Protocol):
    """A model that also scores several new tokens at once, and can take some of them back."""

    def judge(self, newest: Tensor) -> Tensor:
        """Read new tokens, int64 (1, time), and give the scores of what follows each: float32 (1, time, vocab)."""
        ...

    def forget(self, count: int) -> None:
        """Take back the last tokens that were read."""
        ...


class Guesser(Protocol):
    """Where guesses come from."""

    def guess(self, text: Sequence[int], count: int, settings: GenerationSettings, chance: torch.Generator) -> Guess:
        """Give at most `count` tokens that may follow a text, prompt included."""
        ...


class Guess:
    """Tokens, and how likely each was drawn: float32 (tokens, vocab), None where there was no chance in it."""

    def __init__(self, token_ids: Sequence[int], shares: Tensor | None = None) -> None:
        self.token_ids = list(token_ids)
        self.shares = shares


class PromptLookup:
    """Guesses what followed the last tokens when they occurred before, in the answer, its prompt or its source.

    Source: Saxena 2023, "Prompt Lookup Decoding". It costs no second model, and pays where texts repeat themselves:
    summaries, answers from a document, code.
    """

    def __init__(self, source: Sequence[int] = ()) -> None:
        """source: what an encoder read, if any."""
        self.source = list(source)

    def guess(self, text: Sequence[int], count: int, settings: GenerationSettings, chance: torch.Generator) -> Guess:
        """See Guesser. The longest match counts, and of several the last."""
        whole = [*self.source, *text]
        for size in range(min(LONGEST_MATCH, len(text)), 0, -1):
            last = whole[-size:]
            for place in range(len(whole) - size - 1, -1, -1):
                if whole[place : place + size] == last:
                    return Guess(whole[place + size : place + size + count])
        return Guess([])


class DraftModel:
    """Guesses what a smaller model would say, which has the same vocabulary."""

    def __init__(self, scorer: JudgingScorer, device: torch.device) -> None:
        """scorer: of the smaller model, for one prompt."""
        self._scorer = scorer
        self._device = device
        self._read: list[int] = []

    def guess(self, text: Sequence[int], count: int, settings: GenerationSettings, chance: torch.Generator) -> Guess:
        """See Guesser. What it has read of another continuation is taken back first."""
        common = 0
        while common < min(len(self._read), len(text) - 1) and self._read[common] == text[common]:
            common += 1
        if common < len(self._read):
            self._scorer.forget(len(self._read) - common)
        newest = list(text[common:])
        self._read = list(text[:common])
        guessed: list[int] = []
        shares = []
        for _ in range(count):
            scores = checked(self._scorer.advance(torch.tensor([newest], device=self._device)))
            self._read += newest
            if settings.temperature == 0:
                newest = [int(scores.argmax())]
            else:
                shares.append(drawable(scores, settings).softmax(-1).cpu())
                newest = [int(torch.multinomial(shares[-1][0], 1, generator=chance))]
            guessed += newest
        return Guess(guessed, torch.cat(shares) if shares else None)


def speculate(
    scorer: JudgingScorer,
    guesser: Guesser,
    start: Tensor,
    given: Sequence[int],
    settings: GenerationSettings,
    most: int,
    seed: int,
    to_text: ToText,
) -> Iterator[list[Row]]:
    """Write after one prompt, several tokens a step; the row after each step. See zoo.generation.decoding.decode.

    start: int64 (1, time), what the model reads first; given: the same as a list.
    """
    row = Row(given, torch.Generator().manual_seed(seed), most)
    newest = start
    if most == 0:
        row.finish_reason = "length"
        yield [row]
    while row.finish_reason is None:
        text = [*given, *row.token_ids]
        room = most - len(row.token_ids) - 1
        guess = guesser.guess(text, min(GUESSES, room), settings, row.chance) if room > 0 else Guess([])
        read = torch.cat([newest, newest.new_tensor([guess.token_ids])], 1) if guess.token_ids else newest
        scores = checked(scorer.judge(read)[0, newest.shape[1] - 1 :])
        accepted = 0
        for place in range(len(guess.token_ids) + 1):
            proposed = guess.token_ids[place] if place < len(guess.token_ids) else None
            drawn_from = None if guess.shares is None or proposed is None else guess.shares[place]
            said = [*given, *row.token_ids]
            counted = adjusted(scores[place : place + 1], settings, [said], [len(given)], [most])
            token = _settle(counted, proposed, drawn_from, settings, row.chance)
            row.take(token, float(scores[place].log_softmax(-1)[token]), settings, to_text)
            if row.finish_reason is not None or token != proposed:
                break
            accepted += 1
        scorer.forget(len(guess.token_ids) - accepted)
        newest = start.new_tensor([[token]])
        yield [row]


def _settle(
    scores: Tensor,
    proposed: int | None,
    drawn_from: Tensor | None,
    settings: GenerationSettings,
    chance: torch.Generator,
) -> int:
    """Give the token that stands here: the one proposed, as often as the model would have drawn it, or another.

    scores: (1, vocab). drawn_from: the shares (vocab) that the proposal was drawn from, None where it was certain.
    """
    if settings.temperature == 0:
        return int(scores.argmax())
    shares = drawable(scores, settings).softmax(-1)[0].cpu()
    if proposed is not None:
        other = drawn_from
        if other is None:
            other = torch.zeros_like(shares)
            other[proposed] = 1.0
        if float(torch.rand(1, generator=chance)) < float(shares[proposed] / other[proposed]):
            return proposed
        shares = (shares - other).clamp(min=0)
    return int(torch.multinomial(shares, 1, generator=chance))
