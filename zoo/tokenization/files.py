"""The files that belong to a tokenizer, and reading them within limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo.checkpoint.reader import JSON_LIMIT_BYTES, read_optional_json
from zoo.errors import CorruptFile

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
ROLES_FILE = "special_tokens_map.json"
ADDED_FILE = "added_tokens.json"
TEMPLATE_FILE = "chat_template.jinja"
WORDS_FILE, VOCABULARY_FILE, MERGES_FILE = "vocab.txt", "vocab.json", "merges.txt"
PIECES_FILES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
SOURCE_FILE, TARGET_FILE, TARGET_VOCABULARY_FILE = "source.spm", "target.spm", "target_vocab.json"
# Everything that belongs to a tokenizer; copied unchanged when a model is saved.
TOKENIZER_FILES = (
    TOKENIZER_FILE, SETTINGS_FILE, ROLES_FILE, ADDED_FILE, WORDS_FILE, VOCABULARY_FILE, MERGES_FILE, *PIECES_FILES,
    SOURCE_FILE, TARGET_FILE, TARGET_VOCABULARY_FILE, TEMPLATE_FILE,
)  # fmt: skip
# Any of these without a tokenizer.json asks for a conversion.
VOCABULARIES = (WORDS_FILE, VOCABULARY_FILE, *PIECES_FILES, SOURCE_FILE)

Text = str | tuple[str, str] | Sequence[str]


def check_file(path: Path) -> Path:
    """Give the path of a vocabulary that is there and not too large. Raises CorruptFile."""
    if not path.is_file():
        raise CorruptFile(path, "it is not there")
    if path.stat().st_size > JSON_LIMIT_BYTES:
        raise CorruptFile(path, f"it has more than {JSON_LIMIT_BYTES} bytes")
    return path


@contextmanager
def content_of(path: Path, what: str) -> Iterator[None]:
    """Turn what a library raises over a file's content into CorruptFile. what: what the file should be."""
    try:
        yield
    except CorruptFile:
        raise
    except BaseException as error:  # `tokenizers` raises bare Exception, or a panic, which is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CorruptFile(path, f"it is not {what} ({error})") from None


def read_settings(folder: Path) -> dict[str, Any]:
    """Give what the files beside a vocabulary say of it; `tokenizer_config.json` has the last word."""
    return read_optional_json(folder / ROLES_FILE) | read_optional_json(folder / SETTINGS_FILE)


def flag(settings: Mapping[str, Any], key: str, default: bool, folder: Path) -> bool:
    """Give a setting that is true or false. Raises CorruptFile for anything else."""
    value = settings.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise CorruptFile(folder / SETTINGS_FILE, f"its {key} is neither true nor false")
    return value


def content(token: object) -> str | None:
    """Give the text of a special token as settings write it: a string, or an object with `content`."""
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) and token else None
