"""Speculative decoding: the same answers, or as likely ones, in fewer passes."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import zoo
from tests.generation.samples import PROMPTS, T5, gpt2, write
from zoo.errors import InvalidInput
from zoo.generation.decoding import Row
from zoo.generation.settings import GenerationSettings
from zoo.generation.speculation import DraftModel, Guesser, PromptLookup, speculate
from zoo.tasks.writing import ModelScorer

START = [0, 1, 0, 1]


class Chain:
    """A Markov chain: what follows a token depends on it alone. It keeps what it has read."""

    def __init__(self, seed: int, sharpness: float = 1.0) -> None:
        self.table = sharpness * torch.randn((3, 3), generator=torch.Generator().manual_seed(seed))
        self.read: list[int] = []

    def advance(self, newest: Tensor) -> Tensor:
        return self.judge(newest)[:, -1]

    def judge(self, newest: Tensor) -> Tensor:
        self.read += newest[0].tolist()
        return self.table[newest]

    def forget(self, count: int) -> None:
        del self.read[len(self.read) - count :]

    def keep(self, rows: Sequence[int]) -> None:
        raise AssertionError("there is one row")


def spell(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids))


def told(rows: list[Row]) -> tuple[int, ...]:
    return tuple(rows[0].token_ids)


SETTINGS = GenerationSettings(temperature=0.9, max_new_tokens=3)


def ahead(seed: int, guesser: Guesser) -> tuple[int, ...]:
    chain = Chain(1)
    *_, last = speculate(chain, guesser, torch.tensor([START]), START, SETTINGS, 3, seed, spell)
    assert chain.read == [*START, *told(last)][: len(chain.read)]
    return told(last)


@pytest.mark.parametrize("kind", ["look-up", "draft"])
def test_what_is_drawn_is_as_likely_as_without_guesses(kind: str) -> None:
    draws = 6000

    def guesser() -> Guesser:
        return PromptLookup() if kind == "look-up" else DraftModel(Chain(2), torch.device("cpu"))

    found = Counter(ahead(seed, guesser()) for seed in range(draws))
    shares = (Chain(1).table / 0.9).softmax(-1)
    chi_squared, outcomes = 0.0, 0
    for first in range(3):
        for second in range(3):
            for third in range(3):
                expected = draws * float(shares[START[-1], first] * shares[first, second] * shares[second, third])
                chi_squared += (found[first, second, third] - expected) ** 2 / expected
                outcomes += 1
    assert outcomes == 27
    assert chi_squared < 54.1  # 26 degrees of freedom: more than this once in a thousand


def test_look_up_guesses_what_followed_the_longest_match() -> None:
    chance = torch.Generator()
    text = [5, 6, 7, 8, 9, 6, 7, 1, 6, 7]
    assert PromptLookup().guess(text, 3, SETTINGS, chance).token_ids == [1, 6, 7]
    assert PromptLookup().guess([5, 9, 6, 7, 8, 9, 6, 7], 3, SETTINGS, chance).token_ids == [8, 9, 6]
    assert PromptLookup(source=[4, 3, 2, 1]).guess([0, 3], 5, SETTINGS, chance).token_ids == [2, 1, 0, 3]
    assert PromptLookup().guess([1, 2, 3], 5, SETTINGS, chance).token_ids == []


@pytest.mark.parametrize(
    "settings", [{}, {"repetition_penalty": 1.5}, {"no_repeat_ngram_size": 3}, {"stop": "went"}], ids=str
)
@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_greedy_answers_are_the_same(tmp_path: Path, kind: str, settings: dict[str, Any]) -> None:
    if kind == "gpt2":
        gpt2(tmp_path)
    else:
        config = transformers.T5Config(**T5, eos_token_id=3, decoder_start_token_id=0)
        write(tmp_path, "T5ForConditionalGeneration", config)
    model = zoo.load(tmp_path)
    expected = model.generate(PROMPTS, max_new_tokens=15, **settings)
    found = model.generate(PROMPTS, max_new_tokens=15, draft="prompt", **settings)
    assert [(row.token_ids, row.text, row.finish_reason) for row in found] == [
        (row.token_ids, row.text, row.finish_reason) for row in expected
    ]
    for row, other in zip(found, expected, strict=True):
        assert row.log_probability == pytest.approx(other.log_probability, abs=1e-4)


def test_a_draft_model_changes_no_greedy_answer_and_saves_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt2(tmp_path / "model", eos=None)
    gpt2(tmp_path / "draft", eos=None)
    model, draft = zoo.load(tmp_path / "model"), zoo.load(tmp_path / "draft")
    with torch.no_grad():
        draft.backbone.get_parameter("layers.0.feedforward.down.weight").mul_(0.9)
    expected = model.generate(PROMPTS, max_new_tokens=15)
    passes = []
    judge = ModelScorer.judge
    monkeypatch.setattr(ModelScorer, "judge", lambda self, newest: passes.append(1) or judge(self, newest))
    found = model.generate(PROMPTS, max_new_tokens=15, draft=draft)
    assert [row.token_ids for row in found] == [row.token_ids for row in expected]
    assert len(passes) < 3 * 15 / 2


def test_a_draft_that_cannot_help_is_refused(tmp_path: Path) -> None:
    gpt2(tmp_path)
    model = zoo.load(tmp_path)
    small: Any = zoo.build(zoo.make_spec("gpt2", hidden_size=24, vocab_size=60), "text-generation")
    for draft, settings, message in (
        ("source", {}, "draft is 'source'; it would be 'prompt', or a model with the same vocabulary"),
        (small, {}, "The draft has 60 tokens and the model 53; both would have the same vocabulary"),
        (
            zoo.load(tmp_path, "feature-extraction"),
            {},
            "The draft, a 'gpt2' for 'feature-extraction', does not write by itself",
        ),
        ("prompt", {"num_beams": 2}, "draft guesses ahead of one answer; it goes with neither num_beams nor best_of"),
    ):
        with pytest.raises(InvalidInput) as refused:
            model.generate(PROMPTS, draft=draft, **settings)
        assert str(refused.value) == message
