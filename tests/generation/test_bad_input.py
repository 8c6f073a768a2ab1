"""What cannot be written: a clear error, or an empty answer, and never a wait without end."""

from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models

import zoo
from tests.checkpoints import write_tokenizer
from tests.generation.samples import PROMPTS, T5, gpt2, write
from zoo.errors import InvalidInput
from zoo.generation.scores import drawable
from zoo.generation.settings import GenerationSettings
from zoo.testing.models import toy_model


def test_of_a_long_prompt_a_decoder_keeps_the_end_with_room_for_the_answer(tmp_path: Path) -> None:
    gpt2(tmp_path, eos=None)
    model = zoo.load(tmp_path)
    assert model.tokenizer is not None
    text = "anna lives in berlin . " * 6 + "karin went home from paris"
    cut = model.generate([text], truncate=True, max_new_tokens=9)[0]
    # [CLS], the last 30 of its tokens, [SEP]: 40 positions, of which the last answer's token needs none.
    kept = [2, *model.tokenizer.encode([text])[0].ids[-31:]]
    assert kept == model.tokenizer.encode([text], max_length=32, kept="end")[0].ids
    assert cut.token_ids == continued(model, kept, 9)
    # An answer may take half of the positions at most.
    long = model.generate([text], truncate=True, max_new_tokens=500)[0]
    assert (len(long.token_ids), long.finish_reason) == (20, "length")
    assert model.generate(PROMPTS, truncate=True, max_new_tokens=9) == model.generate(PROMPTS, max_new_tokens=9)


def continued(model: zoo.Model, ids: list[int], count: int) -> list[int]:
    """The likeliest tokens, by full passes."""
    written: list[int] = []
    for _ in range(count):
        with torch.no_grad():
            written.append(int(model(torch.tensor([[*ids, *written]])).logits[0, -1].argmax()))
    return written


def test_of_a_long_source_an_encoder_reads_the_start(tmp_path: Path) -> None:
    model = toy_model("bart", "text2text-generation")
    model.save(tmp_path)
    write_tokenizer(tmp_path)
    model = zoo.load(tmp_path)
    assert model.spec.longest_input == 19
    with pytest.raises(InvalidInput) as refused:
        model.generate(["the cat sat home " * 9])
    assert str(refused.value) == (
        "Prompt 0 has 38 tokens; the model takes at most 19. Shorten it, or keep only its start with truncate=True"
    )
    found = model.generate(["the cat sat home " * 9], truncate=True, max_new_tokens=5)
    assert found == model.generate(["the cat sat home " * 4 + "the"], max_new_tokens=5)


def test_no_prompts_are_no_answers(tmp_path: Path) -> None:
    gpt2(tmp_path)
    assert zoo.load(tmp_path).generate([]) == []


def test_a_prompt_without_tokens_is_refused(tmp_path: Path) -> None:
    gpt2(tmp_path)
    Tokenizer(models.WordLevel({"the": 5, "[UNK]": 1}, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InvalidInput) as refused:
        zoo.load(tmp_path).generate(["the", ""])
    assert str(refused.value) == "Prompt 1 has no tokens; write something for the model to go on from"


@pytest.mark.parametrize("way", [
    {}, {"num_beams": 3}, {"temperature": 1.0}, {"temperature": 1.0, "best_of": 2}, {"draft": "prompt"},
], ids=str)  # fmt: skip
def test_no_tokens_asked_are_an_empty_answer_in_every_way(tmp_path: Path, way: dict[str, object]) -> None:
    gpt2(tmp_path)
    model = zoo.load(tmp_path)
    for row in model.generate(PROMPTS, max_new_tokens=0, **way):  # type: ignore[arg-type]
        assert (row.text, row.token_ids, row.log_probability, row.finish_reason) == ("", [], 0.0, "length")


def test_a_stream_of_no_tokens_has_no_pieces(tmp_path: Path) -> None:
    gpt2(tmp_path)
    assert list(zoo.load(tmp_path).stream(PROMPTS[0], max_new_tokens=0)) == []


def test_a_stop_text_that_never_comes_stops_nothing(tmp_path: Path) -> None:
    gpt2(tmp_path, eos=None)
    model = zoo.load(tmp_path)
    found = model.generate(PROMPTS, max_new_tokens=6, stop=["☃", "x" * 10_000])
    assert found == model.generate(PROMPTS, max_new_tokens=6)
    assert [row.finish_reason for row in found] == ["length"] * 3


@pytest.mark.parametrize("beams", [1, 4])
def test_bans_that_leave_nothing_are_said_so(tmp_path: Path, beams: int) -> None:
    gpt2(tmp_path, eos=None, suppress_tokens=[*range(2, 53)])
    with pytest.raises(InvalidInput) as refused:
        zoo.load(tmp_path).generate(["the cat"], max_new_tokens=9, no_repeat_ngram_size=1, num_beams=beams)
    assert str(refused.value) == (
        "After 2 new tokens everything that could come next is ruled out: by bad words, min_new_tokens or "
        "no_repeat_ngram_size (1). Loosen one of them, or ask for fewer tokens"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("way", [{}, {"num_beams": 3}, {"temperature": 1.0}, {"draft": "prompt"}], ids=str)
def test_scores_that_are_no_numbers_are_refused_in_every_way(
    tmp_path: Path, value: float, way: dict[str, object]
) -> None:
    write(tmp_path, "T5ForConditionalGeneration", transformers.T5Config(**T5, eos_token_id=3, decoder_start_token_id=0))
    model = zoo.load(tmp_path)
    with torch.no_grad():
        model.backbone.get_parameter("decoder.norm.weight").fill_(value)
    with pytest.raises(InvalidInput) as refused:
        model.generate(PROMPTS, **way)  # type: ignore[arg-type]
    assert str(refused.value) == (
        "The model's scores are not finite numbers; its weights are damaged, or its dtype too small"
    )


@pytest.mark.parametrize("temperature", [1e-320, 1e-40, 1e-6, 1e30])
def test_the_smallest_and_largest_temperatures_leave_a_distribution(temperature: float) -> None:
    scores = torch.tensor([[3.0, 1.0, -2.0, -torch.inf]])
    shares = drawable(scores, GenerationSettings(temperature=temperature)).softmax(-1)
    expected = [1.0, 0.0, 0.0, 0.0] if temperature < 1 else [1 / 3, 1 / 3, 1 / 3, 0.0]
    torch.testing.assert_close(shares, torch.tensor([expected]))
