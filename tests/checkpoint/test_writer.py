"""Writing: one file or shards with an index, whole or not at all, and nothing left of an earlier save."""

import json
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from zoo.checkpoint.reader import open_weights
from zoo.checkpoint.writer import parse_size, write_json, write_weights
from zoo.errors import InvalidInput


def tensors() -> dict[str, Tensor]:
    return {
        "a": torch.arange(6.0).reshape(2, 3),  # 24 bytes
        "b": torch.arange(5),  # 40 bytes
        "c": torch.arange(7.0).half(),  # 14 bytes
        "d": torch.arange(4.0).bfloat16().reshape(4, 1),  # 8 bytes
    }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_holds(folder: Path, expected: dict[str, Tensor]) -> None:
    weights = open_weights(folder)
    assert sorted(weights.headers) == sorted(expected)
    for name, tensor in expected.items():
        assert weights.tensor(name).dtype == tensor.dtype
        assert torch.equal(weights.tensor(name), tensor)


def test_what_fits_becomes_one_file(tmp_path: Path) -> None:
    write_weights(tensors(), tmp_path)
    assert names(tmp_path) == ["model.safetensors"]
    assert_holds(tmp_path, tensors())
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_what_does_not_fit_becomes_shards_with_an_index(tmp_path: Path) -> None:
    write_weights(tensors(), tmp_path, "64B")
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert names(tmp_path) == [first, second, "model.safetensors.index.json"]
    assert json.loads((tmp_path / "model.safetensors.index.json").read_text()) == {
        "metadata": {"total_size": 86},
        "weight_map": {"a": first, "b": first, "c": second, "d": second},
    }
    assert_holds(tmp_path, tensors())


def test_a_tensor_above_the_limit_gets_a_shard_of_its_own(tmp_path: Path) -> None:
    write_weights(tensors(), tmp_path, "1B")
    assert {name: path.name for name, path in open_weights(tmp_path).files.items()} == {
        name: f"model-0000{number}-of-00004.safetensors" for number, name in enumerate("abcd", 1)
    }


@pytest.mark.parametrize("sizes", [("1B", "64B"), ("64B", "5GB"), ("5GB", "64B"), ("64B", "1B"), ("5GB", "5GB")])
def test_nothing_is_left_of_an_earlier_save_in_other_files(tmp_path: Path, sizes: tuple[str, str]) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (tmp_path / "model-card.safetensors").write_bytes(b"of the user's own")
    write_weights({name: tensor + 1 for name, tensor in tensors().items()}, tmp_path, sizes[0])
    write_weights(tensors(), tmp_path, sizes[1])
    write_weights(tensors(), fresh, sizes[1])
    assert names(tmp_path) == sorted([*names(fresh), "fresh", "model-card.safetensors"])
    assert_holds(tmp_path, tensors())


def test_a_save_over_the_mapped_file_itself_keeps_what_was_read(tmp_path: Path) -> None:
    write_weights(tensors(), tmp_path)
    weights = open_weights(tmp_path)
    mapped = {name: weights.tensor(name) for name in weights.headers}
    write_weights({name: tensor + 1 for name, tensor in mapped.items()}, tmp_path)
    assert torch.equal(mapped["b"], torch.arange(5))
    assert_holds(tmp_path, {name: tensor + 1 for name, tensor in tensors().items()})


@pytest.mark.parametrize("size", ["5GB", "1B"])
def test_a_save_that_fails_leaves_the_folder_as_it_was(tmp_path: Path, size: str) -> None:
    write_weights(tensors(), tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    unwritable = torch.empty(3, dtype=torch.complex128)  # no dtype of the format
    with pytest.raises((KeyError, RuntimeError, ValueError)):
        write_weights(tensors() | {"z": unwritable}, tmp_path, size)
    assert names(tmp_path) == ["model.safetensors"]
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_weights_may_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    write_weights(tensors(), tmp_path)
    write_json(tmp_path / "config.json", {})
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert modes["model.safetensors"] == modes["config.json"]


def test_shared_and_strided_tensors_are_written_one_by_one(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    content = {"a": matrix, "same": matrix, "turned": matrix.t(), "first": matrix[:1]}
    write_weights(content, tmp_path)
    assert_holds(tmp_path, content)


def test_json_is_written_sorted_and_indented(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"b": [1], "a": "ü"})
    assert (tmp_path / "config.json").read_text(encoding="utf-8") == '{\n  "a": "ü",\n  "b": [\n    1\n  ]\n}\n'
    assert names(tmp_path) == ["config.json"]


def test_json_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"a": 1})
    with pytest.raises(UnicodeEncodeError):
        write_json(tmp_path / "config.json", {"a": "\ud800"})
    assert names(tmp_path) == ["config.json"]
    assert (tmp_path / "config.json").read_text() == '{\n  "a": 1\n}\n'


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("5GB", 5 * 10**9), ("300KB", 300_000), ("1.5 mb", 1_500_000), (" 7B ", 7), ("2TB", 2 * 10**12), ("0.5KB", 500)],
)
def test_a_size_is_a_number_and_a_decimal_unit(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "5", "GB", "-5GB", "0GB", "0.4B", "5GiB", "1e3MB", "5 G B", "9" * 400 + "GB"])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_size(text)
    assert str(caught.value) == f"'{text}' is not a size; write a number and a unit, such as 5GB or 300MB"
