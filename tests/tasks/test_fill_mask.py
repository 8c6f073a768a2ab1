"""fill-mask: the five likeliest tokens for a gap."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.checkpoints import SPECIAL, WORDS, read_tensors, write_checkpoint, write_tensors, write_tokenizer
from zoo import Fill
from zoo.errors import InvalidInput

VOCABULARY = (*SPECIAL, *WORDS)
TEXTS = ["the [MASK] sat", "[MASK]", "anna ran home , and karin went to [MASK] with the dog !"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[zoo.Model, Any]:
    """A masked language model of exactly the tokenizer's vocabulary, and transformers' own."""
    folder = tmp_path_factory.mktemp("masked")
    oracle = write_checkpoint(folder, "BertForMaskedLM", vocab_size=len(VOCABULARY))
    write_tokenizer(folder)
    return zoo.load(str(folder)), oracle


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_the_five_likeliest_tokens_come_best_first(made: tuple[zoo.Model, Any], batch_size: int) -> None:
    model, oracle = made
    assert model.tokenizer is not None
    for text, fills in zip(TEXTS, model.predict(TEXTS, batch_size=batch_size), strict=True):
        ids = model.tokenizer.encode([text])[0].ids
        with torch.no_grad():
            scores = oracle(torch.tensor([ids])).logits[0, ids.index(4)].softmax(-1)
        best = scores.argsort(descending=True)[:5].tolist()
        assert [fill.token for fill in fills] == [VOCABULARY[index] for index in best]
        assert [fill.score for fill in fills] == pytest.approx(scores[best].tolist(), abs=1e-5)


def test_each_fill_shows_the_text_with_itself_in_the_gap(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForMaskedLM")
    write_tokenizer(tmp_path)
    tensors = read_tensors(tmp_path)
    for score, token in enumerate(("film", "[PAD]", "dog", "##s", "cat"), start=1):
        tensors["cls.predictions.bias"][VOCABULARY.index(token)] = 15.0 * score
    write_tensors(tmp_path, tensors)
    (fills,) = zoo.load(str(tmp_path)).predict(["The [MASK] sat ."])
    assert [(fill.token, fill.text) for fill in fills] == [
        ("cat", "the cat sat."),
        ("##s", "thes sat."),
        ("dog", "the dog sat."),
        ("[PAD]", "the sat."),
        ("film", "the film sat."),
    ]


def test_a_vocabulary_below_five_gives_all_of_it(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForMaskedLM", vocab_size=5)
    write_tokenizer(tmp_path, words=[])
    (fills,) = zoo.load(str(tmp_path)).predict(["[MASK]"])
    assert sorted(fill.token for fill in fills) == sorted(SPECIAL)
    assert sum(fill.score for fill in fills) == pytest.approx(1, abs=1e-5)
    assert all(isinstance(fill, Fill) for fill in fills)


def test_nothing_gives_nothing(made: tuple[zoo.Model, Any]) -> None:
    assert made[0].predict([]) == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["the cat"], "Text 0 has 0 times the mask token [MASK]; it would be once: 'the cat'"),
        (
            ["the [MASK]", "[MASK] a [MASK]"],
            "Text 1 has 2 times the mask token [MASK]; it would be once: '[MASK] a [MASK]'",
        ),
        (["the " * 18 + "[MASK]"], "Text 0 is longer than the model's 19 tokens before its gap"),
        ("the [MASK]", "One text was given where a list of texts is expected; write [text]"),
        ([4], "Input 0 is 4; a text is expected"),
    ],
)
def test_texts_without_one_gap_are_refused(made: tuple[zoo.Model, Any], inputs: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        made[0].predict(inputs)
    assert str(refused.value) == message


def test_a_tokenizer_without_a_mask_token_has_no_gap(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForMaskedLM")
    write_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]"}), encoding="utf-8")
    with pytest.raises(InvalidInput) as refused:
        zoo.load(str(tmp_path)).predict(["the [MASK]"])
    assert str(refused.value) == "The checkpoint's tokenizer names no mask token, so there is no gap to fill"
