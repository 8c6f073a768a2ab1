"""Safetensors headers, read strictly before any tensor is mapped.

Format: 8 bytes with the header's length (little endian), that much JSON, then the tensors' bytes back to back
(https://huggingface.co/docs/safetensors). Accepted is only a file in which every byte belongs to exactly one tensor.
"""

import math
import reprlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.checkpoint.json_objects import parse_object
from zoo.errors import CorruptFile

HEADER_LIMIT_BYTES = 25_000_000
AXES_LIMIT = 64  # torch's own
DTYPE_BITS: Mapping[str, int] = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
}  # fmt: skip


@dataclass(frozen=True)
class TensorHeader:
    """One tensor's entry: `dtype` as in the format ("F32"), `shape`, and its bytes [start, end) after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def is_floating(self) -> bool:
        return self.dtype.startswith(("F", "BF"))


def read_header(path: Path) -> dict[str, TensorHeader]:
    """Give every tensor's header by name, in the order of the bytes. Raises CorruptFile."""
    with path.open("rb") as file:
        return read_header_from(file.read, path.stat().st_size, path)


def read_header_from(read: Callable[[int], bytes], size_bytes: int, path: Path | str) -> dict[str, TensorHeader]:
    """Give the headers of a file that is read from its beginning by `read(count)`, no further than they reach.

    size_bytes: of the whole file. path: for the message. Raises CorruptFile.
    """
    length_bytes = read(8)
    if len(length_bytes) < 8:
        raise CorruptFile(path, f"it has {size_bytes} bytes, too few for a safetensors header")
    (length,) = struct.unpack("<Q", length_bytes)
    if length > HEADER_LIMIT_BYTES:
        raise CorruptFile(path, f"its header claims {length} bytes; at most {HEADER_LIMIT_BYTES} are accepted")
    if 8 + length > size_bytes:
        raise CorruptFile(path, f"its header claims {length} bytes, and the file has {size_bytes}")
    return parse_header(read(length), size_bytes - 8 - length, path)


def parse_header(text: bytes, data_bytes: int, path: Path | str) -> dict[str, TensorHeader]:
    """Check a header's JSON against the number of bytes that follow it. path: for the message. Raises CorruptFile."""
    try:
        entries = parse_object(text, constants=False)
    except ValueError as error:
        raise CorruptFile(path, f"its header {error}") from None
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CorruptFile(path, "its header's __metadata__ is not a map from text to text")
    tensors = {name: _tensor_header(name, entry, path) for name, entry in entries.items()}
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)))
    position = 0
    for name, tensor in ordered.items():
        if tensor.start != position:
            fault = "overlaps the one before" if tensor.start < position else "leaves a hole before it"
            raise CorruptFile(path, f"the tensor '{name}' starts at byte {tensor.start} and {fault}")
        position = tensor.end
    if position != data_bytes:
        raise CorruptFile(path, f"its header describes {position} bytes of tensors, and {data_bytes} follow it")
    return ordered


def _tensor_header(name: str, entry: Any, path: Path | str) -> TensorHeader:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CorruptFile(path, f"the entry of tensor '{name}' does not consist of dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise CorruptFile(path, f"the tensor '{name}' has the unknown dtype {reprlib.repr(dtype)}")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise CorruptFile(path, f"the tensor '{name}' has an impossible shape or data_offsets")
    start, end = offsets
    # Zeros are left out: a size is never so large that the others, or the strides, would overflow.
    if len(shape) > AXES_LIMIT or math.prod(filter(None, shape)) * DTYPE_BITS[dtype] >= 2**63:
        raise CorruptFile(path, f"the tensor '{name}' has an impossible shape or data_offsets")
    size_bytes = math.prod(shape) * DTYPE_BITS[dtype] // 8
    if end - start != size_bytes:
        raise CorruptFile(
            path,
            f"the tensor '{name}' takes {size_bytes} bytes as {dtype} {shape}, but its data_offsets span {end - start}",
        )
    return TensorHeader(dtype, tuple(shape), start, end)


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)
