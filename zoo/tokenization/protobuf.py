"""Reading fields of a protobuf message: as much of the wire format as a SentencePiece model needs.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Give the number and the value of each field, in the file's order; 32-bit values are taken for floats.

    Each step moves forward, so the time is bounded by the length. Raises ValueError where bytes are cut off or unknown.
    """
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == VARINT:
            value, place = _varint(message, place)
            yield tag >> 3, value
            continue
        if kind == LENGTH:
            size, place = _varint(message, place)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"a field of unknown type {kind} at byte {place}")
        chunk = message[place : place + size]
        if len(chunk) < size:
            raise ValueError(f"{size - len(chunk)} bytes are missing at its end")
        place += size
        yield tag >> 3, chunk if kind == LENGTH else struct.unpack("<f" if kind == FIXED32 else "<d", chunk)[0]


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("it ends within a number")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError(f"a number of more than 10 bytes before byte {place}")
