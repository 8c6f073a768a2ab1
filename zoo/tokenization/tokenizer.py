"""Tokenizer: texts to ids and back, and messages to the text of a chat."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from zoo.checkpoint.reader import JSON_LIMIT_BYTES
from zoo.errors import CorruptFile, InvalidInput
from zoo.tokenization.families import FAMILIES, USUAL_LANGUAGE, Family, class_of, find_family
from zoo.tokenization.files import (
    SETTINGS_FILE,
    TEMPLATE_FILE,
    TOKENIZER_FILE,
    VOCABULARIES,
    Text,
    content,
    content_of,
    read_settings,
)


class Tokenizer:
    """Turns texts into ids and back, exactly as the checkpoint's files say, without padding and truncation saved there.

    source_language, target_language: codes such as "en_XX", where the vocabulary has them (`languages`); else None.
    """

    def __init__(self, folder: Path, source_language: str | None = None, target_language: str | None = None) -> None:
        """folder: of a checkpoint with `tokenizer.json` or a vocabulary. The languages: None for the settings' own.

        Raises CorruptFile, RefusedContent (a vocabulary of unknown class), InvalidInput (an unknown language).
        """
        self.folder = folder
        self._settings: Mapping[str, Any] = read_settings(folder)
        self._family: Family | None = FAMILIES.get(class_of(folder, self._settings) or "")
        if (folder / TOKENIZER_FILE).is_file():
            self._source = self._target = _read(folder / TOKENIZER_FILE)
        else:
            from zoo.tokenization.conversion import convert

            _, self._family = find_family(folder, self._settings)
            given = {key: value for key, value in self._settings.items() if value is not None}
            self._settings = {**self._family.roles, **given}
            self._source, self._target = convert(folder, self._family, self._settings)
        self._lock = threading.Lock()
        self._choose(source_language, target_language)

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[Path, str | None, str | None]]:
        # The lock can't be copied; the files say everything. For copy.deepcopy(model) and for worker processes.
        return type(self), (self.folder, *self._chosen)

    @property
    def max_length(self) -> int | None:
        """The longest input in tokens that the checkpoint's settings allow, special tokens included; None: no limit."""
        length = self._settings.get("model_max_length")
        # Libraries write 1e30 where they know of no limit.
        return int(length) if isinstance(length, int | float) and 0 < length < 1e9 else None

    @property
    def vocab_size(self) -> int:
        """How many ids a model needs for it: one more than the largest."""
        return int(max(self._source.get_vocab().values())) + 1

    def special_token(self, role: str) -> str | None:
        """Give the token of a role such as "mask_token" or "pad_token", or None."""
        return content(self._settings.get(role))

    def special_id(self, role: str) -> int | None:
        """Give the id of the token of a role such as "mask_token", or None."""
        token = self.special_token(role)
        return None if token is None else self.token_id(token)

    def token_id(self, token: str) -> int | None:
        """Give the id of a token such as "en_XX", or None where the vocabulary has no such token."""
        index: int | None = self._source.token_to_id(token)
        return index

    def encode(
        self,
        texts: Sequence[Text],
        *,
        max_length: int | None = None,
        words: bool = False,
        window: int | None = None,
        target: bool = False,
        special_tokens: bool = True,
        kept: Literal["start", "end"] = "start",
    ) -> list[Any]:
        """Give an Encoding (`ids`, `type_ids`, `offsets`, `word_ids`, …) for each text, special tokens included.

        texts: texts, or pairs of texts, or with `words` lists of words. max_length: truncate to so many tokens; of
        single texts `kept` says which. special_tokens: False for a text that has them already, as a chat's.
        window: for pairs, cut only the second text, and put what is cut into `overflowing`, in windows that overlap by
        so many tokens. target: as what a model is to say, where that differs: another vocabulary, another language.
        """
        backend = self._target if target else self._source
        with self._lock:
            if self._ends:
                backend.post_processor = self._ends[target]
            if max_length is None:
                backend.no_truncation()
            elif window is None:
                backend.enable_truncation(max_length, direction="right" if kept == "start" else "left")
            else:
                backend.enable_truncation(max_length, stride=window, strategy="only_second")
            try:
                encodings: list[Any] = backend.encode_batch(
                    list(texts), is_pretokenized=words, add_special_tokens=special_tokens
                )
            finally:
                backend.no_truncation()
        return encodings

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Give the text of token ids that a model said: where sides differ, the target's."""
        return str(self._target.decode(list(token_ids), skip_special_tokens=skip_special_tokens))

    # --- languages ----------------------------------------------------------------------------------------------------

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """The codes of languages that the vocabulary has, where the class of tokenizer puts one around each text."""
        codes = self._family.languages if self._family else ()
        return tuple(code for code in codes if self._source.token_to_id(code) is not None)

    @property
    def chosen_target(self) -> str | None:
        """The target language that `with_languages` chose, not the settings: None where it was left to them."""
        return self._chosen[1]

    def with_languages(self, source: str | None = None, target: str | None = None) -> Tokenizer:
        """Give the same tokenizer for other languages. None: as it is. Raises InvalidInput, which lists what exists."""
        other = object.__new__(Tokenizer)
        other.__dict__.update(self.__dict__)  # it shares the vocabulary, and the lock that guards it
        other._choose(source or self._chosen[0], target or self._chosen[1])
        return other

    def _choose(self, source: str | None, target: str | None) -> None:
        self._chosen = (source, target)
        self.source_language = self._language("src_lang", source, USUAL_LANGUAGE)
        self.target_language = self._language("tgt_lang", target, self.source_language)
        self._ends = self._language_ends()

    def _language(self, key: str, chosen: str | None, usual: str | None) -> str | None:
        code = chosen or content(self._settings.get(key)) or usual
        if chosen and not self.languages:
            written = sorted(token for token in self._source.get_vocab() if token[:2] == ">>" and token[-2:] == "<<")
            way = f". Write one of these in front of each text: {', '.join(written[:50])}" if written else ""
            raise InvalidInput(
                f"The checkpoint's tokenizer puts no code of a language around texts, so '{chosen}' cannot be chosen{way}"
            )
        if self.languages and code not in self.languages:
            raise InvalidInput(
                f"The checkpoint's tokenizer has no language '{code}'; it has: {', '.join(self.languages)}"
            )
        return code if self.languages else None

    def _language_ends(self) -> tuple[Any, Any] | None:
        """Give what is put around texts of the source and of the target, or None where languages change nothing."""
        if self._family is None or not self.languages:
            return None
        from zoo.tokenization.ends import ends

        settings = {**self._family.roles, **{key: value for key, value in self._settings.items() if value is not None}}
        source, target = (
            ends(self._source, self.folder, self._family, settings, code)
            for code in (self.source_language, self.target_language)
        )
        return source, target

    # --- chats --------------------------------------------------------------------------------------------------------

    @cached_property
    def _template(self) -> tuple[str, Path] | None:
        path = self.folder / TEMPLATE_FILE
        if path.is_file():
            if path.stat().st_size > JSON_LIMIT_BYTES:
                raise CorruptFile(path, f"it has more than {JSON_LIMIT_BYTES} bytes")
            with content_of(path, "a text in UTF-8"):
                return path.read_text(encoding="utf-8"), path
        template = self._settings.get("chat_template")
        if isinstance(template, list):
            named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
            template = named.get("default")
        return (template, self.folder / SETTINGS_FILE) if isinstance(template, str) else None

    @property
    def chat_template(self) -> str | None:
        """The checkpoint's template of a chat, in Jinja's language, or None. Raises CorruptFile."""
        return self._template[0] if self._template else None

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **variables: Any
    ) -> str:
        """Give the text of a chat; it holds its special tokens already.

        messages: such as [{"role": "user", "content": "Hello"}]. add_generation_prompt: whether it ends with what makes
        the model answer. variables: others that the template knows, such as `tools`.
        Raises InvalidInput (no template, or messages it does not take), CorruptFile, RefusedContent.
        """
        if self._template is None:
            raise InvalidInput(
                f"The checkpoint in '{self.folder}' has no chat template. Write the prompt as its model card says"
            )
        from zoo.tokenization.chat import render

        known = {role: self.special_token(role) for role in self._settings if role.endswith("_token")}
        roles = {role: token for role, token in known.items() if token is not None}
        given = {"tools": None, "documents": None, **roles, **variables, "add_generation_prompt": add_generation_prompt}
        return render(*self._template, messages, given)


def _read(path: Path) -> Any:
    from tokenizers import Tokenizer as Backend

    with content_of(path, "a tokenizer"):
        backend = Backend.from_file(str(path))
    backend.no_padding()
    backend.no_truncation()
    return backend


def load_tokenizer(folder: Path) -> Tokenizer | None:
    """Give the tokenizer of a checkpoint's folder, or None where it has none.

    Raises CorruptFile, and RefusedContent where there is a vocabulary that cannot be converted.
    """
    if any((folder / file).is_file() for file in (TOKENIZER_FILE, *VOCABULARIES)):
        return Tokenizer(folder)
    return None
