"""A checkpoint's own way to write: `generation_config.json`, every key of it read, pinned or ignored by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from zoo.errors import InvalidGenerationConfig, InvalidInput
from zoo.generation.settings import GenerationSettings

GENERATION_FILE = "generation_config.json"

# The setting that each key is, under its own name or another.
READ = {
    name: name
    for name in (
        *("max_new_tokens", "max_length", "min_new_tokens", "min_length", "repetition_penalty", "no_repeat_ngram_size"),
        *("num_beams", "length_penalty", "early_stopping", "renormalize_logits"),
    )
} | {
    "decoder_start_token_id": "start_token_id",
    "forced_bos_token_id": "forced_first",
    "forced_eos_token_id": "forced_last",
}
# Read only where do_sample is true; otherwise the likeliest token is taken whatever they are.
DRAWING = frozenset({"temperature", "top_k", "top_p", "min_p", "typical_p"})
# Read below, since their form differs from the setting's.
REFORMED = frozenset(
    {"do_sample", "eos_token_id", "bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "stop_strings"}
)

# Ways of decoding that Zoo does not have, with the values that leave each out.
PINNED: Mapping[str, tuple[Any, ...]] = {
    "num_return_sequences": (1,), "num_beam_groups": (1,), "diversity_penalty": (0,), "penalty_alpha": (0,),
    "encoder_no_repeat_ngram_size": (0,), "encoder_repetition_penalty": (1,), "epsilon_cutoff": (0,), "eta_cutoff": (0,),
    "guidance_scale": (1,), "token_healing": (False,), "remove_invalid_values": (False,), "top_h": (1,),
    "constraints": (), "force_words_ids": (), "sequence_bias": (), "exponential_decay_length_penalty": (),
    "watermarking_config": (), "dola_layers": (), "max_time": (),
}  # fmt: skip

# What changes no answer: how other libraries run, what they return beside the text, and guessing ahead, whose answers
# are those without. Padding is masked, and the token that begins a text is the tokenizer's to write.
IGNORED = frozenset(
    {"_from_model_config", "transformers_version", "pad_token_id", "bos_token_id", "return_dict_in_generate"}
    | {"output_attentions", "output_hidden_states", "output_scores", "output_logits", "use_cache", "low_memory"}
    | {"cache_implementation", "cache_config", "max_cache_len", "compile_config", "disable_compile"}
    | {"prefill_chunk_size", "continuous_batching_config", "is_assistant", "num_assistant_tokens", "use_mtp"}
    | {"num_assistant_tokens_schedule", "assistant_confidence_threshold", "assistant_early_exit", "speculation_type"}
    | {"assistant_lookbehind", "target_lookbehind", "assistant_ensemble_weight", "prompt_lookup_num_tokens"}
    | {"max_matching_ngram_size"}
)


def read_defaults(
    config: Mapping[str, Any], own: GenerationSettings, ignore: Collection[str] = ()
) -> GenerationSettings:
    """Give what a generation_config.json says, over `own`, what the spec says.

    ignore: keys the user accepts unread. Raises InvalidGenerationConfig (a key that Zoo does not know, or a way of
    decoding that it does not have), InvalidInput (a value that no setting has).
    """
    given = {key: value for key, value in config.items() if key not in ignore and value not in (None, [], {})}
    problems = {key: problem for key, value in given.items() if (problem := _problem(key, value))}
    if problems:
        raise InvalidGenerationConfig(problems)
    found = {setting: given[key] for key, setting in READ.items() if key in given}
    found["suppressed"] = (
        *(tuple(word) if isinstance(word, list) else (word,) for word in given.get("bad_words_ids", ())),
        *((token,) for token in given.get("suppress_tokens", ())),
    )
    for key, setting in (("eos_token_id", "end_token_ids"), ("begin_suppress_tokens", "suppressed_first")):
        if key in given:
            found[setting] = tuple(given[key]) if isinstance(given[key], list) else (given[key],)
    if "stop_strings" in given:
        found["stop"] = given["stop_strings"]
    if given.get("do_sample") is True:
        found |= {key: given[key] for key in DRAWING if key in given}
        found["temperature"] = given.get("temperature", 1.0)
        found["top_k"] = given.get("top_k") or None  # 0 is for none
    try:
        return own.with_values(found)
    except InvalidInput as error:
        raise InvalidInput(f"In {GENERATION_FILE}: {error}") from None


def _problem(key: str, value: Any) -> str | None:
    """Say what is wrong with a key, or None."""
    if key in PINNED:
        right = " or ".join(map(repr, PINNED[key])) or "null"
        return None if value in PINNED[key] else f"is {value!r:.60}; it would be {right}"
    if key in ("bad_words_ids", "suppress_tokens", "begin_suppress_tokens") and not isinstance(value, list):
        return f"is {value!r:.60}; it would be a list"
    if key == "do_sample" and not isinstance(value, bool):
        return f"is {value!r:.60}; it would be true or false"
    known = key in READ or key in DRAWING or key in REFORMED or key in IGNORED
    return None if known else "is not known"
