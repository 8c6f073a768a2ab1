"""Writing: greedy answers are transformers', chance is reproducible, and what stops a text is told."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import zoo
from tests.checkpoints import change_config
from tests.generation.samples import BART, PROMPTS, T5, continued, gpt2, write
from tests.tokenization.samples import mbart
from zoo.errors import InvalidInput
from zoo.generation.settings import GenerationSettings
from zoo.tasks.prompts import in_language


def test_greedy_writing_is_that_of_transformers_for_a_decoder(tmp_path: Path) -> None:
    oracle, model = gpt2(tmp_path), zoo.load(tmp_path)
    assert model.tokenizer is not None
    ids = [encoding.ids for encoding in model.tokenizer.encode(PROMPTS)]
    assert len({len(row) for row in ids}) == 3
    found = model.generate(PROMPTS, max_new_tokens=12)
    assert [row.token_ids for row in found] == [continued(oracle, row, max_new_tokens=12) for row in ids]
    assert [row.text for row in found] == [model.tokenizer.decode(row.token_ids) for row in found]


@pytest.mark.parametrize(("class_name", "config"), [
    ("T5ForConditionalGeneration", transformers.T5Config(**T5, eos_token_id=3, decoder_start_token_id=0)),
    ("BartForConditionalGeneration", transformers.BartConfig(**BART, forced_eos_token_id=None)),
], ids=["t5", "bart"])  # fmt: skip
def test_greedy_writing_is_that_of_transformers_beside_an_encoder(tmp_path: Path, class_name: str, config: Any) -> None:
    oracle, model = write(tmp_path, class_name, config), zoo.load(tmp_path)
    assert model.tokenizer is not None
    ids = [encoding.ids for encoding in model.tokenizer.encode(PROMPTS)]
    expected = [continued(oracle, row, max_new_tokens=9) for row in ids]
    assert [row.token_ids for row in model.generate(PROMPTS, max_new_tokens=9)] == expected
    assert [row.token_ids for row in zoo.load(tmp_path, "translation").predict(PROMPTS)] == [
        continued(oracle, row, max_new_tokens=64 if config.model_type == "t5" else 32) for row in ids
    ]


def test_each_prompt_is_answered_as_if_it_were_alone(tmp_path: Path) -> None:
    gpt2(tmp_path)
    model = zoo.load(tmp_path)
    together = model.generate(PROMPTS, max_new_tokens=9)
    for prompt, row in zip(PROMPTS, together, strict=True):
        alone = model.generate([prompt], max_new_tokens=9)[0]
        assert alone.token_ids == row.token_ids
        assert alone.log_probability == pytest.approx(row.log_probability, abs=1e-4)


def test_the_probability_is_that_of_the_whole_answer_its_end_included(tmp_path: Path) -> None:
    gpt2(tmp_path, eos=None)
    model = zoo.load(tmp_path)
    assert model.tokenizer is not None
    first = model.generate(PROMPTS[:1], max_new_tokens=6)[0]
    ids = model.tokenizer.encode(PROMPTS[:1])[0].ids
    chances = model(torch.tensor([ids + first.token_ids])).logits[0].log_softmax(-1)
    each = [float(chances[len(ids) - 1 + place, token]) for place, token in enumerate(first.token_ids)]
    assert first.finish_reason == "length"
    assert first.log_probability == pytest.approx(sum(each), abs=1e-4)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": first.token_ids[3]}))
    end = first.token_ids.index(first.token_ids[3])
    stopped = zoo.load(tmp_path).generate(PROMPTS[:1], max_new_tokens=6)[0]
    assert stopped.finish_reason == "stop"
    assert stopped.token_ids == first.token_ids[:end]
    assert stopped.log_probability == pytest.approx(sum(each[: end + 1]), abs=1e-4)


def test_what_is_drawn_by_chance_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    gpt2(tmp_path)
    model = zoo.load(tmp_path)
    settings: dict[str, Any] = {"max_new_tokens": 8, "temperature": 1.3, "top_k": 20, "top_p": 0.9}
    together = model.generate(PROMPTS, **settings, seed=5)
    apart = [model.generate([prompt], **settings, seed=5)[0] for prompt in PROMPTS]
    other = model.generate(PROMPTS, **settings, seed=6)
    assert [row.token_ids for row in together] == [row.token_ids for row in apart]
    assert [row.token_ids for row in together] != [row.token_ids for row in other]


def test_defaults_come_from_generation_config(tmp_path: Path) -> None:
    gpt2(
        tmp_path,
        do_sample=True,
        temperature=0.5,
        top_k=7,
        top_p=0.8,
        max_new_tokens=3,
        eos_token_id=[4, 5],
        forced_bos_token_id=9,
        forced_eos_token_id=4,
        bad_words_ids=[[6], [7, 8]],
        suppress_tokens=[10],
    )
    model = zoo.load(tmp_path)
    assert model.generation_settings == GenerationSettings(
        max_new_tokens=3,
        temperature=0.5,
        top_k=7,
        top_p=0.8,
        end_token_ids=(4, 5),
        forced_first=9,
        forced_last=4,
        suppressed=((6,), (7, 8), (10,)),
    )
    row = model.generate(PROMPTS[:1])[0]
    assert (row.token_ids[0], len(row.token_ids), row.finish_reason) == (9, 2, "stop")


def test_a_text_stops_where_the_positions_end(tmp_path: Path) -> None:
    gpt2(tmp_path, eos=None)
    model = zoo.load(tmp_path)
    assert model.tokenizer is not None
    length = len(model.tokenizer.encode(PROMPTS[:1])[0].ids)
    row = model.generate(PROMPTS[:1], max_new_tokens=99)[0]
    assert (len(row.token_ids), row.finish_reason) == (40 - length + 1, "length")


def test_no_new_tokens_is_an_empty_answer(tmp_path: Path) -> None:
    gpt2(tmp_path)
    row = zoo.load(tmp_path).generate(["the cat"], max_new_tokens=0)[0]
    assert (row.text, row.token_ids, row.log_probability, row.finish_reason) == ("", [], 0.0, "length")


@pytest.mark.parametrize(("settings", "message"), [
    ({"max_new_tokens": -1}, "max_new_tokens is -1; it would be a whole number, at least 0"),
    ({"top_k": 0}, "top_k is 0; it would be a whole number, at least 1"),
    ({"temperature": -0.5}, "temperature is -0.5; it would be a number, at least 0"),
    ({"top_p": 1.5}, "top_p is 1.5; it would be a number, at least 0 and at most 1"),
    ({"batch_size": 0}, "batch_size is 0; it would be at least 1"),
    ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0; it would be above 0"),
    ({"early_stopping": "soon"}, "early_stopping is 'soon'; it would be True, False or 'never'"),
    ({"stop": [""]}, "stop is ['']; it would be texts, none of them empty"),
    (
        {"num_beams": 2, "temperature": 1.0},
        "num_beams is 2, and follows the likeliest answers; it goes with neither temperature (1.0) nor best_of (1). "
        "Set num_beams=1, or temperature=0 and best_of=1",
    ),
    (
        {"best_of": 3},
        "best_of is 3, and without a temperature all answers are the same one. Set temperature=1.0, or best_of=1",
    ),
    (
        {"min_new_tokens": 9, "max_new_tokens": 5},
        "min_new_tokens is 9 and max_new_tokens 5; the fewest is above the most",
    ),
    ({"stop": 5}, "stop is 5; it would be texts, none of them empty"),
    ({"stop": [5]}, "stop is [5]; it would be texts, none of them empty"),
    ({"seed": -1}, "seed is -1; it would be a whole number, at least 0 and at most 9223372036854775807"),
    ({"seed": 0.5}, "seed is 0.5; it would be a whole number, at least 0 and at most 9223372036854775807"),
    ({"temperature": float("nan")}, "temperature is nan; it would be a number, at least 0"),
    ({"temperature": "hot"}, "temperature is 'hot'; it would be a number, at least 0"),
    ({"length_penalty": float("inf")}, "length_penalty is inf; it would be a number"),
    ({"no_repeat_ngram_size": -2}, "no_repeat_ngram_size is -2; it would be a whole number, at least 0"),
    ({"min_p": -0.1}, "min_p is -0.1; it would be a number, at least 0 and at most 1"),
    ({"num_beams": 0}, "num_beams is 0; it would be a whole number, at least 1"),
    ({"max_new_tokens": True}, "max_new_tokens is True; it would be a whole number, at least 0"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    gpt2(tmp_path)
    with pytest.raises(InvalidInput) as refused:
        zoo.load(tmp_path).generate(PROMPTS, **settings)
    assert str(refused.value) == message


def test_a_prompt_that_is_too_long_or_empty_is_refused(tmp_path: Path) -> None:
    gpt2(tmp_path)
    model = zoo.load(tmp_path)
    with pytest.raises(InvalidInput) as refused:
        model.generate(["the cat", "the " * 50])
    assert str(refused.value) == (
        "Prompt 1 has 52 tokens; the model takes at most 40. Shorten it, or keep only its end with truncate=True"
    )
    with pytest.raises(InvalidInput) as refused:
        model.generate("the cat")
    assert str(refused.value) == "One text was given where a list of texts is expected; write [text]"


def test_a_model_without_an_output_layer_writes_nothing(tmp_path: Path) -> None:
    gpt2(tmp_path)
    with pytest.raises(InvalidInput) as refused:
        zoo.load(tmp_path, "feature-extraction").generate(PROMPTS)
    assert str(refused.value) == (
        "This 'gpt2' was loaded for 'feature-extraction' and writes no text; "
        "it would be a model with a head for text-generation or text2text-generation"
    )


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    gpt2(tmp_path)
    model = zoo.load(tmp_path)
    with torch.no_grad():
        model.backbone.get_parameter("norm.weight").fill_(float("nan"))
    with pytest.raises(InvalidInput) as refused:
        model.generate(PROMPTS)
    assert str(refused.value) == (
        "The model's scores are not finite numbers; its weights are damaged, or its dtype too small"
    )


def test_the_loss_judges_each_token_by_those_before_it(tmp_path: Path) -> None:
    oracle, model = gpt2(tmp_path), zoo.load(tmp_path)
    ids = torch.randint(5, 53, (2, 8), generator=torch.Generator().manual_seed(1))
    labels = ids.masked_fill(torch.arange(8) < 2, -100)
    expected = oracle(ids, labels=labels).loss
    torch.testing.assert_close(model(ids, labels=labels).loss, expected, atol=1e-5, rtol=0)


def test_a_decoder_can_be_taught_a_text(tmp_path: Path) -> None:
    gpt2(tmp_path)
    text = [{"text": "the good cat sat home"}] * 8
    result = zoo.finetune(
        tmp_path, text, text[:1], config=zoo.FinetuneConfig(epochs=24, batch_size=4, learning_rate=1e-2)
    )
    assert result.metrics["accuracy"] == 1.0
    assert result.metrics["perplexity"] < 1.5


T5_PREFIXES = {
    "summarization": {"prefix": "the good film: ", "num_beams": 4},
    "translation_en_to_de": {"prefix": "anna: "},
    "translation_en_to_fr": {"prefix": "karin: "},
}


def test_a_task_begins_with_the_prefix_that_the_checkpoint_was_trained_with(tmp_path: Path) -> None:
    write(tmp_path, "T5ForConditionalGeneration", transformers.T5Config(**T5, eos_token_id=3, decoder_start_token_id=0))
    change_config(tmp_path, task_specific_params=T5_PREFIXES)
    plain, summary = zoo.load(tmp_path), zoo.load(tmp_path, "summarization")
    assert summary.task == "summarization"
    written = plain.generate(["the good film: the cat sat"], max_new_tokens=7)
    assert summary.generate(["the cat sat"], max_new_tokens=7) == written
    assert summary.generate(["the good film: the cat sat"], max_new_tokens=7) == written
    assert plain.generate(["the cat sat"], max_new_tokens=7) != written


def test_of_several_prefixes_a_text_has_to_begin_with_one(tmp_path: Path) -> None:
    write(tmp_path, "T5ForConditionalGeneration", transformers.T5Config(**T5, eos_token_id=3, decoder_start_token_id=0))
    change_config(tmp_path, task_specific_params=T5_PREFIXES)
    plain, translation = zoo.load(tmp_path), zoo.load(tmp_path, "translation")
    expected = plain.generate(["karin: the cat sat"], max_new_tokens=7)
    assert translation.generate(["karin: the cat sat"], max_new_tokens=7) == expected
    with pytest.raises(InvalidInput) as refused:
        translation.generate(["anna: the cat", "the cat sat"])
    assert str(refused.value) == "Text 1 does not say what to do; begin it with one of: 'anna: ', 'karin: '"


def test_the_code_of_the_target_language_stands_where_the_checkpoint_has_it(tmp_path: Path) -> None:
    tokenizer = mbart(tmp_path, src_lang="en_XX", tgt_lang="ro_RO")
    german, romanian = tokenizer.token_id("de_DE"), tokenizer.token_id("ro_RO")
    chosen = tokenizer.with_languages(target="de_DE")
    # mBART: the start itself is a language. The settings' own counts unless another was chosen.
    first = GenerationSettings(start_token_id=romanian)
    assert in_language(first, tokenizer) == first
    assert in_language(first, chosen) == GenerationSettings(start_token_id=german)
    assert in_language(GenerationSettings(), tokenizer) == GenerationSettings(start_token_id=romanian)
    # mBART-50: it is forced after </s>.
    second = GenerationSettings(start_token_id=2)
    assert in_language(second, tokenizer) == GenerationSettings(start_token_id=2, forced_first=romanian)
    fixed = GenerationSettings(start_token_id=2, forced_first=romanian)
    assert in_language(fixed, tokenizer.with_languages(source="fr_XX")) == fixed
    assert in_language(fixed, chosen) == GenerationSettings(start_token_id=2, forced_first=german)


@pytest.mark.parametrize("forced", [False, True], ids=["mBART", "mBART-50"])
def test_a_chosen_language_is_written_as_transformers_writes_it(tmp_path: Path, forced: bool) -> None:
    tokenizer = mbart(tmp_path, src_lang="en_XX", tgt_lang="ro_RO")
    ids = {code: tokenizer.token_id(code) for code in ("de_DE", "ro_RO")}
    size = max(token for code in tokenizer.languages if (token := tokenizer.token_id(code)) is not None) + 2
    begins = {"decoder_start_token_id": 2} if forced else {}
    config = transformers.MBartConfig(
        **{**BART, "vocab_size": size, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
        | {"decoder_start_token_id": 2 if forced else None, "forced_eos_token_id": None}
    )
    oracle = write(tmp_path / "model", "MBartForConditionalGeneration", config, eos_token_id=2, **begins)
    (tmp_path / "model" / "tokenizer.json").unlink()
    mbart(tmp_path / "model", src_lang="en_XX", tgt_lang="ro_RO")
    model = zoo.load(tmp_path / "model")
    assert model.tokenizer is not None
    text = "the cat"
    for code, chosen in (("ro_RO", model.tokenizer), ("de_DE", model.tokenizer.with_languages(target="de_DE"))):
        model.tokenizer = chosen
        own = {"decoder_start_token_id": 2, "forced_bos_token_id": ids[code]}
        settings = own if forced else {"decoder_start_token_id": ids[code]}
        expected = continued(oracle, chosen.encode([text])[0].ids, max_new_tokens=7, **settings)
        found = model.generate([text], max_new_tokens=7)[0].token_ids
        assert found == expected
        assert (found[0] == ids[code]) is forced


def test_without_codes_of_languages_nothing_changes(tmp_path: Path) -> None:
    gpt2(tmp_path)
    tokenizer = zoo.load(tmp_path).tokenizer
    assert tokenizer is not None
    assert in_language(GenerationSettings(start_token_id=3), tokenizer) == GenerationSettings(start_token_id=3)
