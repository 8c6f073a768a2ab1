"""Pickles become safetensors in a process that can do nothing else; a pickle that wants more never runs."""

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import zoo
from tests.checkpoints import assert_same_bytes, change_config, read_tensors, write_checkpoint, write_tokenizer
from zoo.checkpoint import unpickling
from zoo.converting import convert
from zoo.errors import CorruptFile, InvalidInput, NotACheckpoint, RefusedContent, WeightsMismatch


def write_pickles(folder: Path, class_name: str = "BertForMaskedLM", shards: int = 1, zipped: bool = True) -> Any:
    """Write a checkpoint as it was once published: pytorch_model.bin, ties included. Gives its tensors."""
    oracle = write_checkpoint(folder, class_name)
    write_tokenizer(folder)
    (folder / "model.safetensors").unlink()
    tensors = oracle.state_dict()
    names = ["pytorch_model.bin"]
    if shards > 1:
        names = [f"pytorch_model-{number:05d}-of-{shards:05d}.bin" for number in range(1, shards + 1)]
        weight_map = {name: names[index % shards] for index, name in enumerate(tensors)}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for index, name in enumerate(names):
        part = {key: value for number, (key, value) in enumerate(tensors.items()) if number % shards == index}
        torch.save(part, folder / name, _use_new_zipfile_serialization=zipped)
    return tensors


class Command:
    """A pickle that runs a command when it is read."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False], ids=["torch 1.6 and later", "before torch 1.6"])
def test_a_converted_checkpoint_has_the_same_bytes_and_loads(tmp_path: Path, zipped: bool) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    tensors = write_pickles(source, zipped=zipped)
    assert convert(source, target, allow_pickle_conversion=True) == target
    assert sorted(path.name for path in target.iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    found = read_tensors(target)
    assert_same_bytes(found, {name: tensors[name] for name in found})
    ids = torch.tensor([[2, 7, 31, 3]])
    _, report = transformers.BertForMaskedLM.from_pretrained(target, output_loading_info=True)
    assert {key: set(names) for key, names in report.items() if names} == {}
    with torch.no_grad():
        expected = transformers.BertForMaskedLM.from_pretrained(target).eval()(ids).logits
        torch.testing.assert_close(zoo.load(target)(ids).logits, expected, atol=1e-5, rtol=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_what_is_tied_is_written_once_and_the_rest_under_each_name(tmp_path: Path) -> None:
    tensors = write_pickles(tmp_path / "source")
    twice = "cls.predictions.decoder.weight"
    assert tensors[twice].data_ptr() == tensors["bert.embeddings.word_embeddings.weight"].data_ptr()
    convert(tmp_path / "source", tmp_path / "target", allow_pickle_conversion=True)
    assert sorted(tensors.keys() - read_tensors(tmp_path / "target").keys()) == ["cls.predictions.decoder.bias", twice]


def test_views_of_one_memory_are_taken_apart(tmp_path: Path) -> None:
    tensors = write_pickles(tmp_path / "source", "BertModel")
    key, value = "encoder.layer.0.attention.self.key.weight", "encoder.layer.0.attention.self.value.weight"
    both = torch.cat([tensors[key], tensors[value]])
    tensors |= {key: both[:24], value: both[24:], "embeddings.position_ids": torch.arange(19).expand(1, 19)}
    torch.save(tensors, tmp_path / "source" / "pytorch_model.bin")
    convert(tmp_path / "source", tmp_path / "target", allow_pickle_conversion=True)
    assert_same_bytes(read_tensors(tmp_path / "target"), {name: t.contiguous() for name, t in tensors.items()})


def test_shards_are_joined_and_cut_anew(tmp_path: Path) -> None:
    tensors = write_pickles(tmp_path / "source", shards=3)
    convert(tmp_path / "source", tmp_path / "target", allow_pickle_conversion=True, max_shard_size="12KB")
    found = read_tensors(tmp_path / "target")
    assert_same_bytes(found, {name: tensors[name] for name in found})
    assert (tmp_path / "target" / "model.safetensors.index.json").is_file()
    assert list((tmp_path / "target").glob("pytorch_model*")) == []


def test_a_repository_is_converted_without_touching_the_store(
    hub: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    source = tmp_path / "source"
    tensors = write_pickles(source, shards=2)
    hub.api().create_repo("me/old")
    hub.api().upload_folder(repo_id="me/old", folder_path=source)
    target = convert("me/old", tmp_path / "target", allow_pickle_conversion=True, endpoint=hub.endpoint)
    found = read_tensors(target)
    assert_same_bytes(found, {name: tensors[name] for name in found})
    assert not (home / "hub").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["registry", "source", "target"]


def test_without_leave_no_pickle_is_read(tmp_path: Path, hub: Any) -> None:
    write_pickles(tmp_path / "source")
    with pytest.raises(RefusedContent) as caught:
        convert(tmp_path / "source", tmp_path / "target")
    assert str(caught.value) == (
        f"'{tmp_path}/source' was refused: its weights are pickles, and a pickle can run any code when it is read. Zoo can "
        "read them in a process without network and rights, which takes tensors alone, and write safetensors. To let it: "
        f"zoo convert {tmp_path}/source --out FOLDER --allow-pickle-conversion"
    )
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("how", ["torch.save", "torch.save, old", "pickle"])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path, how: str) -> None:
    source, mark = tmp_path / "source", tmp_path / "it-ran"
    tensors = write_pickles(source)
    content = {**tensors, "extra": Command(f"touch {mark}")}
    path = source / "pytorch_model.bin"
    if how == "pickle":
        path.write_bytes(pickle.dumps(content["extra"]))
        pickle.loads(pickle.dumps(Command("true")))  # this is what it would have done
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch.save")
    with pytest.raises(RefusedContent) as caught:
        convert(source, tmp_path / "target", allow_pickle_conversion=True)
    if how != "pickle":
        assert str(caught.value) == (
            f"'{path}' was refused: it asks for posix.system, and weights consist of tensors alone. Nothing of it was run. "
            "Do not read it with another program either; ask its author for safetensors"
        )
    assert not mark.exists()
    assert "weights_only" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_tar_file_of_early_torch_is_refused(tmp_path: Path) -> None:
    write_pickles(tmp_path)
    with tarfile.open(tmp_path / "pytorch_model.bin", "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    with pytest.raises(RefusedContent) as caught:
        convert(tmp_path, tmp_path.parent / "target", allow_pickle_conversion=True)
    assert caught.value.reason == (
        "it is a tar file, as torch wrote it before version 0.2, which is read only by running what it says"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            [torch.zeros(2)],
            "torch cannot read it as tensors alone (it holds a list, where tensors by name are expected)",
        ),
        ({"a": {"b": torch.zeros(2)}}, "torch cannot read it as tensors alone (its entry 'a' is no plain tensor)"),
        ({1: torch.zeros(2)}, "torch cannot read it as tensors alone (its entry 1 is no plain tensor)"),
        ({"a": torch.eye(3).to_sparse()}, "torch cannot read it as tensors alone (its entry 'a' is no plain tensor)"),
    ],
    ids=["a list", "a dict in it", "a number for a name", "a sparse tensor"],
)
def test_what_is_no_plain_table_of_tensors_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    write_pickles(tmp_path)
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(RefusedContent) as caught:
        convert(tmp_path, tmp_path.parent / "target", allow_pickle_conversion=True)
    assert caught.value.reason == reason


def test_a_tensor_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    write_pickles(tmp_path)
    torch.save({"a": torch.zeros(1).expand(1_000_000, 1_000_000)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(RefusedContent):
        convert(tmp_path, tmp_path.parent / "target", allow_pickle_conversion=True)


def test_a_script_and_half_a_file_are_refused(tmp_path: Path) -> None:
    write_pickles(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PK\x03\x04", b"\x80\x02."):
        path.write_bytes(content)
        with pytest.raises(RefusedContent):
            convert(tmp_path, tmp_path.parent / "target", allow_pickle_conversion=True)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(RefusedContent):
        convert(tmp_path, tmp_path.parent / "target", allow_pickle_conversion=True)


def test_what_does_not_fit_the_architecture_is_not_handed_over(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_pickles(source)
    change_config(source, hidden_size=48)
    with pytest.raises(WeightsMismatch):
        convert(source, target, allow_pickle_conversion=True)
    assert not target.exists()


def test_an_index_that_lies_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_pickles(source, shards=2)
    index = json.loads((source / "pytorch_model.bin.index.json").read_text())
    first = next(iter(index["weight_map"]))
    for name in ("../secret.bin", "other.bin", "pytorch_model-00001-of-00002.bin"):
        changed = {**index["weight_map"], "one.more": name}
        (source / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": changed}))
        with pytest.raises(CorruptFile):
            convert(source, tmp_path / "target", allow_pickle_conversion=True)
    assert first in index["weight_map"]


def test_only_pickles_are_converted_and_nothing_is_overwritten(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_checkpoint(source)
    with pytest.raises(InvalidInput) as caught:
        convert(source, target, allow_pickle_conversion=True)
    assert str(caught.value) == (
        f"'{source}' has safetensors already; there is nothing to convert. Try: zoo pull {source}"
    )
    (source / "model.safetensors").unlink()
    with pytest.raises(NotACheckpoint):
        convert(source, target, allow_pickle_conversion=True)
    with pytest.raises(InvalidInput, match="is there already; the converted checkpoint goes to a folder that is new"):
        convert(source, source, allow_pickle_conversion=True)


ATTEMPTS = {
    "a connection": "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
    "a name server": "import socket; socket.getaddrinfo('localhost', 80)",
    "a command": "import os; os.system('touch {mark}')",
    "a process": "import subprocess; subprocess.run(['touch', '{mark}'])",
    "a fork": "import os; os.fork() or open('{mark}', 'w')",
    "another program": "import os; os.execv('/usr/bin/touch', ['touch', '{mark}'])",
    "a file of its own": "open('{mark}', 'w')",
    "a file by number": "import os; os.open('{mark}', os.O_CREAT | os.O_WRONLY)",
    "a file gone": "import os; os.remove('{source}')",
    "a call into C": "import ctypes; ctypes.CDLL(None).system(b'touch {mark}')",
    "a pickle": "import pickle; pickle.loads(b'cposix\\nsystem\\n(S\\'touch {mark}\\'\\ntR.')",
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_code_that_got_into_the_process_could_do_nothing(tmp_path: Path, attempt: str) -> None:
    source, target, mark = (tmp_path / name for name in ("source", "target", "it-ran"))
    source.write_bytes(b"x")
    script = (
        "import runpy, socket, subprocess, ctypes, pickle\n"
        f"child = runpy.run_path({unpickling.__file__!r})\n"
        "child['leave_network']()\n"
        f"child['lock_down']({str(target)!r}, 1)\n"
        f"{attempt.format(mark=mark, source=source)}\n"
        "print('it went on')\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == unpickling.ATTEMPTED, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert "it tried to do more than hold tensors (" in done.stderr
    assert not mark.exists()
    assert source.exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such thing")
def test_the_process_has_no_network(tmp_path: Path) -> None:
    script = (
        "import runpy, socket, os\n"
        "before = os.stat('/proc/self/ns/net').st_ino\n"
        f"runpy.run_path({unpickling.__file__!r})['leave_network']()\n"
        "assert os.stat('/proc/self/ns/net').st_ino != before\n"
        "print([name for _, name in socket.if_nameindex()])\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    if "AssertionError" in done.stderr:
        pytest.skip("this system lets nobody leave its network")
    assert done.stdout == "['lo']\n"


def test_nothing_else_in_zoo_reads_pickles() -> None:
    root = Path(zoo.__file__).parent
    readers = ("torch.load", "import pickle", "from pickle", "joblib", "numpy.load", "np.load", "marshal", "shelve")
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if any(reader in path.read_text(encoding="utf-8") for reader in readers)
    }
    assert found == {"checkpoint/unpickling.py"}
