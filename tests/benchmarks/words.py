"""A tokenizer whose words are its ids: w7 is token 7."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers


def write_word_tokenizer(folder: Path, vocab_size: int) -> None:
    """Write it to a checkpoint's folder."""
    tokenizer = Tokenizer(models.WordLevel({f"w{index}": index for index in range(vocab_size)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def to_words(ids: Sequence[int]) -> str:
    """Give the text that has these tokens."""
    return " ".join(f"w{index}" for index in ids)
