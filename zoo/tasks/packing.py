"""Packing: several texts in one row, so that raw text is learnt from without padding; no text attends to another."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoo.tasks.base import Features, tokenizer_of

if TYPE_CHECKING:
    from zoo.model import Model

PACKED_TOKENS = 1024  # the length of a row where neither the model nor the settings set a smaller one


def encode_pieces(texts: Sequence[str], model: Model, max_length: int | None) -> tuple[list[Features], int]:
    """Give the pieces of texts, each with its own special tokens, and the most tokens that one may have.

    Texts longer than that go on in further pieces; nothing is lost. A text without tokens has no piece.
    """
    length = min(PACKED_TOKENS, max_length or PACKED_TOKENS)
    pieces = []
    for source, encoding in enumerate(tokenizer_of(model).encode(texts, max_length=length)):
        pieces += [Features(e.ids, e.type_ids, source, e) for e in (encoding, *encoding.overflowing) if e.ids]
    return pieces, length


def pack(pieces: Sequence[Features], length: int, model: Model) -> list[Features]:
    """Put pieces with labels together in rows of at most `length` tokens: each goes where it leaves the least room.

    Where the backbone cannot keep texts apart, each piece stays a row. Source: best fit decreasing (Johnson 1973).
    """
    if not model.keeps_documents_apart:
        return list(pieces)
    rows: list[list[Features]] = []
    room: list[tuple[int, int]] = []  # (tokens left, row), sorted
    for piece in sorted(pieces, key=lambda piece: -len(piece.ids)):
        place = bisect_left(room, (len(piece.ids), -1))
        if place == len(room):
            rows.append([])
            left, row = length, len(rows) - 1
        else:
            left, row = room.pop(place)
        rows[row].append(piece)
        insort(room, (left - len(piece.ids), row))
    return [_joined(row) for row in rows]


def _joined(row: Sequence[Features]) -> Features:
    return Features(
        ids=[token for piece in row for token in piece.ids],
        type_ids=[kind for piece in row for kind in piece.type_ids],
        source=row[0].source,
        label=[label for piece in row for label in piece.label],
        documents=[number for number, piece in enumerate(row, start=1) for _ in piece.ids],
    )
