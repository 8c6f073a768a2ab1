"""Safetensors headers: the library's own files are read, and whatever is not sound is refused with its reason."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save, save_file

from zoo.checkpoint.headers import HEADER_LIMIT_BYTES, TensorHeader, read_header
from zoo.errors import CorruptFile

MATRIX = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def written(path: Path, header: bytes, data: bytes = bytes(24), claimed: int | None = None) -> Path:
    """Write a safetensors file from its parts. claimed: the header's length, where it is to lie."""
    file = path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header) if claimed is None else claimed) + header + data)
    return file


def refused(file: Path, reason: str) -> None:
    """Assert that the file is refused for exactly this reason."""
    with pytest.raises(CorruptFile) as caught:
        read_header(file)
    assert str(caught.value) == (
        f"The file '{file}' is corrupt: {reason}. It was not loaded; fetch it again, or tell its author"
    )


def test_a_file_of_the_library_is_read_in_the_order_of_its_bytes(tmp_path: Path) -> None:
    tensors = {
        "half": torch.ones(5, dtype=torch.float16),
        "matrix": torch.ones(2, 3),
        "number": torch.tensor(7, dtype=torch.int64),
        "brain": torch.ones(3, 2, 1, dtype=torch.bfloat16),
        "nothing": torch.ones(0, 4),
        "flags": torch.ones(3, dtype=torch.bool),
    }
    save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt"})
    headers = read_header(tmp_path / "m.safetensors")
    assert {name: (header.dtype, header.shape) for name, header in headers.items()} == {
        "half": ("F16", (5,)),
        "matrix": ("F32", (2, 3)),
        "number": ("I64", ()),
        "brain": ("BF16", (3, 2, 1)),
        "nothing": ("F32", (0, 4)),
        "flags": ("BOOL", (3,)),
    }
    spans = [(header.start, header.end) for header in headers.values()]
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]
    assert [name for name, header in headers.items() if header.is_floating] == [
        name for name in headers if tensors[name].is_floating_point()
    ]


def test_a_file_without_tensors_is_read(tmp_path: Path) -> None:
    assert read_header(written(tmp_path, b'{"__metadata__":{"format":"pt"}}', b"")) == {}


def test_a_header_keeps_its_facts(tmp_path: Path) -> None:
    assert read_header(written(tmp_path, json.dumps({"w": MATRIX}).encode())) == {
        "w": TensorHeader(dtype="F32", shape=(2, 3), start=0, end=24)
    }


@pytest.mark.parametrize("size_bytes", [0, 7])
def test_a_file_too_short_for_a_length_is_refused(tmp_path: Path, size_bytes: int) -> None:
    file = tmp_path / "short.safetensors"
    file.write_bytes(bytes(size_bytes))
    refused(file, f"it has {size_bytes} bytes, too few for a safetensors header")


def test_a_length_beyond_the_file_is_refused(tmp_path: Path) -> None:
    refused(written(tmp_path, b"{}", b"", claimed=3), "its header claims 3 bytes, and the file has 10")


@pytest.mark.parametrize("claimed", [HEADER_LIMIT_BYTES + 1, 2**64 - 1])
def test_a_length_above_the_limit_is_refused_before_it_is_read(tmp_path: Path, claimed: int) -> None:
    file = written(tmp_path, b"{}", b"", claimed=claimed)
    refused(file, f"its header claims {claimed} bytes; at most 25000000 are accepted")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"", "its header is not valid JSON (Expecting value: line 1 column 1 (char 0))"),
        (b"{'w':1}", "its header is not valid JSON (Expecting property name enclosed in double quotes: "
                     "line 1 column 2 (char 1))"),
        (b"\xff{}", "its header is not valid JSON ('utf-8' codec can't decode byte 0xff in position 0: "
                    "invalid start byte)"),
        (b"[]", "its header is not a JSON object"),
        (b"null", "its header is not a JSON object"),
        (b'{"w":1,"w":1}', "its header is not valid JSON (a name stands in it twice)"),
        (b'{"w":{"dtype":"F32","dtype":"F16"}}', "its header is not valid JSON (a name stands in it twice)"),
        (b'{"w":NaN}', "its header is not valid JSON (NaN is not a number of JSON)"),
        (b'{"w":-Infinity}', "its header is not valid JSON (-Infinity is not a number of JSON)"),
        (b'{"\\ud800":1}', "its header is not valid JSON (half a surrogate pair stands in it, which is no text)"),
        (b'{"__metadata__":{"a":"\\udfff"}}', "its header is not valid JSON (half a surrogate pair stands in it, "
                                              "which is no text)"),
        (b'{"__metadata__":[]}', "its header's __metadata__ is not a map from text to text"),
        (b'{"__metadata__":{"format":1}}', "its header's __metadata__ is not a map from text to text"),
        (b'{"w":[]}', "the entry of tensor 'w' does not consist of dtype, shape and data_offsets"),
        (b'{"w":{"dtype":"F32","shape":[6]}}',
         "the entry of tensor 'w' does not consist of dtype, shape and data_offsets"),
    ],
)  # fmt: skip
def test_a_header_that_is_no_map_of_tensors_is_refused(tmp_path: Path, header: bytes, reason: str) -> None:
    refused(written(tmp_path, header), reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dtype": "F31"}, "the tensor 'w' has the unknown dtype 'F31'"),
        ({"dtype": None}, "the tensor 'w' has the unknown dtype None"),
        ({"dtype": ["F32"]}, "the tensor 'w' has the unknown dtype ['F32']"),
        ({"shape": [-2, -3]}, "the tensor 'w' has an impossible shape or data_offsets"),
        ({"shape": [2, True]}, "the tensor 'w' has an impossible shape or data_offsets"),
        ({"shape": [2, 3.0]}, "the tensor 'w' has an impossible shape or data_offsets"),
        ({"shape": 6}, "the tensor 'w' has an impossible shape or data_offsets"),
        ({"shape": [2**63]}, "the tensor 'w' has an impossible shape or data_offsets"),
        ({"shape": [2**62] * 5000}, "the tensor 'w' has an impossible shape or data_offsets"),
        ({"shape": [2**62, 2**62, 0], "data_offsets": [0, 0]}, "the tensor 'w' has an impossible shape or data_offsets"),
        ({"shape": [1] * 65}, "the tensor 'w' has an impossible shape or data_offsets"),
        ({"data_offsets": [0, 24, 24]}, "the tensor 'w' has an impossible shape or data_offsets"),
        ({"data_offsets": [-24, 0]}, "the tensor 'w' has an impossible shape or data_offsets"),
        ({"data_offsets": [24, 0]}, "the tensor 'w' takes 24 bytes as F32 [2, 3], but its data_offsets span -24"),
        ({"shape": [2, 4]}, "the tensor 'w' takes 32 bytes as F32 [2, 4], but its data_offsets span 24"),
        ({"dtype": "F16"}, "the tensor 'w' takes 12 bytes as F16 [2, 3], but its data_offsets span 24"),
        ({"shape": [3, 3], "data_offsets": [0, 36]}, "its header describes 36 bytes of tensors, and 24 follow it"),
        ({"shape": [2, 2], "data_offsets": [0, 16]}, "its header describes 16 bytes of tensors, and 24 follow it"),
        ({"shape": [2, 2], "data_offsets": [8, 24]}, "the tensor 'w' starts at byte 8 and leaves a hole before it"),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    refused(written(tmp_path, json.dumps({"w": MATRIX | change}).encode()), reason)


def test_a_size_of_minus_zero_is_refused_as_by_other_readers(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[-0,24]}}'
    refused(written(tmp_path, header), "the tensor 'w' has an impossible shape or data_offsets")


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ([8, 24], "the tensor 'v' starts at byte 8 and overlaps the one before"),
        ([0, 16], "the tensor 'v' starts at byte 0 and overlaps the one before"),
        ([20, 36], "the tensor 'v' starts at byte 20 and leaves a hole before it"),
    ],
)
def test_tensors_that_do_not_stand_back_to_back_are_refused(tmp_path: Path, second: list[int], reason: str) -> None:
    first = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    entries = {"w": first, "v": first | {"data_offsets": second}}
    refused(written(tmp_path, json.dumps(entries).encode(), bytes(36)), reason)


@pytest.mark.parametrize("bomb", [b"[" * 100_000, b'{"a":' * 100_000, b'{"w":{"dtype":' + b"[" * 50_000])
def test_a_deeply_nested_header_is_refused(tmp_path: Path, bomb: bytes) -> None:
    with pytest.raises(CorruptFile, match="is corrupt: its header is not valid JSON"):
        read_header(written(tmp_path, bomb))


@pytest.mark.parametrize("depth", [10, 300, 900, 950, 980])
def test_a_nested_dtype_is_refused_at_any_depth(tmp_path: Path, depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    with pytest.raises(CorruptFile, match=r"has the unknown dtype|is not valid JSON"):
        read_header(written(tmp_path, b'{"w":{"dtype":' + nested + b',"shape":[6],"data_offsets":[0,24]}}'))


VALID = save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(5), "c": torch.ones(3, dtype=torch.float16)})


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """A valid file after a few changes: bytes flipped, put in or taken out, most of them in the header."""
    content = bytearray(VALID)
    header_end = 8 + struct.unpack("<Q", VALID[:8])[0]
    for _ in range(draw(st.integers(1, 3))):
        if not content:
            break
        position = draw(st.integers(0, min(header_end, len(content) - 1) if draw(st.booleans()) else len(content) - 1))
        kind = draw(st.sampled_from(["flip", "digit", "put in", "take out", "truncate"]))
        if kind == "flip":
            content[position] ^= 1 << draw(st.integers(0, 7))
        elif kind == "digit":
            content[position] = draw(st.sampled_from(b'0123456789-.eE"[]{},: '))
        elif kind == "put in":
            content[position:position] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "take out":
            del content[position]
        else:
            del content[max(1, position) :]
    if draw(st.booleans()) and len(content) > header_end:  # a length that fits again lets changes inside through
        content[:8] = struct.pack("<Q", len(content) - (len(VALID) - header_end) - 8)
    return bytes(content)


@settings(max_examples=200, deadline=None)
@given(content=damaged_files())
def test_a_damaged_file_is_refused_or_read_as_the_library_reads_it(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    file.write_bytes(content)
    try:
        headers = read_header(file)
    except CorruptFile:
        return
    with safe_open(file, framework="pt") as opened:
        assert set(opened.keys()) == set(headers)
        for name, header in headers.items():
            part = opened.get_slice(name)
            assert (part.get_dtype(), tuple(part.get_shape())) == (header.dtype, header.shape)
            assert opened.get_tensor(name).nbytes == header.end - header.start
