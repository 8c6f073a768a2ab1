"""generation_config.json: every key is read, pinned or ignored by name, and nothing in it is passed over in silence."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

import zoo
from tests.generation.samples import PROMPTS, gpt2
from zoo.errors import InvalidGenerationConfig, InvalidInput
from zoo.generation.defaults import DRAWING, IGNORED, PINNED, READ, REFORMED, read_defaults
from zoo.generation.settings import GenerationSettings

NOTHING = GenerationSettings()
CURE = "To write without it, load the checkpoint with ignore_config_keys=[{}] (on the command line: {})"

# What files of published checkpoints hold, of each family.
PUBLISHED: dict[str, tuple[dict[str, Any], GenerationSettings]] = {
    "meta-llama/Llama-3.2-1B-Instruct": (
        {"bos_token_id": 128000, "do_sample": True, "eos_token_id": [128001, 128008, 128009], "temperature": 0.6}
        | {"top_p": 0.9, "transformers_version": "4.45.0.dev0"},
        GenerationSettings(temperature=0.6, top_p=0.9, end_token_ids=(128001, 128008, 128009)),
    ),
    "Qwen/Qwen2-0.5B-Instruct": (
        {"bos_token_id": 151643, "pad_token_id": 151643, "do_sample": True, "eos_token_id": [151645, 151643]}
        | {"repetition_penalty": 1.1, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "transformers_version": "4.37.0"},
        GenerationSettings(
            temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.1, end_token_ids=(151645, 151643)
        ),
    ),
    "google/gemma-2-2b-it": (
        {"_from_model_config": True, "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": [1, 107]}
        | {"pad_token_id": 0, "transformers_version": "4.42.4"},
        GenerationSettings(end_token_ids=(1, 107)),
    ),
    "facebook/bart-large-cnn": (
        {"_from_model_config": True, "bos_token_id": 0, "decoder_start_token_id": 2, "early_stopping": True}
        | {"eos_token_id": 2, "forced_bos_token_id": 0, "forced_eos_token_id": 2, "length_penalty": 2.0}
        | {"max_length": 142, "min_length": 56, "no_repeat_ngram_size": 3, "num_beams": 4, "pad_token_id": 1},
        GenerationSettings(
            early_stopping=True, end_token_ids=(2,), start_token_id=2, forced_first=0, forced_last=2, length_penalty=2.0,
            max_length=142, min_length=56, no_repeat_ngram_size=3, num_beams=4,
        ),
    ),
    "Helsinki-NLP/opus-mt-en-de": (
        {"bad_words_ids": [[58100]], "bos_token_id": 0, "decoder_start_token_id": 58100, "eos_token_id": 0}
        | {"forced_eos_token_id": 0, "max_length": 512, "num_beams": 6, "pad_token_id": 58100, "renormalize_logits": True},
        GenerationSettings(
            suppressed=((58100,),), start_token_id=58100, end_token_ids=(0,), forced_last=0, max_length=512, num_beams=6,
            renormalize_logits=True,
        ),
    ),
    "every other key that is read": (
        {"max_new_tokens": 8, "min_new_tokens": 2, "stop_strings": ["\n", "END"], "suppress_tokens": [4]}
        | {"begin_suppress_tokens": [5, 6], "do_sample": False, "temperature": 0.7, "top_k": 9, "early_stopping": "never"},
        GenerationSettings(
            max_new_tokens=8, min_new_tokens=2, stop=("\n", "END"), suppressed=((4,),), suppressed_first=(5, 6),
            early_stopping="never",
        ),
    ),
    "one stop text, chance without a temperature": (
        {"stop_strings": "END", "do_sample": True, "top_k": 0, "min_p": 0.1, "typical_p": 0.9, "eos_token_id": None},
        GenerationSettings(stop=("END",), temperature=1.0, min_p=0.1, typical_p=0.9),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_files_of_published_checkpoints_are_read(name: str) -> None:
    config, expected = PUBLISHED[name]
    assert read_defaults(config, NOTHING) == expected


def test_every_key_that_transformers_writes_is_accounted_for_once() -> None:
    groups = [set(READ), DRAWING, REFORMED, set(PINNED), IGNORED]
    known = set().union(*groups)
    assert len(known) == sum(map(len, groups))
    assert set(transformers.GenerationConfig().to_dict()) <= known


@pytest.mark.parametrize("key", PINNED)
def test_ways_of_decoding_that_zoo_does_not_have_are_refused_by_name(key: str) -> None:
    for value in (*PINNED[key], None):
        assert read_defaults({key: value}, NOTHING) == NOTHING
    with pytest.raises(InvalidGenerationConfig) as refused:
        read_defaults({key: 7}, NOTHING)
    right = repr(PINNED[key][0]) if PINNED[key] else "null"
    cure = CURE.format(f'"{key}"', f"--ignore-config-key {key}")
    assert str(refused.value) == (
        f"generation_config.json asks for what this version of Zoo does not do:\n  {key}: is 7; it would be {right}\n{cure}"
    )


def test_a_key_that_nobody_knows_stops_writing_until_it_is_accepted(tmp_path: Path) -> None:
    gpt2(tmp_path, spin=3, diversity_penalty=0.5, max_new_tokens=4)
    model = zoo.load(tmp_path)
    with pytest.raises(InvalidGenerationConfig) as refused:
        model.generate(PROMPTS)
    cure = CURE.format('"spin", "diversity_penalty"', "--ignore-config-key spin --ignore-config-key diversity_penalty")
    assert str(refused.value) == (
        "generation_config.json asks for what this version of Zoo does not do:\n"
        f"  spin: is not known\n  diversity_penalty: is 0.5; it would be 0\n{cure}"
    )
    accepted = zoo.load(tmp_path, ignore_config_keys=["spin", "diversity_penalty"])
    assert [len(row.token_ids) for row in accepted.generate(PROMPTS)] == [4, 4, 4]


@pytest.mark.parametrize(("config", "message"), [
    ({"num_beams": "four"}, "num_beams is 'four'; it would be a whole number, at least 1"),
    ({"renormalize_logits": 1}, "renormalize_logits is 1; it would be True or False"),
    (
        {"eos_token_id": [4, -1]},
        "The ids of tokens that begin, end and may not be in a text are [4, -1, None, None, None]; they would be whole "
        "numbers, none below 0",
    ),
    ({"do_sample": True, "top_p": 2}, "top_p is 2; it would be a number, at least 0 and at most 1"),
])  # fmt: skip
def test_a_value_that_no_setting_has_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_defaults(config, NOTHING)
    assert str(refused.value) == f"In generation_config.json: {message}"


@pytest.mark.parametrize(("config", "problem"), [
    ({"bad_words_ids": 5}, "bad_words_ids: is 5; it would be a list"),
    ({"do_sample": "yes"}, "do_sample: is 'yes'; it would be true or false"),
])  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused(config: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidGenerationConfig) as refused:
        read_defaults(config, NOTHING)
    assert str(refused.value).splitlines()[1] == f"  {problem}"


def test_beams_by_chance_are_a_contradiction_that_a_caller_resolves(tmp_path: Path) -> None:
    gpt2(tmp_path, eos=None, num_beams=4, do_sample=True, max_new_tokens=4)
    model = zoo.load(tmp_path)
    with pytest.raises(InvalidInput) as refused:
        model.generate(PROMPTS)
    assert str(refused.value) == (
        "num_beams is 4, and follows the likeliest answers; it goes with neither temperature (1.0) nor best_of (1). "
        "Set num_beams=1, or temperature=0 and best_of=1"
    )
    greedy = model.generate(PROMPTS, num_beams=1, temperature=0)
    (tmp_path / "generation_config.json").write_text(json.dumps({"max_new_tokens": 4}))
    assert greedy == zoo.load(tmp_path).generate(PROMPTS)


def test_a_max_length_that_leaves_no_room_is_said_so(tmp_path: Path) -> None:
    gpt2(tmp_path, max_length=7)
    model = zoo.load(tmp_path)
    with pytest.raises(InvalidInput) as refused:
        model.generate(PROMPTS)
    assert str(refused.value) == (
        "Prompt 1 has 12 tokens, and the checkpoint's max_length of 7 leaves none for an answer. "
        "Say how long it may be, such as max_new_tokens=64"
    )
    assert len(model.generate(PROMPTS, max_new_tokens=3)[1].token_ids) == 3


def test_tokens_that_have_to_be_written_must_exist(tmp_path: Path) -> None:
    gpt2(tmp_path, forced_eos_token_id=60, eos_token_id=[50, 99], bad_words_ids=[[77]])
    with pytest.raises(InvalidInput) as refused:
        zoo.load(tmp_path).generate(PROMPTS)
    assert str(refused.value) == "forced_last is 60; the model has the tokens 0 to 52"
    # One that ends a text, or may not be in it, is never written where the vocabulary has none such.
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [50, 99], "bad_words_ids": [[77]]}))
    found = zoo.load(tmp_path).generate(PROMPTS, max_new_tokens=4, min_new_tokens=2)
    (tmp_path / "generation_config.json").unlink()
    assert found == zoo.load(tmp_path).generate(PROMPTS, max_new_tokens=4, min_new_tokens=2)
