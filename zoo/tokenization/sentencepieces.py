"""From a SentencePiece model to a tokenizer of the `tokenizers` library.

What the model's file says (algorithm, normalisation, spaces, byte fallback) is taken from it; what a class of tokenizers
adds to it (the order of ids, tokens of its own) from the family.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from zoo.errors import CorruptFile, RefusedContent
from zoo.tokenization.families import Family
from zoo.tokenization.files import check_file, content_of, flag
from zoo.tokenization.protobuf import fields

SPACE = "▁"
LONGEST_PIECE = 256  # characters; real ones have a dozen, and the time to find merges grows with the square
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNIGRAM, BPE = 1, 2
# Numbers of fields in sentencepiece_model.proto, and the values that stand where a file leaves them out.
PIECES, TRAINER, NORMALIZER = 1, 2, 3
TRAINER_FIELDS = {3: ("algorithm", UNIGRAM), 24: ("suffix", 0), 35: ("byte_fallback", 0)}
NORMALIZER_FIELDS = {2: ("charsmap", b""), 3: ("prefix", 1), 4: ("squeeze", 1), 5: ("escape", 1)}


@dataclass(frozen=True)
class Pieces:
    """A SentencePiece model as its file says.

    pieces, scores, kinds: by id. charsmap: its table of normalisation. prefix: whether a space is put before a text.
    squeeze: whether spaces at the ends and repeated ones are dropped.
    """

    path: Path
    pieces: Sequence[str] = field(repr=False)
    scores: Sequence[float] = field(repr=False)
    kinds: Sequence[int] = field(repr=False)
    unk_id: int
    algorithm: int
    byte_fallback: bool
    charsmap: bytes = field(repr=False)
    prefix: bool
    squeeze: bool

    def of(self, kind: int) -> list[str]:
        """The pieces of a kind."""
        return [piece for piece, own in zip(self.pieces, self.kinds, strict=True) if own == kind]


def read_processor(path: Path) -> SentencePieceProcessor:
    """Give the library's own reader of a model. Raises CorruptFile."""
    with content_of(check_file(path), "a SentencePiece model"):
        return SentencePieceProcessor(model_proto=path.read_bytes())


def read_pieces(path: Path) -> Pieces:
    """Read a model's file. Raises CorruptFile, and RefusedContent for what cannot be converted exactly."""
    processor = read_processor(path)
    with content_of(path, "a SentencePiece model"):
        message = processor.serialized_model_proto()
        ids = list(range(processor.get_piece_size()))
        pieces, scores = processor.id_to_piece(ids), processor.get_score(ids)
        kinds, said = _kinds_and_settings(message)
        if not len(pieces) == len(kinds) == len(set(pieces)):
            raise CorruptFile(path, "a piece occurs twice")
        if not all(map(math.isfinite, scores)):
            raise CorruptFile(path, "the score of a piece is not a number")
        if max(map(len, pieces)) > LONGEST_PIECE:
            raise CorruptFile(path, f"a piece has more than {LONGEST_PIECE} characters")
    unlike = {
        "its algorithm is neither unigram nor BPE": said["algorithm"] not in (UNIGRAM, BPE),
        "it writes spaces after words": said["suffix"],
        "it does not write spaces as ▁": not said["escape"],
        "it marks pieces as unused": UNUSED in kinds,
        "it merges pieces around symbols of its own, and drops spaces": (
            said["algorithm"] == BPE and USER_DEFINED in kinds and said["prefix"] and said["squeeze"]
        ),
    }
    for reason in (reason for reason, holds in unlike.items() if holds):
        raise RefusedContent(
            f"'{path}'", f"{reason}, which Zoo cannot convert", "Add a tokenizer.json to the checkpoint"
        )
    return Pieces(
        path, pieces, scores, kinds, processor.unk_id(), said["algorithm"], bool(said["byte_fallback"]),
        said["charsmap"], bool(said["prefix"]), bool(said["squeeze"]),
    )  # fmt: skip


def _kinds_and_settings(message: bytes) -> tuple[list[int], dict[str, Any]]:
    kinds: list[int] = []
    said: dict[str, Any] = dict([*TRAINER_FIELDS.values(), *NORMALIZER_FIELDS.values()])
    for number, value in fields(message):
        if number == PIECES and isinstance(value, bytes):
            # Nearly all pieces end with their score, which leaves NORMAL unsaid: name, 2 bytes before it, 5 after it.
            usual = len(value) > 1 and value[0] == 0x0A and value[1] < 0x80 and len(value) == value[1] + 7
            kinds.append(NORMAL if usual else next((int(k) for n, k in fields(value) if n == 3), NORMAL))
        elif number in (TRAINER, NORMALIZER) and isinstance(value, bytes):
            known = TRAINER_FIELDS if number == TRAINER else NORMALIZER_FIELDS
            for inner, setting in fields(value):
                if inner in known and type(setting) is type(known[inner][1]):
                    said[known[inner][0]] = setting
    return kinds, said


def convert(path: Path, family: Family, settings: Mapping[str, Any]) -> tuple[Tokenizer, list[AddedToken]]:
    """Give the tokenizer of a model and the tokens that its file declares. Raises CorruptFile, RefusedContent."""
    model = read_pieces(path)
    vocabulary = _vocabulary(model, family, settings)
    space_first = flag(settings, "add_prefix_space", model.prefix, path.parent)
    with content_of(path, "a SentencePiece model"):
        backend = Tokenizer(_unigram(vocabulary, model) if model.algorithm == UNIGRAM else _bpe(vocabulary, model))
        words = _are_words(model) and space_first
        backend.normalizer = normalizers.Sequence(
            [*_folding(family, settings, path.parent), *_normalizers(model, not words)]
        )
        backend.pre_tokenizer = _pre_tokenizer(model, words, space_first, _scheme(model, family, settings))
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, *([decoders.Strip(" ", 1, 0)] if space_first else [])])
    kept = _ids(vocabulary)
    added = [AddedToken(piece, special=True, normalized=False) for piece in model.of(CONTROL) if piece in kept]
    # SentencePiece finds these in the normalised text, the longest first, and merges nothing with them. With a table of
    # normalisation the library would take the ▁ at their beginning for a space at the beginning of a text, and drop it.
    added += [
        AddedToken(symbol, special=False, normalized=not (model.charsmap and symbol.startswith(SPACE)))
        for symbol in _symbols(model)
    ]
    return backend, added


def _symbols(model: Pieces) -> list[str]:
    """What the model's author defined to be found before anything is merged; a unigram model does it by scores."""
    return model.of(USER_DEFINED) if model.algorithm == BPE else []


def _scheme(model: Pieces, family: Family, settings: Mapping[str, Any]) -> str:
    """Tell where the space before a text goes: "first", or "always", that is also after special tokens.

    Only Llama's code tells these apart, by "legacy". Symbols cut a text as special tokens do, and are followed by none.
    The library knows what is first by its place in the text, so spaces dropped there would mislead it.
    """
    legacy = family.bos is None or model.squeeze or flag(settings, "legacy", True, model.path.parent)
    return "always" if legacy and not _symbols(model) else "first"


def _ids(vocabulary: Sequence[tuple[str, float]]) -> dict[str, int]:
    return {piece: index for index, (piece, _) in enumerate(vocabulary)}


def _vocabulary(model: Pieces, family: Family, settings: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Give pieces and scores in the order of the checkpoint's ids."""
    dropped = model.kinds[: family.skipped]
    if any(kind not in (UNKNOWN, CONTROL) for kind in dropped):
        raise CorruptFile(model.path, f"its first {family.skipped} pieces are not <unk>, <s> and </s>")
    count = settings.get("extra_ids")
    count = count if isinstance(count, int) and family.sentinels and 0 <= count <= 10_000 else family.sentinels
    sentinels = [f"<extra_id_{number}>" for number in reversed(range(count))]
    scores = _scores(model, family)
    own = list(zip(model.pieces, scores, strict=True))[family.skipped :]
    vocabulary = [*((token, 0.0) for token in family.before), *own]
    vocabulary += [(token, 0.0) for token in (*family.after, *sentinels)]
    if len(_ids(vocabulary)) < len(vocabulary):
        raise CorruptFile(model.path, "a piece has the name of a token that the tokenizer's class adds")
    return vocabulary


def _scores(model: Pieces, family: Family) -> list[float]:
    """Give the pieces' scores as SentencePiece's search uses them.

    A symbol that the author defined gets the best score a text of its length could get. ALBERT has pieces such as "9,"
    cut before the comma: as everywhere with its tokenizer.json, by a score that is never chosen.
    """
    best = max((s for s, kind in zip(model.scores, model.kinds, strict=True) if kind == NORMAL), default=0.0)
    scores = []
    for piece, score, kind in zip(model.pieces, model.scores, model.kinds, strict=True):
        if kind == USER_DEFINED and model.algorithm == UNIGRAM:
            score = len(piece.encode()) * best - 0.1
        if family.folds and len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
            score -= 100.0
        scores.append(score)
    return scores


def _unigram(vocabulary: list[tuple[str, float]], model: Pieces) -> models.Unigram:
    return models.Unigram(vocabulary, _ids(vocabulary)[model.pieces[model.unk_id]], model.byte_fallback)


def _bpe(vocabulary: list[tuple[str, float]], model: Pieces) -> models.BPE:
    """Merges as SentencePiece makes them: any two neighbours that make a piece, the best score first."""
    normal = set(model.of(NORMAL))
    ranked = sorted((piece for piece in vocabulary if piece[0] in normal), key=lambda piece: -piece[1])
    merges = [
        (piece[:cut], piece[cut:])
        for piece, _ in ranked
        for cut in range(1, len(piece))
        if piece[:cut] in normal and piece[cut:] in normal
    ]
    return models.BPE(
        _ids(vocabulary), merges, unk_token=model.pieces[model.unk_id], fuse_unk=True, byte_fallback=model.byte_fallback
    )


def _are_words(model: Pieces) -> bool:
    """Tell whether the search may go word by word: no piece reaches over a space, and repeated spaces are dropped."""
    return model.algorithm == UNIGRAM and model.squeeze and not any(SPACE in piece[1:] for piece in model.pieces)


def _folding(family: Family, settings: Mapping[str, Any], folder: Path) -> list[Any]:
    if not family.folds:
        return []
    quotes = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    keeps = flag(settings, "keep_accents", False, folder)
    lowers = flag(settings, "do_lower_case", True, folder)
    accents = [] if keeps else [normalizers.NFKD(), normalizers.StripAccents()]
    return [*quotes, *accents, *([normalizers.Lowercase()] if lowers else [])]


def _normalizers(model: Pieces, spaces: bool) -> list[Any]:
    """spaces: whether spaces are settled here, not by the pre-tokenizer."""
    steps: list[Any] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if spaces and model.squeeze:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    return [*steps, *([normalizers.Replace(" ", SPACE)] if spaces else [])]


def _pre_tokenizer(model: Pieces, words: bool, space_first: bool, scheme: str) -> Any:
    """Put the space before a text, and write spaces as ▁.

    Two steps, since Metaspace leaves out the space where a text begins with its own sign already: the first one's is a
    space, and none is left in the text by then.
    """
    first = [pre_tokenizers.Metaspace(" ", scheme, split=False)] if space_first else []
    cut = [pre_tokenizers.Split(" ", "removed")] if words else []
    whole = model.algorithm == BPE or any(SPACE in piece[1:] for piece in model.pieces)
    return pre_tokenizers.Sequence([*cut, *first, pre_tokenizers.Metaspace(SPACE, "never", split=not whole)])
