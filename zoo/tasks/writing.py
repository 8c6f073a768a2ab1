"""Writing: how the tasks that generate text run a model over prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.errors import InvalidInput
from zoo.generation.decoding import Generated, decode
from zoo.generation.settings import GenerationSettings
from zoo.layers.cache import Cache
from zoo.tasks.base import Features, batches, check_texts, tokenizer_of

if TYPE_CHECKING:
    from zoo.model import Model


def generate(prompts: Sequence[str], model: Model, settings: GenerationSettings, batch_size: int) -> list[Generated]:
    """Give what the model writes after each prompt, in order. See Model.generate."""
    check_texts(prompts)
    if batch_size < 1:
        raise InvalidInput(f"batch_size is {batch_size}; it would be at least 1")
    if model.num_decoder_layers == 0 or model.head is None:
        raise InvalidInput(
            f"This '{model.architecture.name}' was loaded for '{model.task}' and writes no text; "
            f"it would be a model with a head for text-generation or text2text-generation"
        )
    tokenizer = tokenizer_of(model)
    features = [Features(e.ids, e.type_ids, source) for source, e in enumerate(tokenizer.encode(prompts))]
    for feature in features:
        _check_length(feature, model)
    results: list[Generated | None] = [None] * len(features)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in batches(features, batch_size):
                rows = [features[index] for index in batch]
                for index, result in zip(batch, _write(rows, model, settings), strict=True):
                    results[index] = result
    finally:
        model.train(was_training)
    return [result for result in results if result is not None]


def _check_length(feature: Features, model: Model) -> None:
    if not feature.ids:
        raise InvalidInput(f"Prompt {feature.source} has no tokens; write something for the model to go on from")
    longest = model.spec.longest_input
    if longest is not None and len(feature.ids) > longest:
        raise InvalidInput(
            f"Prompt {feature.source} has {len(feature.ids)} tokens; the model takes at most {longest}. Shorten it"
        )


def _write(rows: Sequence[Features], model: Model, settings: GenerationSettings) -> list[Generated]:
    """Write for one batch."""
    ids, mask = pad_left(rows, model.pad_token_id, model.device)
    backbone: Any = model.backbone
    beside_encoder = hasattr(backbone, "encode")
    start = ids
    if beside_encoder:
        if settings.start_token_id is None:
            raise InvalidInput("Neither config.json nor generation_config.json says which token a text begins with")
        start = torch.full((len(rows), 1), settings.start_token_id, device=model.device)
    longest = model.spec.longest_input
    room = settings.max_new_tokens if longest is None else longest - start.shape[1] + 1
    settings = replace(settings, max_new_tokens=min(settings.max_new_tokens, room))
    cache = Cache(model.num_decoder_layers, start.shape[1] + settings.max_new_tokens)
    source = backbone.encode(ids, mask) if beside_encoder else None

    def advance(newest: Tensor) -> Tensor:
        if beside_encoder:
            hidden = backbone.decode(newest, None, source, mask, cache)
        else:
            new = mask.new_ones((len(rows), cache.length + newest.shape[1] - mask.shape[1]))
            hidden = backbone(newest, torch.cat([mask, new], -1), cache)
        assert model.head is not None
        scores: Tensor = model.head(hidden[:, -1:], newest[:, -1:], None)[:, -1]
        return scores

    written = decode(advance, start, settings, [settings.seed + row.source for row in rows])
    tokenizer = tokenizer_of(model)
    return [
        Generated(
            text=tokenizer.decode(row.token_ids),
            token_ids=row.token_ids,
            log_probability=row.log_probability,
            finish_reason="stop" if row.finished else "length",
        )
        for row in written
    ]


def pad_left(rows: Sequence[Features], pad_token_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give ids, int64, and mask, bool, (batch, time), padded on the left: what is written next stands beside each text."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad_token_id)
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, longest - len(row.ids) :] = torch.tensor(row.ids)
        mask[index, longest - len(row.ids) :] = True
    return ids.to(device), mask.to(device)
