"""Tokens that are found in a text before it is cut: special ones, and those that users added to a vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from zoo.checkpoint.reader import read_optional_json
from zoo.errors import CorruptFile
from zoo.tokenization.families import Family
from zoo.tokenization.files import ADDED_FILE, SETTINGS_FILE, content

SIDES = ("lstrip", "rstrip", "single_word", "normalized")


def add_tokens(
    backend: Tokenizer, folder: Path, family: Family, settings: Mapping[str, Any], declared: Sequence[AddedToken]
) -> None:
    """Add what the settings name, what the family brings, and what a vocabulary's own file declares.

    Raises CorruptFile where the settings give a token another id than it then has.
    """
    numbered = _numbered(folder, settings)
    found = {token.content: token for token, _ in numbered}
    for token in declared:
        found.setdefault(token.content, token)
    for named, takes_space in _special(backend, folder, family, settings):
        text = content(named)
        if text is not None:
            found[text] = _made_special(found.get(text, named), text, takes_space)
    backend.add_tokens(list(found.values()))
    for token, index in numbered:
        actual = backend.token_to_id(token.content)
        if actual != index:
            raise CorruptFile(
                folder / SETTINGS_FILE, f"the added token '{token.content}' has the id {index} there, and is {actual}"
            )


def _numbered(folder: Path, settings: Mapping[str, Any]) -> list[tuple[AddedToken, int]]:
    """Give the tokens that are listed with their ids, in the order of these."""
    listed: dict[int, AddedToken] = {}
    for text, index in read_optional_json(folder / ADDED_FILE).items():
        if not isinstance(index, int):
            raise CorruptFile(folder / ADDED_FILE, f"the id of '{text}' is no number")
        listed[index] = AddedToken(text)
    decoder = settings.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict) or not all(key.isdecimal() and content(decoder[key]) for key in decoder):
        raise CorruptFile(folder / SETTINGS_FILE, "its added_tokens_decoder does not give a token for each id")
    for key, token in decoder.items():
        sides = {side: bool(token.get(side)) for side in (*SIDES, "special")} if isinstance(token, dict) else {}
        listed[int(key)] = AddedToken(str(content(token)), **sides)
    return [(listed[index], index) for index in sorted(listed)]


def _special(
    backend: Tokenizer, folder: Path, family: Family, settings: Mapping[str, Any]
) -> Iterator[tuple[object, bool]]:
    """Give the special tokens, as settings write them, and whether they take a space before them."""
    for role, usual in family.roles.items():
        # What the settings name belongs to the vocabulary, even where its file lacks it; a usual name does not.
        if settings.get(role) != usual or backend.token_to_id(usual) is not None:
            yield settings.get(role), role == "mask_token" and family.mask_takes_space
    for key in ("additional_special_tokens", "extra_special_tokens"):
        more = settings.get(key) or []
        if not isinstance(more, list | dict):
            raise CorruptFile(folder / SETTINGS_FILE, f"its {key} are no list of tokens")
        yield from ((token, False) for token in (more.values() if isinstance(more, dict) else more))
    yield from ((token, False) for token in (*family.extra_special, *family.languages))
    if family.sentinels:
        yield from ((token, False) for token in backend.get_vocab() if token.startswith("<extra_id_"))


def _made_special(token: object, text: str, takes_space: bool) -> AddedToken:
    """token: as settings write it, or already one of the library."""
    if isinstance(token, AddedToken):
        sides = {side: bool(getattr(token, side)) for side in SIDES}
    elif isinstance(token, dict):
        sides = {side: bool(token.get(side)) for side in SIDES}
    else:
        sides = {"lstrip": takes_space, "normalized": False}
    return AddedToken(text, special=True, **sides)
