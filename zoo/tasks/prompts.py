"""Prompts: from what a caller asks to the tokens that a model goes on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from zoo.errors import InvalidInput
from zoo.generation.settings import DEFAULT_NEW_TOKENS, GenerationSettings
from zoo.tasks.base import Features, check_texts, tokenizer_of

if TYPE_CHECKING:
    from zoo.model import Model
    from zoo.tokenization import Tokenizer

Prompt = str | Sequence[Mapping[str, Any]]
"""A text, or a chat as its messages."""


def encode_prompts(
    prompts: Sequence[Prompt], model: Model, settings: GenerationSettings, truncate: bool
) -> list[Features]:
    """Give the prompts as tokens: texts with the task's prefix, chats by the checkpoint's template.

    truncate: see Model.generate. Raises InvalidInput for what the model cannot go on from, TokenizerMissing.
    """
    texts = [prompt for prompt in prompts if not _is_chat(prompt)]
    check_texts(prompts if isinstance(prompts, str) else texts)
    if not model.writes or model.head is None:
        raise InvalidInput(
            f"This '{model.architecture.name}' was loaded for '{model.task}' and writes no text; "
            f"it would be a model with a head for text-generation or text2text-generation"
        )
    tokenizer, longest = tokenizer_of(model), model.spec.longest_input
    kept, most = what_is_kept(model, settings)
    given = iter(prefixes([str(text) for text in texts], model))
    features = []
    for source, prompt in enumerate(prompts):
        text = next(given) + prompt if isinstance(prompt, str) else tokenizer.apply_chat_template(prompt)
        encoding = tokenizer.encode(
            [text], max_length=most if truncate else None, kept=kept, special_tokens=isinstance(prompt, str)
        )[0]
        if not encoding.ids:
            raise InvalidInput(f"Prompt {source} has no tokens; write something for the model to go on from")
        if longest is not None and len(encoding.ids) > longest:
            raise InvalidInput(
                f"Prompt {source} has {len(encoding.ids)} tokens; the model takes at most {longest}. "
                f"Shorten it, or keep only its {kept} with truncate=True"
            )
        features.append(Features(encoding.ids, encoding.type_ids, source))
    return features


def _is_chat(prompt: Prompt) -> bool:
    return isinstance(prompt, Sequence) and not isinstance(prompt, str)


def what_is_kept(model: Model, settings: GenerationSettings) -> tuple[Literal["start", "end"], int | None]:
    """Give which side of a prompt that is too long is kept, and how many tokens of it; None for all.

    An encoder reads the start. A decoder goes on from the end, and needs room to: what its answer may take, at most half
    of the positions.
    """
    longest = model.spec.longest_input
    if hasattr(model.backbone, "encode"):
        return "start", longest
    if longest is None:
        return "end", None
    asked = DEFAULT_NEW_TOKENS if settings.max_new_tokens is None else settings.max_new_tokens
    # The last token that is written is not read.
    return "end", min(longest, longest + 1 - min(asked, longest // 2))


def prefixes(prompts: Sequence[str], model: Model) -> list[str]:
    """Give what a checkpoint was trained to find before each text for the model's task: "" where it is there, or nothing.

    Source: `task_specific_params` of config.json (T5), else its `prefix`. Raises InvalidInput where there are several
    and a text begins with none of them.
    """
    config = model.config or {}
    params = config.get("task_specific_params")
    params = params if isinstance(params, dict) else {}
    named = [value for key, value in params.items() if key == model.task or key.startswith(f"{model.task}_")]
    known = [value["prefix"] for value in named if isinstance(value, dict) and isinstance(value.get("prefix"), str)]
    usual = config.get("prefix") if model.task in ("summarization", "translation") else None
    known = known or ([usual] if isinstance(usual, str) else [])
    found = []
    for index, prompt in enumerate(prompts):
        said = any(prompt.startswith(prefix) for prefix in known)
        if not said and len(known) > 1:
            choices = ", ".join(repr(prefix) for prefix in known)
            raise InvalidInput(f"Text {index} does not say what to do; begin it with one of: {choices}")
        found.append("" if said or not known else known[0])
    return found


def in_language(settings: GenerationSettings, tokenizer: Tokenizer) -> GenerationSettings:
    """Begin with the code of the target language, where the tokenizer has such codes.

    It stands where the checkpoint's own settings have one (Liu et al. 2020: as the start itself; Tang et al. 2020: forced
    after it). A language that the user chose goes before the settings'; the tokenizer's usual one comes after them.
    """
    codes = {tokenizer.token_id(code) for code in tokenizer.languages}
    if not codes or tokenizer.target_language is None:
        return settings
    target = tokenizer.token_id(tokenizer.target_language)
    chosen = tokenizer.chosen_target is not None
    if settings.start_token_id is None or settings.start_token_id in codes:
        return replace(settings, start_token_id=target) if chosen or settings.start_token_id is None else settings
    return replace(settings, forced_first=target) if chosen or settings.forced_first is None else settings


def pad_left(rows: Sequence[Features], pad_token_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give ids, int64, and mask, bool, (batch, time), padded on the left: what is written next stands beside each text."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad_token_id)
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, longest - len(row.ids) :] = torch.tensor(row.ids)
        mask[index, longest - len(row.ids) :] = True
    return ids.to(device), mask.to(device)
