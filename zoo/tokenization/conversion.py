"""From the vocabulary files of a checkpoint without `tokenizer.json` to a tokenizer of the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from zoo.errors import CorruptFile
from zoo.tokenization.added import add_tokens
from zoo.tokenization.ends import ends
from zoo.tokenization.families import Family
from zoo.tokenization.files import (
    MERGES_FILE,
    VOCABULARY_FILE,
    WORDS_FILE,
    check_file,
    content,
    content_of,
    flag,
)


def convert(folder: Path, family: Family, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """Give the tokenizers of source and target texts; but for Marian, they are one.

    settings: what files say, with the family's roles where they say nothing. Raises CorruptFile, RefusedContent.
    """
    if family.algorithm == "marian":
        from zoo.tokenization.marian import read_marian

        roles = {role: token for role in family.roles if (token := content(settings.get(role)))}
        sides = read_marian(folder, roles, settings)
        for side in sides:
            side.post_processor = ends(side, folder, family, settings)
        return sides
    declared: list[AddedToken] = []
    if family.algorithm == "sentencepiece":
        from zoo.tokenization import sentencepieces

        backend, declared = sentencepieces.convert(folder / family.files[0], family, settings)
    elif family.algorithm == "wordpiece":
        backend = _wordpiece(folder, settings)
    elif family.algorithm == "byte-level BPE":
        backend = _byte_level(folder, family, settings)
    else:
        backend = _word_level(folder, settings)
    add_tokens(backend, folder, family, settings, declared)
    if not family.languages:
        backend.post_processor = ends(backend, folder, family, settings)
    return backend, backend


def _wordpiece(folder: Path, settings: Mapping[str, Any]) -> Tokenizer:
    """BERT's: Devlin et al. 2018, https://github.com/google-research/bert/blob/master/tokenization.py"""
    path = check_file(folder / WORDS_FILE)
    with content_of(path, "a vocabulary of WordPiece"):
        vocabulary = models.WordPiece.read_file(str(path))
    unknown = _unknown(vocabulary, path, settings)
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    lower = flag(settings, "do_lower_case", True, folder)
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=flag(settings, "tokenize_chinese_chars", True, folder),
        strip_accents=flag(settings, "strip_accents", lower, folder),
        lowercase=lower,
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def _byte_level(folder: Path, family: Family, settings: Mapping[str, Any]) -> Tokenizer:
    """GPT-2's: Radford et al. 2019, https://github.com/openai/gpt-2/blob/master/src/encoder.py"""
    vocabulary, merges = _read_bpe(folder)
    if "Ġ" not in vocabulary:
        raise CorruptFile(
            folder / VOCABULARY_FILE, "it is no vocabulary of bytes: it lacks 'Ġ', which stands for a space"
        )
    with content_of(folder / MERGES_FILE, "a list of merges for vocab.json"):
        backend = Tokenizer(models.BPE(vocabulary, merges))
    space = flag(settings, "add_prefix_space", False, folder)
    if family.nfc:
        backend.normalizer = normalizers.NFC()
    cut = [pre_tokenizers.Split(Regex(family.pattern), "isolated")] if family.pattern else []
    level = pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=not family.pattern)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*cut, level]) if cut else level
    backend.decoder = decoders.ByteLevel()
    return backend


def _word_level(folder: Path, settings: Mapping[str, Any]) -> Tokenizer:
    """The first GPT's: lower case, words end in </w>. Radford et al. 2018."""
    vocabulary, merges = _read_bpe(folder)
    path = folder / VOCABULARY_FILE
    if not any(token.endswith("</w>") for token in vocabulary):
        raise CorruptFile(path, "none of its tokens ends in </w>, as the first GPT's do")
    unknown = _unknown(vocabulary, path, settings)
    with content_of(folder / MERGES_FILE, "a list of merges for vocab.json"):
        backend = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, end_of_word_suffix="</w>"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    return backend


def _read_bpe(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    vocabulary, merges = check_file(folder / VOCABULARY_FILE), check_file(folder / MERGES_FILE)
    with content_of(merges, "a list of merges for vocab.json"):
        read: tuple[dict[str, int], list[tuple[str, str]]] = models.BPE.read_file(str(vocabulary), str(merges))
    return read


def _unknown(vocabulary: Mapping[str, int], path: Path, settings: Mapping[str, Any]) -> str:
    unknown = content(settings.get("unk_token"))
    if unknown not in vocabulary or unknown is None:
        raise CorruptFile(path, f"it has no '{unknown}', which stands for unknown words")
    return unknown
