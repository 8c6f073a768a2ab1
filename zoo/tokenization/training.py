"""A tokenizer for a model that starts from nothing: its vocabulary is learnt from the texts the model is to learn from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from zoo.errors import InvalidInput
from zoo.specs import Kind
from zoo.tokenization.conversion import convert
from zoo.tokenization.families import FAMILIES, Family
from zoo.tokenization.files import MERGES_FILE, SETTINGS_FILE, TOKENIZER_FILE, VOCABULARY_FILE, WORDS_FILE
from zoo.tokenization.tokenizer import Tokenizer

USUAL_CLASSES: Mapping[Kind, str] = {
    "encoder-only": "BertTokenizer",
    "decoder-only": "GPT2Tokenizer",
    "encoder-decoder": "BartTokenizer",
}
LEAST_FREQUENT = 2  # a pair that stands in the texts once is nothing to make a token of


def train_tokenizer(texts: Sequence[str], folder: Path, model_type: str, kind: Kind, vocab_size: int) -> Tokenizer:
    """Learn a vocabulary, write the tokenizer to a folder, and give it.

    It is of the class that published checkpoints of the model_type have, where that is WordPiece (Devlin et al. 2018) or
    byte-level BPE (Radford et al. 2019); else WordPiece as BERT's for encoders, byte-level BPE as GPT-2's for decoders,
    and for encoder-decoders as BART's, which marks where a text ends.
    The same texts give the same tokenizer. vocab_size: the most tokens; fewer where the texts have no more.
    Raises InvalidInput for a vocab_size that cannot hold the letters.
    """
    name = _class_for(model_type, kind)
    family = FAMILIES[name]
    special = _special_tokens(family)
    backend = _without_words(family, special)
    learn = _learn_pieces if family.algorithm == "wordpiece" else _learn_merges
    learn(backend, texts, special, max(vocab_size, 0))
    count = backend.get_vocab_size()
    if count > vocab_size:
        what = "single letters of the texts" if family.algorithm == "wordpiece" else "single bytes"
        raise InvalidInput(
            f"vocab_size is {vocab_size}; special tokens and {what} are {count} tokens already, so it would be more"
        )
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"tokenizer_class": name, **family.roles}
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    backend.save(str(folder / TOKENIZER_FILE))
    return Tokenizer(folder)


def _class_for(model_type: str, kind: Kind) -> str:
    """Give the name of the class of tokenizers, a key of FAMILIES."""
    own = (
        name
        for name, family in FAMILIES.items()
        if model_type in family.model_types and family.algorithm in ("wordpiece", "byte-level BPE")
    )
    return next(own, USUAL_CLASSES[kind])


def _special_tokens(family: Family) -> list[str]:
    """Give the special tokens in the order of their ids: padding first, so that it is 0 where there is any."""
    roles = sorted(family.roles, key=lambda role: role != "pad_token")
    return list(dict.fromkeys(family.roles[role] for role in roles))


def _without_words(family: Family, special: Sequence[str]) -> Any:
    """Give a tokenizer of the family that knows special tokens and bytes alone: all but its vocabulary is as it will be."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    files = {
        WORDS_FILE: "\n".join(special) + "\n",
        VOCABULARY_FILE: json.dumps({token: index for index, token in enumerate([*special, *alphabet])}),
        MERGES_FILE: "#version: 0.2\n",
    }
    with TemporaryDirectory() as folder:
        for name in family.files:
            (Path(folder) / name).write_text(files[name], encoding="utf-8")
        return convert(Path(folder), family, family.roles)[0]


def _learn_merges(backend: Any, texts: Sequence[str], special: Sequence[str], vocab_size: int) -> None:
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=LEAST_FREQUENT,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)


def _learn_pieces(backend: Any, texts: Sequence[str], special: Sequence[str], vocab_size: int) -> None:
    """Learn a WordPiece vocabulary that is the same in each process.

    The library numbers letters inside words in the order of a hash table, and breaks ties by these numbers. So letters
    are found first, and then given sorted, as if they were special.
    """

    def learn(count: int, first: Sequence[str]) -> dict[str, int]:
        scratch = Backend(models.WordPiece(unk_token=special[0]))
        scratch.normalizer, scratch.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
        trainer = trainers.WordPieceTrainer(
            vocab_size=count, min_frequency=LEAST_FREQUENT, special_tokens=list(first), show_progress=False
        )
        scratch.train_from_iterator(texts, trainer)
        found: dict[str, int] = scratch.get_vocab()
        return found

    letters = sorted(learn(0, special).keys() - set(special))
    vocabulary = learn(vocab_size, [*special, *letters])
    backend.model = models.WordPiece(vocabulary, unk_token=backend.model.unk_token)
