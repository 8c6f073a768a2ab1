"""A checkpoint's tokenizer, through the `tokenizers` library."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.checkpoint.reader import read_optional_json
from zoo.errors import CorruptFile

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
# Everything that belongs to a tokenizer; copied unchanged when a model is saved.
TOKENIZER_FILES = (
    TOKENIZER_FILE, SETTINGS_FILE, "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
    "source.spm", "target.spm", "chat_template.jinja",
)  # fmt: skip

Text = str | tuple[str, str] | Sequence[str]


class Tokenizer:
    """Turns texts into ids and back, exactly as `tokenizer.json` says, without the padding and truncation saved in it."""

    def __init__(self, folder: Path) -> None:
        """folder: of a checkpoint with `tokenizer.json`. Raises CorruptFile."""
        from tokenizers import Tokenizer as Backend

        self.folder = folder
        path = folder / TOKENIZER_FILE
        try:
            self._backend = Backend.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for content it cannot read
            raise CorruptFile(path, f"it is not a tokenizer ({error})") from None
        self._backend.no_padding()
        self._backend.no_truncation()
        self._lock = threading.Lock()
        self._settings = read_optional_json(folder / "special_tokens_map.json") | read_optional_json(
            folder / SETTINGS_FILE
        )

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[Path]]:
        # The lock can't be copied; the files say everything. For copy.deepcopy(model) and for worker processes.
        return type(self), (self.folder,)

    @property
    def max_length(self) -> int | None:
        """The longest input in tokens that the checkpoint's settings allow, special tokens included; None: no limit."""
        length = self._settings.get("model_max_length")
        # Libraries write 1e30 where they know of no limit.
        return int(length) if isinstance(length, int | float) and 0 < length < 1e9 else None

    def special_token(self, role: str) -> str | None:
        """Give the token of a role such as "mask_token" or "pad_token", or None."""
        token: Any = self._settings.get(role)
        if isinstance(token, dict):
            token = token.get("content")
        return token if isinstance(token, str) else None

    def special_id(self, role: str) -> int | None:
        """Give the id of the token of a role such as "mask_token", or None."""
        token = self.special_token(role)
        return None if token is None else self._backend.token_to_id(token)

    def encode(
        self, texts: Sequence[Text], *, max_length: int | None = None, words: bool = False, window: int | None = None
    ) -> list[Any]:
        """Give an Encoding (`ids`, `type_ids`, `offsets`, `word_ids`, …) for each text, special tokens included.

        texts: texts, or pairs of texts, or with `words` lists of words. max_length: truncate to so many tokens.
        window: for pairs, cut only the second text, and put what is cut into `overflowing`, in windows that overlap by
        so many tokens.
        """
        with self._lock:
            if max_length is None:
                self._backend.no_truncation()
            elif window is None:
                self._backend.enable_truncation(max_length)
            else:
                self._backend.enable_truncation(max_length, stride=window, strategy="only_second")
            try:
                encodings: list[Any] = self._backend.encode_batch(list(texts), is_pretokenized=words)
            finally:
                self._backend.no_truncation()
        return encodings

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Give the text of token ids."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=skip_special_tokens))


def load_tokenizer(folder: Path) -> Tokenizer | None:
    """Give the tokenizer of a checkpoint's folder, or None where it has none. Raises CorruptFile."""
    return Tokenizer(folder) if (folder / TOKENIZER_FILE).is_file() else None
