"""What begins alike is read once: the same answers as anew, from fewer tokens through the backbone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from tests.checkpoints import WORDS, write_tokenizer
from tests.generation.samples import PROMPTS, T5, gpt2, write
from tests.generation.test_parity import write_tokenizer as write_letters
from zoo.errors import InvalidInput
from zoo.layers import cache as caches

START = "anna lives in berlin and karin went home"
WRITTEN = {"max_new_tokens": 5}


@pytest.fixture
def model(tmp_path: Path) -> zoo.Model:
    gpt2(tmp_path, eos=None)
    return zoo.load(tmp_path, device="cpu")


@pytest.fixture
def read(model: zoo.Model) -> Iterator[list[int]]:
    """How many tokens each pass over the backbone reads."""
    counts: list[int] = []
    handle = model.backbone.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0].numel()))
    yield counts
    handle.remove()


def count(model: zoo.Model, text: str) -> int:
    assert model.tokenizer is not None
    return len(model.tokenizer.encode([text])[0].ids)


def test_the_same_beginning_is_read_once(model: zoo.Model, read: list[int]) -> None:
    prompts = [f"{START} from paris", f"{START} to the cat", START]
    fresh = model.generate(prompts, **WRITTEN)
    read.clear()
    kept = zoo.PrefixCache()
    assert model.generate(prompts, prefix_cache=kept, **WRITTEN) == approximately(fresh)
    # The first whole, then what is new of the others and of their end token, and four of five new tokens each.
    assert read == [count(model, prompts[0]), *[1] * 4, 4, *[1] * 4, 1, *[1] * 4]
    assert kept.token_ids == [*model.tokenizer.encode([START])[0].ids, *fresh[2].token_ids[:4]]  # type: ignore[union-attr]
    read.clear()
    assert model.generate(prompts[:1], prefix_cache=kept, **WRITTEN) == approximately(fresh[:1])
    assert read == [3, *[1] * 4]


def approximately(rows: list[Any]) -> list[Any]:
    """The same rows, their probabilities up to rounding."""
    return [
        zoo.Generated(row.text, row.token_ids, pytest.approx(row.log_probability, abs=1e-4), row.finish_reason)
        for row in rows
    ]


def test_an_answer_is_not_read_again_when_it_is_part_of_the_next_prompt(tmp_path: Path) -> None:
    gpt2(tmp_path, eos=None)
    write_letters(tmp_path)
    model, kept, counts = zoo.load(tmp_path), zoo.PrefixCache(), []
    first = model.generate(["the cat"], prefix_cache=kept, **WRITTEN)[0]
    model.backbone.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0].numel()))
    second = model.generate([f"the cat{first.text}"], prefix_cache=kept, **WRITTEN)[0]
    assert counts == [1] * 5
    assert [second] == approximately(model.generate([f"the cat{first.text}"], **WRITTEN))


@pytest.mark.parametrize("way", [
    {"num_beams": 3}, {"temperature": 1.2, "seed": 4}, {"temperature": 1.2, "best_of": 3}, {"repetition_penalty": 1.5},
], ids=str)  # fmt: skip
def test_every_way_of_decoding_goes_on_from_what_is_kept(
    model: zoo.Model, read: list[int], way: dict[str, Any]
) -> None:
    kept = zoo.PrefixCache()
    prompts = [f"{START} from paris", f"{START} to the cat"]
    for prompt in [*prompts, *prompts]:
        expected = model.generate([prompt], **WRITTEN, **way)
        read.clear()
        assert model.generate([prompt], prefix_cache=kept, **WRITTEN, **way) == approximately(expected)
    assert read[0] < count(model, prompts[1])


def test_a_stream_keeps_what_it_read_also_when_it_is_left_early(model: zoo.Model, read: list[int]) -> None:
    kept = zoo.PrefixCache()
    pieces = model.stream(START, prefix_cache=kept, max_new_tokens=9)
    next(pieces)
    pieces.close()
    whole = "".join(model.stream(START, max_new_tokens=9))
    read.clear()
    assert "".join(model.stream(START, prefix_cache=kept, max_new_tokens=9)) == whole
    assert read[0] == 1


WINDOWED = {"mistral": {"sliding_window": 4}, "gemma2": {"sliding_window": 4, "num_hidden_layers": 3}, "llama": {}}


@pytest.mark.parametrize("name", WINDOWED)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(texts=st.lists(st.lists(st.sampled_from(WORDS[:4]), min_size=1, max_size=9), min_size=2, max_size=5))
def test_whatever_is_asked_in_a_row_is_answered_as_anew(
    name: str, texts: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Little slack, so that windows forget what is taken back.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caches, "CHUNK", 4)
        patch.setattr(caches, "SLACK", 2)
        model = windowed(name, tmp_path_factory)
        kept = zoo.PrefixCache()
        prompts = [" ".join(words) for words in texts]
        expected = model.generate(prompts, max_new_tokens=4)
        assert model.generate(prompts, prefix_cache=kept, max_new_tokens=4) == approximately(expected)


MADE: dict[str, zoo.Model] = {}


def windowed(name: str, folders: pytest.TempPathFactory) -> zoo.Model:
    """A small model with these windows, made once."""
    if name not in MADE:
        folder = folders.mktemp(name)
        spec = zoo.make_spec(name, vocab_size=53, hidden_size=24, num_attention_heads=3, **WINDOWED[name])
        zoo.build(spec, "text-generation", seed=4, device="cpu").save(folder)
        write_tokenizer(folder)
        MADE[name] = zoo.load(folder, device="cpu")
    return MADE[name]


def test_what_is_held_is_told_and_let_go(model: zoo.Model) -> None:
    kept = zoo.PrefixCache()
    assert (kept.token_ids, kept.size_bytes) == ([], 0)
    model.generate([START], prefix_cache=kept, **WRITTEN)
    # Keys and values of 2 layers, 24 wide, 4 bytes each, for prompt and answer.
    assert kept.size_bytes == 2 * 2 * 24 * 4 * (count(model, START) + 5)
    kept.clear()
    assert (kept.token_ids, kept.size_bytes) == ([], 0)


def test_another_model_or_dtype_starts_anew(model: zoo.Model, tmp_path: Path) -> None:
    gpt2(tmp_path / "other", eos=None)
    other, kept = zoo.load(tmp_path / "other"), zoo.PrefixCache()
    with torch.no_grad():
        other.backbone.get_parameter("layers.0.feedforward.down.weight").mul_(-1.0)
    model.generate([START], prefix_cache=kept, **WRITTEN)
    expected = other.generate([START], **WRITTEN)
    assert expected != approximately(model.generate([START], **WRITTEN))
    assert other.generate([START], prefix_cache=kept, **WRITTEN) == approximately(expected)
    other.to(torch.float64)
    assert other.generate([START], prefix_cache=kept, **WRITTEN)[0].token_ids == expected[0].token_ids


def test_an_interrupted_pass_leaves_nothing_wrong_behind(model: zoo.Model) -> None:
    kept = zoo.PrefixCache()
    expected = model.generate([START], **WRITTEN)
    calls = []

    def interrupt(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    handle = model.backbone.get_submodule("layers.1").register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(model.stream(START, prefix_cache=kept, **WRITTEN))
    handle.remove()
    assert model.generate([START], prefix_cache=kept, **WRITTEN) == approximately(expected)


def test_encoders_and_drafts_are_refused(model: zoo.Model, tmp_path: Path) -> None:
    config = transformers.T5Config(**T5, eos_token_id=3, decoder_start_token_id=0)
    write(tmp_path / "t5", "T5ForConditionalGeneration", config)
    kept = zoo.PrefixCache()
    for call in (
        lambda: zoo.load(tmp_path / "t5").generate(PROMPTS, prefix_cache=kept),
        lambda: list(zoo.load(tmp_path / "t5").stream(PROMPTS[0], prefix_cache=kept)),
    ):
        with pytest.raises(InvalidInput) as refused:
            call()
        assert str(refused.value) == (
            "prefix_cache keeps what a decoder read of a prompt; 't5' reads it with an encoder, to which each word depends "
            "on all others. Leave it out"
        )
    with pytest.raises(InvalidInput) as refused:
        model.generate(PROMPTS, prefix_cache=kept, draft="prompt")
    assert str(refused.value) == "prefix_cache and draft do not go together; leave one of them out"
