"""Reading a folder: one file or shards, and every way in which they can be wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from zoo.checkpoint.reader import open_weights, read_config, read_json, read_optional_json, shard_names
from zoo.errors import CorruptFile, NotACheckpoint, RefusedContent

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def corrupt(path: Path, reason: str) -> str:
    return f"The file '{path}' is corrupt: {reason}. It was not loaded; fetch it again, or tell its author"


def sharded(folder: Path, weight_map: Any = None) -> Path:
    """Two shards, with `a` and `b` in the first and `c` in the second, and their index."""
    save_file({"a": torch.arange(2.0), "b": torch.arange(3)}, folder / FIRST)
    save_file({"c": torch.arange(5.0).half()}, folder / SECOND)
    weight_map = {"a": FIRST, "b": FIRST, "c": SECOND} if weight_map is None else weight_map
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 42}, "weight_map": weight_map}))
    return folder / INDEX


def test_one_file_is_read(tmp_path: Path) -> None:
    save_file({"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(5)}, tmp_path / "model.safetensors")
    weights = open_weights(tmp_path)
    assert {name: header.shape for name, header in weights.headers.items()} == {"a": (2, 3), "b": (5,)}
    assert torch.equal(weights.tensor("a"), torch.arange(6.0).reshape(2, 3))
    assert torch.equal(weights.tensor("b"), torch.arange(5))


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    sharded(tmp_path)
    weights = open_weights(tmp_path)
    assert {name: path.name for name, path in weights.files.items()} == {"a": FIRST, "b": FIRST, "c": SECOND}
    assert torch.equal(weights.tensor("b"), torch.arange(3))
    assert torch.equal(weights.tensor("c"), torch.arange(5.0).half())


def test_one_file_goes_before_shards_beside_it(tmp_path: Path) -> None:
    sharded(tmp_path)
    save_file({"d": torch.arange(7)}, tmp_path / "model.safetensors")
    assert list(open_weights(tmp_path).headers) == ["d"]


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    (tmp_path / SECOND).unlink()
    with pytest.raises(CorruptFile) as caught:
        open_weights(tmp_path)
    assert str(caught.value) == corrupt(index, f"it names the shard {SECOND}, which is not there")


@pytest.mark.parametrize("name", ["x" * 5000 + ".safetensors", "\0.safetensors", "folder.safetensors"])
def test_a_shard_that_no_file_can_be_is_not_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    index = sharded(tmp_path, {"a": FIRST, "b": FIRST, "c": name})
    with pytest.raises(CorruptFile) as caught:
        open_weights(tmp_path)
    assert str(caught.value) == corrupt(index, f"it names the shard {name}, which is not there")


@pytest.mark.parametrize(
    ("weight_map", "reason"),
    [
        ({"a": FIRST, "c": SECOND}, f"the shard {FIRST} holds 'b', which its weight_map does not place there"),
        ({"a": FIRST, "b": SECOND, "c": SECOND}, f"the shard {FIRST} holds 'b', which its weight_map does not place there"),
        ({"a": FIRST, "b": FIRST, "c": SECOND, "e": SECOND, "d": FIRST},
         "no shard holds 'd', which its weight_map names"),
        ([], "it has no weight_map"),
        ({}, "it has no weight_map"),
        ({"a": "../x.safetensors"},
         "its weight_map names '../x.safetensors', which is not a safetensors file beside it"),
        ({"a": "/etc/x.safetensors"},
         "its weight_map names '/etc/x.safetensors', which is not a safetensors file beside it"),
        ({"a": "..\\x.safetensors"},
         "its weight_map names '..\\\\x.safetensors', which is not a safetensors file beside it"),
        ({"a": "model.bin"}, "its weight_map names 'model.bin', which is not a safetensors file beside it"),
        ({"a": 1}, "its weight_map names 1, which is not a safetensors file beside it"),
        ({"a": [2]}, "its weight_map names [2], which is not a safetensors file beside it"),
    ],
)  # fmt: skip
def test_an_index_that_disagrees_or_leaves_the_folder_is_refused(tmp_path: Path, weight_map: Any, reason: str) -> None:
    save_file({"secret": torch.ones(1)}, tmp_path / "x.safetensors")
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    index = sharded(folder, weight_map)
    with pytest.raises(CorruptFile) as caught:
        open_weights(folder)
    assert str(caught.value) == corrupt(index, reason)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    save_file({"c": torch.ones(5), "a": torch.ones(2)}, tmp_path / SECOND)
    with pytest.raises(CorruptFile) as caught:
        open_weights(tmp_path)
    assert str(caught.value) == corrupt(
        index, f"the shard {SECOND} holds 'a', which its weight_map does not place there"
    )


def test_shard_names_come_once_each(tmp_path: Path) -> None:
    assert shard_names({"weight_map": {"a": SECOND, "b": FIRST, "c": SECOND}}, "index") == [FIRST, SECOND]


def test_a_broken_shard_is_refused(tmp_path: Path) -> None:
    sharded(tmp_path)
    content = (tmp_path / SECOND).read_bytes()
    (tmp_path / SECOND).write_bytes(content[:-1])
    with pytest.raises(CorruptFile) as caught:
        open_weights(tmp_path)
    assert str(caught.value) == corrupt(tmp_path / SECOND, "its header describes 10 bytes of tensors, and 9 follow it")


def test_pickles_are_refused_with_a_way_out(tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "training_args.pt", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(RefusedContent) as caught:
        open_weights(tmp_path)
    assert str(caught.value) == (
        f"'{tmp_path}' was refused: its weights are pickles only (pytorch_model.bin, training_args.pt), and a pickle can "
        "run any code when it is read. Ask for safetensors: another revision may have them (often refs/pr/1). Or make "
        f"them, in a process without network and rights: zoo convert {tmp_path} --out FOLDER --allow-pickle-conversion"
    )


def test_pickles_beside_safetensors_are_left_alone(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    assert list(open_weights(tmp_path).headers) == ["a"]


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_without_weights_is_no_checkpoint(tmp_path: Path, folder: str) -> None:
    with pytest.raises(NotACheckpoint) as caught:
        open_weights(tmp_path / folder)
    assert str(caught.value) == (
        f"'{tmp_path / folder}' does not hold a checkpoint: there is no model.safetensors. It needs config.json and "
        "model.safetensors (or model.safetensors.index.json with its shards)"
    )


@pytest.mark.parametrize(
    ("folder", "reason"), [("", "config.json is not there"), ("nowhere", "there is no such folder")]
)
def test_a_folder_without_a_config_is_no_checkpoint(tmp_path: Path, folder: str, reason: str) -> None:
    with pytest.raises(NotACheckpoint) as caught:
        read_config(tmp_path / folder)
    assert caught.value.reason == reason


def test_a_config_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "name": "ü"}', encoding="utf-8")
    assert read_config(tmp_path) == {"model_type": "bert", "name": "ü"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not valid JSON (Expecting value: line 1 column 1 (char 0))"),
        (b"{", "it is not valid JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        (b"\xff", "it is not valid JSON ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte)"),
        (b"[1]", "it is not a JSON object"),
        (b'{"a": {"b": 1, "b": 1}}', "it is not valid JSON (a name stands in it twice)"),
        (b'{"a": ["\\ud800"]}', "it is not valid JSON (half a surrogate pair stands in it, which is no text)"),
        (b'{"\\uDBFF": 1}', "it is not valid JSON (half a surrogate pair stands in it, which is no text)"),
    ],
)
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(CorruptFile) as caught:
        read_json(file)
    assert str(caught.value) == corrupt(file, reason)


def test_a_whole_surrogate_pair_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"a": "\\ud83e\\udd81"}')
    assert read_json(tmp_path / "a.json") == {"a": "🦁"}


def test_deeply_nested_json_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b'{"a":' * 100_000)
    with pytest.raises(CorruptFile, match="it is not valid JSON"):
        read_json(file)


def test_json_above_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    with file.open("wb") as sparse:
        sparse.truncate(50_000_001)
    with pytest.raises(CorruptFile) as caught:
        read_json(file)
    assert str(caught.value) == corrupt(file, "it has more than 50000000 bytes")


def test_an_optional_file_may_be_absent_and_not_broken(tmp_path: Path) -> None:
    assert read_optional_json(tmp_path / "absent.json") == {}
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(CorruptFile):
        read_optional_json(tmp_path / "broken.json")
