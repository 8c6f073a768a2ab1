"""Writing: how the tasks that generate text run a model over prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.errors import InvalidInput
from zoo.generation.beams import search
from zoo.generation.decoding import Generated, Row, ToText, decode
from zoo.generation.prefixes import PrefixCache
from zoo.generation.settings import GenerationSettings
from zoo.generation.speculation import DraftModel, Guesser, PromptLookup, speculate
from zoo.layers.cache import CHUNK, Cache
from zoo.tasks.base import Features, batches, tokenizer_of
from zoo.tasks.prompts import Prompt, encode_prompts, in_language, pad_left

if TYPE_CHECKING:
    from zoo.model import Model

PREFILL_CHUNK = CHUNK  # tokens of a long prompt that are read at once: bounds the memory of their scores
SEED_STEP = 1_000_003  # between the chains of several draws for one prompt


def generate(
    prompts: Sequence[Prompt],
    model: Model,
    settings: GenerationSettings,
    batch_size: int,
    truncate: bool,
    draft: Model | str | None,
    prefix_cache: PrefixCache | None,
) -> list[Generated]:
    """Give what the model writes after each prompt, in order. See Model.generate."""
    if batch_size < 1:
        raise InvalidInput(f"batch_size is {batch_size}; it would be at least 1")
    if draft is not None:
        _check_draft(draft, model, settings)
    if prefix_cache is not None:
        _check_prefix_cache(model, draft)
    features = encode_prompts(prompts, model, settings, truncate)
    results: list[Generated | None] = [None] * len(features)
    with _answering(model), _answering(draft):
        if prefix_cache is not None:
            return [_write([row], model, settings, prefix_cache)[0] for row in features]
        for batch in batches(features, batch_size):
            rows = [features[index] for index in batch]
            written = _write(rows, model, settings) if draft is None else _guess(rows, model, settings, draft)
            for index, result in zip(batch, written, strict=True):
                results[index] = result
    return [result for result in results if result is not None]


@contextmanager
def _answering(model: Model | str | None) -> Iterator[None]:
    """Without gradients and dropout meanwhile."""
    if not isinstance(model, torch.nn.Module):
        yield
        return
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def _check_draft(draft: Model | str, model: Model, settings: GenerationSettings) -> None:
    if settings.num_beams > 1 or settings.best_of > 1:
        raise InvalidInput("draft guesses ahead of one answer; it goes with neither num_beams nor best_of")
    if isinstance(draft, str):
        if draft != "prompt":
            raise InvalidInput(f"draft is {draft!r}; it would be 'prompt', or a model with the same vocabulary")
        return
    if not draft.writes or draft.head is None or hasattr(draft.backbone, "encode"):
        raise InvalidInput(f"The draft, a '{draft.architecture.name}' for '{draft.task}', does not write by itself")
    if draft.spec.vocab_size != model.spec.vocab_size:
        raise InvalidInput(
            f"The draft has {draft.spec.vocab_size} tokens and the model {model.spec.vocab_size}; "
            "both would have the same vocabulary"
        )


def _check_prefix_cache(model: Model, draft: Model | str | None) -> None:
    if hasattr(model.backbone, "encode"):
        raise InvalidInput(
            f"prefix_cache keeps what a decoder read of a prompt; '{model.architecture.name}' reads it with an encoder, "
            "to which each word depends on all others. Leave it out"
        )
    if draft is not None:
        raise InvalidInput("prefix_cache and draft do not go together; leave one of them out")


def stream(
    prompt: Prompt, model: Model, settings: GenerationSettings, truncate: bool, prefix_cache: PrefixCache | None
) -> Iterator[str]:
    """Give what the model writes after a prompt, in pieces as it comes. See Model.stream."""
    if settings.num_beams > 1 or settings.best_of > 1:
        raise InvalidInput("A stream is one answer as it comes; num_beams and best_of know theirs only at the end")
    if prefix_cache is not None:
        _check_prefix_cache(model, None)
    features = encode_prompts([prompt], model, settings, truncate)
    to_text = tokenizer_of(model).decode
    shown = ""
    with _answering(model):
        start = _begin(features, model, settings, prefix_cache)
        for rows in decode(start.scorer, start.ids, start.given, start.settings, start.most, [settings.seed], to_text):
            if prefix_cache is not None:
                start.scorer.hand_to(prefix_cache, start.given[0], rows[0])
            text = _text(rows[0], to_text)
            known = text if rows[0].finish_reason else text[: _settled(text, settings.stop)]
            if known.startswith(shown) and known != shown:
                yield known[len(shown) :]
                shown = known


def _settled(text: str, stops: Sequence[str]) -> int:
    """Give how much of a text will stay: not a character that is still half, nor what may begin a stop text."""
    end = len(text)
    while end and text[end - 1] == "\ufffd":
        end -= 1
    for stop in stops:
        for size in range(min(len(stop) - 1, end), 0, -1):
            if text[:end].endswith(stop[:size]):
                end -= size
                break
    return end


class ModelScorer:
    """A model over a batch of prompts, with a cache of what it has read: what the decoding loop advances."""

    def __init__(self, model: Model, mask: Tensor, source: Tensor | None, cache: Cache) -> None:
        """mask: bool (batch, time) of the prompts. source: what an encoder made of them, None without one.

        cache: with room for prompt and answer; beside an encoder for the answer alone.
        """
        self.source = source
        backbone: Any = model.backbone
        self._backbone, self._head = backbone, model.head
        self._mask = mask
        self._cache = cache
        self._prompts = list(range(mask.shape[0]))
        self._shared = 0

    def advance(self, newest: Tensor) -> Tensor:
        """See zoo.generation.decoding.Scorer. A long prompt is read in chunks."""
        self._shared = self._shared or self._cache.length + newest.shape[1]
        for chunk in torch.split(newest, PREFILL_CHUNK, 1):
            hidden = self._read(chunk)
        assert self._head is not None
        scores: Tensor = self._head(hidden[:, -1:], newest[:, -1:], None)[:, -1]
        return scores

    def judge(self, newest: Tensor) -> Tensor:
        """See zoo.generation.speculation.JudgingScorer."""
        self._shared = self._shared or newest.shape[1]
        hidden = torch.cat([self._read(chunk) for chunk in torch.split(newest, PREFILL_CHUNK, 1)], 1)
        assert self._head is not None
        scores: Tensor = self._head(hidden, newest, None)
        return scores

    def forget(self, count: int) -> None:
        """See zoo.generation.speculation.JudgingScorer."""
        self._cache.forget(count)

    def hand_to(self, prefix_cache: PrefixCache, given: Sequence[int], row: Row | None) -> None:
        """Keep what was read for the next call: see PrefixCache.hold."""
        prefix_cache.hold(self._cache, given, row)

    def _read(self, ids: Tensor) -> Tensor:
        if self.source is not None:
            hidden: Tensor = self._backbone.decode(ids, None, self.source, self._mask, self._cache)
            return hidden
        seen = self._cache.length + ids.shape[1]
        if seen > self._mask.shape[1]:
            self._mask = torch.cat([self._mask, self._mask.new_ones((len(ids), seen - self._mask.shape[1]))], -1)
        read: Tensor = self._backbone(ids, self._mask[:, :seen], self._cache)
        return read

    def keep(self, rows: Sequence[int]) -> None:
        """See zoo.generation.decoding.Scorer. Between rows of one prompt only what was written is copied."""
        prompts = [self._prompts[row] for row in rows]
        chosen = torch.tensor(list(rows), device=self._mask.device)
        if prompts == self._prompts:
            self._cache.reorder(chosen, self._shared)
            return
        self._prompts = prompts
        self._cache.select(chosen)
        self._mask = self._mask[chosen]
        self.source = None if self.source is None else self.source[chosen]


@dataclass(frozen=True)
class Start:
    """Where a batch begins to write.

    ids: int64 (batch, time), what the scorer reads first. given: the same without padding. most: tokens of each answer.
    settings: with the target's language.
    """

    scorer: ModelScorer
    ids: Tensor
    given: list[list[int]]
    most: list[int]
    settings: GenerationSettings


def _begin(
    rows: Sequence[Features], model: Model, settings: GenerationSettings, prefix_cache: PrefixCache | None = None
) -> Start:
    """Give the start of a batch. prefix_cache: for rows of one prompt. Raises InvalidInput if nothing can be written."""
    ids, mask = pad_left(rows, model.pad_token_id, model.device)
    backbone: Any = model.backbone
    source, start, given = None, ids, [row.ids for row in rows]
    if hasattr(backbone, "encode"):
        settings = in_language(settings, tokenizer_of(model))
        if settings.start_token_id is None:
            raise InvalidInput("Neither config.json nor generation_config.json says which token a text begins with")
        source = backbone.encode(ids, mask)
        start = torch.full((len(rows), 1), settings.start_token_id, device=model.device)
        given = [[settings.start_token_id] for _ in rows]
    most = [_room(model, settings, len(text), row.source) for text, row in zip(given, rows, strict=True)]
    capacity = start.shape[1] + max(most)
    if prefix_cache is None:
        cache: Cache = backbone.new_cache(capacity)
    else:
        cache, read = prefix_cache.take(backbone, given[0], capacity)
        start = start[:, read:]
        if read and len(rows) > 1:
            cache.select(torch.zeros(len(rows), dtype=torch.int64, device=model.device))
    return Start(ModelScorer(model, mask, source, cache), start, given, most, settings)


def _room(model: Model, settings: GenerationSettings, length: int, index: int) -> int:
    """Give the most tokens to write after so many. Raises InvalidInput where the checkpoint's max_length leaves none."""
    most = settings.new_tokens(length)
    if most == 0 and settings.max_new_tokens is None:
        raise InvalidInput(
            f"Prompt {index} has {length} tokens, and the checkpoint's max_length of {settings.max_length} leaves none "
            "for an answer. Say how long it may be, such as max_new_tokens=64"
        )
    longest = model.spec.longest_input
    return most if longest is None else min(most, longest - length + 1)


def _write(
    rows: Sequence[Features], model: Model, settings: GenerationSettings, prefix_cache: PrefixCache | None = None
) -> list[Generated]:
    """Write for one batch. prefix_cache: for one prompt."""
    tokenizer = tokenizer_of(model)
    draws = [row for row in rows for _ in range(settings.best_of)]
    start = _begin(draws, model, settings, prefix_cache)
    settings = start.settings
    if settings.num_beams > 1:
        beams = search(start.scorer, start.ids, start.given, settings, start.most, tokenizer.decode)
        if prefix_cache is not None:
            start.scorer.hand_to(prefix_cache, start.given[0], None)
        return [
            Generated(
                text=_until_stop(tokenizer.decode(beam.token_ids), settings.stop),
                token_ids=list(beam.token_ids),
                log_probability=beam.log_probability,
                finish_reason="stop" if beam.ended else "length",
            )
            for beam in beams
        ]
    seeds = [settings.seed + SEED_STEP * draw for _ in rows for draw in range(settings.best_of)]
    *_, written = decode(start.scorer, start.ids, start.given, settings, start.most, seeds, tokenizer.decode)
    if prefix_cache is not None:
        start.scorer.hand_to(prefix_cache, start.given[0], written[0] if len(written) == 1 else None)
    groups = [written[first : first + settings.best_of] for first in range(0, len(written), settings.best_of)]
    best = [max(group, key=lambda row: row.log_probability / max(len(row.token_ids), 1)) for group in groups]
    return [
        Generated(_text(row, tokenizer.decode), row.token_ids, row.log_probability, row.finish_reason or "length")
        for row in best
    ]


def _guess(rows: Sequence[Features], model: Model, settings: GenerationSettings, draft: Model | str) -> list[Generated]:
    """Write for each prompt by itself, several tokens a step."""
    to_text = tokenizer_of(model).decode
    results = []
    for row in rows:
        start = _begin([row], model, settings)
        given, most, own = start.given[0], start.most[0], start.settings
        guesser: Guesser = PromptLookup(row.ids if start.scorer.source is not None else ())
        if not isinstance(draft, str):
            nothing = torch.ones((1, 0), dtype=torch.bool, device=draft.device)
            cache: Cache = draft.backbone.new_cache(len(given) + most)  # type: ignore[operator]
            guesser = DraftModel(ModelScorer(draft, nothing, None, cache), draft.device)
        *_, (written,) = speculate(start.scorer, guesser, start.ids, given, own, most, own.seed, to_text)
        text = _text(written, to_text)
        results.append(Generated(text, written.token_ids, written.log_probability, written.finish_reason or "length"))
    return results


def _text(row: Row, to_text: ToText) -> str:
    text = to_text(row.token_ids)
    return text if row.cut is None else text[: row.cut]


def _until_stop(text: str, stops: Sequence[str]) -> str:
    places = [place for place in map(text.find, stops) if place >= 0]
    return text[: min(places)] if places else text
