"""Ways of decoding: beams, penalties, bans, stop texts, streams and draws, against transformers or their papers."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import zoo
from tests.generation.samples import PROMPTS, T5, continued, gpt2, write
from zoo.errors import InvalidInput
from zoo.generation.scores import drawable
from zoo.generation.settings import GenerationSettings
from zoo.tasks.writing import SEED_STEP

BEAMS: list[dict[str, Any]] = [
    {},
    {"length_penalty": 0.0},
    {"length_penalty": 2.0, "early_stopping": True},
    {"length_penalty": -1.0},
    {"early_stopping": True},
    {"early_stopping": "never"},
    {"early_stopping": "never", "length_penalty": 2.0, "repetition_penalty": 1.4},
    {"no_repeat_ngram_size": 2, "min_new_tokens": 5},
]


@pytest.mark.parametrize("settings", BEAMS, ids=str)
@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_beam_search_is_that_of_transformers(tmp_path: Path, kind: str, settings: dict[str, Any]) -> None:
    if kind == "gpt2":
        oracle: Any = gpt2(tmp_path)
    else:
        config = transformers.T5Config(**T5, eos_token_id=3, decoder_start_token_id=0)
        oracle = write(tmp_path, "T5ForConditionalGeneration", config)
    model = zoo.load(tmp_path)
    assert model.tokenizer is not None
    ids = [encoding.ids for encoding in model.tokenizer.encode(PROMPTS)]
    found = model.generate(PROMPTS, max_new_tokens=10, num_beams=4, **settings)
    expected = [continued(oracle, row, max_new_tokens=10, num_beams=4, **settings) for row in ids]
    assert [row.token_ids for row in found] == expected
    alone = [model.generate([prompt], max_new_tokens=10, num_beams=4, **settings)[0] for prompt in PROMPTS]
    assert [row.token_ids for row in alone] == expected


@pytest.mark.parametrize("settings", [
    {"repetition_penalty": 1.8},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"min_new_tokens": 9},
    {"bad_words_ids": [[5], [30, 31], [12, 13, 14]]},
], ids=str)  # fmt: skip
def test_penalties_and_bans_are_those_of_transformers(tmp_path: Path, settings: dict[str, Any]) -> None:
    oracle = gpt2(tmp_path, **settings)
    model = zoo.load(tmp_path)
    assert model.tokenizer is not None
    ids = [encoding.ids for encoding in model.tokenizer.encode(PROMPTS)]
    expected = [continued(oracle, row, max_new_tokens=12, **settings) for row in ids]
    assert [row.token_ids for row in model.generate(PROMPTS, max_new_tokens=12)] == expected


def test_the_penalty_for_frequency_grows_with_each_time(tmp_path: Path) -> None:
    gpt2(tmp_path, eos=None)
    model = zoo.load(tmp_path)
    assert model.tokenizer is not None
    ids = model.tokenizer.encode(PROMPTS[:1])[0].ids
    written: list[int] = []
    for _ in range(9):
        scores = model(torch.tensor([ids + written])).logits[0, -1].detach().clone()
        for token in written:
            scores[token] -= 0.7
        written.append(int(scores.argmax()))
    assert model.generate(PROMPTS[:1], max_new_tokens=9, frequency_penalty=0.7)[0].token_ids == written


VARIED = {"temperature": 2.0, "seed": 1}  # without chance this model says one word over and over


def middle_of(text: str) -> str:
    """The end of one word and the beginning of the next: two tokens at least."""
    space = text.index(" ", len(text) // 3)
    return text[space - 1 : space + 2]


def test_a_stop_text_ends_an_answer_also_across_tokens(tmp_path: Path) -> None:
    gpt2(tmp_path, eos=None)
    model = zoo.load(tmp_path)
    whole = model.generate(PROMPTS[:1], max_new_tokens=12, **VARIED)[0]
    stop = middle_of(whole.text)
    row = model.generate(PROMPTS[:1], max_new_tokens=12, **VARIED, stop=[stop, "never said"])[0]
    assert row.text == whole.text[: whole.text.index(stop)]
    assert row.finish_reason == "stop"
    assert row.token_ids == whole.token_ids[: len(row.token_ids)]
    assert len(row.token_ids) < 12


def test_a_stream_makes_the_same_text_piece_by_piece(tmp_path: Path) -> None:
    gpt2(tmp_path, eos=None)
    model = zoo.load(tmp_path)
    whole = model.generate(PROMPTS[:1], max_new_tokens=12, **VARIED)[0].text
    pieces = list(model.stream(PROMPTS[0], max_new_tokens=12, **VARIED))
    assert "".join(pieces) == whole
    assert len(pieces) > 6
    stopped = list(model.stream(PROMPTS[0], max_new_tokens=12, **VARIED, stop=middle_of(whole)))
    assert "".join(stopped) == whole[: whole.index(middle_of(whole))]
    with pytest.raises(InvalidInput) as refused:
        next(model.stream(PROMPTS[0], num_beams=3))
    assert str(refused.value) == (
        "A stream is one answer as it comes; num_beams and best_of know theirs only at the end"
    )


def test_the_best_of_several_draws_is_the_likeliest_a_token(tmp_path: Path) -> None:
    gpt2(tmp_path, eos=None)
    model = zoo.load(tmp_path)
    settings: dict[str, Any] = {"max_new_tokens": 6, "temperature": 1.5}
    draws = [model.generate(PROMPTS, **settings, seed=4 + SEED_STEP * draw) for draw in range(5)]
    best = [max(rows, key=lambda row: row.log_probability) for rows in zip(*draws, strict=True)]
    found = model.generate(PROMPTS, **settings, seed=4, best_of=5)
    assert [row.token_ids for row in found] == [row.token_ids for row in best]


def test_a_long_prompt_is_read_in_chunks_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpt2(tmp_path)
    model = zoo.load(tmp_path)
    expected = model.generate(PROMPTS, max_new_tokens=9)
    monkeypatch.setattr("zoo.tasks.writing.PREFILL_CHUNK", 4)
    assert [row.token_ids for row in model.generate(PROMPTS, max_new_tokens=9)] == [row.token_ids for row in expected]


def test_min_p_and_typical_p_keep_what_their_papers_say() -> None:
    shares = torch.tensor([[0.1, 0.2, 0.4, 0.25, 0.05]])
    kept = drawable(shares.log(), GenerationSettings(temperature=1.0, min_p=0.4)).isfinite()
    assert kept.tolist() == [[False, True, True, True, False]]  # at least 0.4 x 0.4
    surprise = -shares.log()
    distance = (surprise - (surprise * shares).sum()).abs()[0]  # 0.96, 0.26, 0.42, 0.05, 1.65
    assert distance.argsort().tolist() == [3, 1, 2, 0, 4]
    kept = drawable(shares.log(), GenerationSettings(temperature=1.0, typical_p=0.44)).isfinite()
    assert kept.tolist() == [[False, True, False, True, False]]


def test_top_k_and_top_p_keep_the_likeliest() -> None:
    scores = torch.tensor([[0.1, 0.2, 0.4, 0.25, 0.05], [0.5, 0.1, 0.2, 0.1, 0.1]]).log()
    kept = drawable(scores, GenerationSettings(temperature=1.0, top_k=2)).isfinite()
    assert kept.tolist() == [[False, False, True, True, False], [True, False, True, False, False]]
    kept = drawable(scores, GenerationSettings(temperature=1.0, top_p=0.66)).isfinite()
    assert kept.tolist() == [[False, True, True, True, False], [True, False, True, False, False]]
    assert bool(drawable(scores, GenerationSettings(temperature=1.0, top_k=9, top_p=1.0)).isfinite().all())
