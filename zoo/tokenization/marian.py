"""Marian's tokenizer: one SentencePiece model for the source, one for the target, and ids from a vocabulary of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models

from zoo.checkpoint.reader import read_json
from zoo.errors import CorruptFile, InvalidInput
from zoo.tokenization.files import SOURCE_FILE, TARGET_FILE, TARGET_VOCABULARY_FILE, VOCABULARY_FILE, flag
from zoo.tokenization.sentencepieces import read_processor

LANGUAGE = re.compile(r">>[^<]*<<")


class MarianBackend:
    """Cuts texts by a SentencePiece model, looks the pieces up in `vocab.json`, and behaves as a tokenizer of `tokenizers`.

    Offsets count within pieces: nothing leads back to places in the text.
    """

    def __init__(self, folder: Path, pieces_file: str, vocabulary_file: str, roles: Mapping[str, str]) -> None:
        """roles: special tokens by their role. Raises CorruptFile."""
        path = folder / vocabulary_file
        vocabulary = read_json(path)
        ids = list(vocabulary.values())
        if not all(type(index) is int and 0 <= index < 2**31 for index in ids) or len(set(ids)) < len(ids):
            raise CorruptFile(path, "it does not give each token an id of its own")
        if roles["unk_token"] not in vocabulary:
            raise CorruptFile(path, f"it has no '{roles['unk_token']}', which stands for unknown pieces")
        self._processor = read_processor(folder / pieces_file)
        self._words = Tokenizer(models.WordLevel(vocabulary, roles["unk_token"]))
        self._special = {token: vocabulary[token] for token in roles.values() if token in vocabulary}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, longest_first))})")
        self.no_truncation = self._words.no_truncation
        self.enable_truncation = self._words.enable_truncation
        self.token_to_id = self._words.token_to_id
        self.get_vocab = self._words.get_vocab

    @property
    def post_processor(self) -> Any:
        """What puts the end of a text there."""
        return self._words.post_processor

    @post_processor.setter
    def post_processor(self, processor: Any) -> None:
        self._words.post_processor = processor

    def encode_batch(
        self, texts: Sequence[Any], is_pretokenized: bool = False, add_special_tokens: bool = True
    ) -> list[Any]:
        """Give the encoding of each text or pair of texts."""
        if is_pretokenized:
            raise InvalidInput("Marian's tokenizer takes whole texts, not lists of words")
        pieces = [
            self._pieces(text) if isinstance(text, str) else tuple(self._pieces(part) for part in text)
            for text in texts
        ]
        encodings: list[Any] = self._words.encode_batch(
            pieces, is_pretokenized=True, add_special_tokens=add_special_tokens
        )
        return encodings

    def _pieces(self, text: str) -> list[str]:
        pieces: list[str] = []
        for section in self._cut.split(text):
            if section in self._special:
                pieces.append(section)
            elif section:
                code = LANGUAGE.match(section)
                pieces += [code.group()] if code else []
                pieces += self._processor.encode(section[code.end() if code else 0 :], out_type=str)
        return pieces

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Give the text of ids, by this side's model."""
        words: list[str] = []
        pieces: list[str] = []
        for token in filter(None, map(self._words.id_to_token, token_ids)):
            if token not in self._special:
                pieces.append(token)
            elif not skip_special_tokens:
                words += [self._text(pieces) + token]
                pieces = []
        return " ".join([*words, self._text(pieces)]).strip()

    def _text(self, pieces: Iterable[str]) -> str:
        return str(self._processor.decode(list(pieces))).replace("▁", " ")


def read_marian(
    folder: Path, roles: Mapping[str, str], settings: Mapping[str, Any]
) -> tuple[MarianBackend, MarianBackend]:
    """Give the tokenizers of the source and of the target. Raises CorruptFile."""
    apart = flag(settings, "separate_vocabs", False, folder)
    target = TARGET_VOCABULARY_FILE if apart else VOCABULARY_FILE
    source_side = MarianBackend(folder, SOURCE_FILE, VOCABULARY_FILE, roles)
    return source_side, MarianBackend(folder, TARGET_FILE, target, roles)
