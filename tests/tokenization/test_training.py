"""Tokenizers learnt from texts: their class, their vocabulary, and what transformers makes of the same files."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from zoo.errors import InvalidInput
from zoo.specs import Kind
from zoo.tokenization.training import train_tokenizer

TEXTS = ["The cat sat where the dog sat.", "Karin's cats went home, and the dogs went to Berlin.\nWho sat there?"] * 3
NEW = ["The Cats sit; 12 dögs go", "karin's\n\n  home <mask> [MASK]"]


@pytest.mark.parametrize(
    ("model_type", "kind", "vocab_size", "tokenizer_class"),
    [
        ("bert", "encoder-only", 60, "BertTokenizer"),
        ("modernbert", "encoder-only", 60, "BertTokenizer"),
        ("roberta", "encoder-only", 281, "RobertaTokenizer"),
        ("gpt2", "decoder-only", 279, "GPT2Tokenizer"),
        ("llama", "decoder-only", 279, "GPT2Tokenizer"),
        ("qwen2", "decoder-only", 279, "Qwen2Tokenizer"),
        ("t5", "encoder-decoder", 281, "BartTokenizer"),
    ],
)
def test_the_class_is_the_architectures_own_where_it_can_be_trained_and_transformers_gives_the_same_ids(
    tmp_path: Path, model_type: str, kind: Kind, vocab_size: int, tokenizer_class: str
) -> None:
    tokenizer = train_tokenizer(TEXTS, tmp_path, model_type, kind, vocab_size)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == tokenizer_class
    assert tokenizer.vocab_size == vocab_size
    oracle = AutoTokenizer.from_pretrained(tmp_path)
    # transformers has one class for both
    assert type(oracle).__name__ == tokenizer_class.replace("Bart", "Roberta")
    for text in (*TEXTS[:2], *NEW):
        assert tokenizer.encode([text])[0].ids == oracle(text)["input_ids"]
    (ids,) = (encoding.ids for encoding in tokenizer.encode([TEXTS[0]]))
    assert tokenizer.decode(ids).casefold().replace(" .", ".") == TEXTS[0].casefold()


def test_words_of_the_texts_become_tokens_of_their_own(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, tmp_path, "bert", "encoder-only", 75)
    assert tokenizer.encode(["the cat sat"])[0].tokens == ["[CLS]", "the", "cat", "sat", "[SEP]"]
    assert tokenizer.special_id("pad_token") == 0


def test_each_process_learns_the_same_vocabulary(tmp_path: Path) -> None:
    train_tokenizer(TEXTS, tmp_path, "bert", "encoder-only", 75)
    expected = hashlib.sha256((tmp_path / "tokenizer.json").read_bytes()).hexdigest()
    code = (
        "import hashlib, pathlib, sys\nfrom zoo.tokenization.training import train_tokenizer\n"
        f"folder = pathlib.Path(sys.argv[1])\ntrain_tokenizer({TEXTS!r}, folder, 'bert', 'encoder-only', 75)\n"
        "print(hashlib.sha256((folder / 'tokenizer.json').read_bytes()).hexdigest())"
    )
    for turn in range(2):
        command = [sys.executable, "-c", code, str(tmp_path / str(turn))]
        found = subprocess.run(command, capture_output=True, text=True, env={**os.environ}, timeout=60)
        assert found.stdout.strip() == expected, found.stderr


@pytest.mark.parametrize(
    ("model_type", "kind", "message"),
    [
        (
            "bert",
            "encoder-only",
            "vocab_size is 20; special tokens and single letters of the texts are 39 tokens already, so it would be more",
        ),
        (
            "gpt2",
            "decoder-only",
            "vocab_size is 20; special tokens and single bytes are 257 tokens already, so it would be more",
        ),
    ],
)
def test_a_vocabulary_too_small_for_the_letters_is_refused_and_nothing_is_written(
    tmp_path: Path, model_type: str, kind: Kind, message: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        train_tokenizer(TEXTS, tmp_path / "out", model_type, kind, 20)
    assert str(refusal.value) == message
    assert not (tmp_path / "out").exists()
