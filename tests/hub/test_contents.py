"""What fetched files hold is judged before anything can be seen: pickles under other names, and shards beside their index."""

import hashlib
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import CommitOperationAdd

import zoo
from zoo import errors
from zoo.hub import store

LeftInStore = Callable[[], list[str]]


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("code.py", "print()")
    return buffer.getvalue()


def saved_by_torch(legacy: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(2)}, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def add(hub: Any, name: str, content: bytes) -> None:
    """Put a file beside those of me/small, as another client would."""
    hub.api().create_commit("me/small", [CommitOperationAdd(name, io.BytesIO(content))], commit_message="more")


PICKLE, ZIP = "a pickle", "a zip archive, as pickles and Python packages are"
DISGUISED = {
    **{f"pickle protocol {protocol}": (pickle.dumps({"w": 1}, protocol), PICKLE) for protocol in range(2, 6)},
    "torch": (saved_by_torch(legacy=False), ZIP),
    "old torch": (saved_by_torch(legacy=True), PICKLE),
    "zip": (zipped(), ZIP),
    "empty zip": (b"PK\x05\x06" + bytes(18), ZIP),
    "program": (b"\x7fELF\x02\x01\x01", "a program"),
    "Windows program": (b"MZ\x90\x00\x03", "a program"),
}


@pytest.mark.parametrize("kind", DISGUISED)
@pytest.mark.parametrize("name", ["special_tokens_map.json", "vocab.txt", "LICENSE"])
def test_a_pickle_or_program_under_another_name_is_refused(
    hub: Any, published: str, kind: str, name: str, left_in_store: LeftInStore
) -> None:
    content, what = DISGUISED[kind]
    add(hub, name, content)
    with pytest.raises(errors.RefusedContent) as caught:
        zoo.pull("me/small", endpoint=hub.endpoint)
    assert str(caught.value) == (
        f"'{name}' of 'me/small' was refused: by its content it is {what}, whatever its name says. Tell its author, and "
        f"leave it out if the rest is to be trusted: --exclude '{name}'"
    )
    assert left_in_store() == []
    assert name not in {
        path.name for path in zoo.pull("me/small", endpoint=hub.endpoint, exclude=[name]).path.iterdir()
    }


@pytest.mark.parametrize("content", [pickle.dumps({"w": 1}), zipped(), saved_by_torch(legacy=True)])
def test_a_pickle_in_place_of_the_weights_is_refused(
    hub: Any, published: str, content: bytes, left_in_store: LeftInStore
) -> None:
    add(hub, "model.safetensors", content)
    with pytest.raises(errors.CorruptFile, match=r"its header claims \d+ bytes"):
        zoo.pull("me/small", endpoint=hub.endpoint)
    assert left_in_store() == []


def test_a_header_whose_length_looks_like_a_pickle_is_read(hub: Any, published: str, folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    padded = (length // 256 + 4) * 256 + 0x80  # a header may end in spaces
    padded = next(n for n in range(padded, padded + 2**17, 256) if struct.pack("<Q", n)[1] in range(2, 6))
    header = content[8 : 8 + length].ljust(padded)
    add(hub, "model.safetensors", struct.pack("<Q", padded) + header + content[8 + length :])
    checkpoint = zoo.pull("me/small", endpoint=hub.endpoint)
    assert (checkpoint.path / "model.safetensors").read_bytes().startswith(b"\x80")


def test_code_is_never_fetched(hub: Any, published: str) -> None:
    for name in ("modeling_bert.py", "LICENSE.py", "LICENSES/tool.PY", "pytorch_model.bin"):
        add(hub, name, b"raise SystemExit\n")
    fetched = {path.name for path in zoo.pull("me/small", endpoint=hub.endpoint).path.rglob("*")}
    assert not {name for name in fetched if name.lower().endswith((".py", ".bin"))}
    with pytest.raises(errors.RefusedContent) as caught:
        zoo.pull("me/small", endpoint=hub.endpoint, refresh=True, include=["LICENSES/*"])
    assert str(caught.value) == (
        "'LICENSES/tool.PY' of 'me/small' was refused: a checkpoint is data, and files like this can run as code. "
        "Leave it out: --exclude '*.PY'"
    )


def test_code_that_a_lock_names_is_refused(
    hub: Any, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_in_store: LeftInStore
) -> None:
    from zoo.hub import syncing

    add(hub, "modeling.py", b"raise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    syncing.add(["me/small"], endpoint=hub.endpoint)
    lock = tmp_path / "zoo.lock"
    digest = hashlib.sha256(b"raise SystemExit\n").hexdigest()
    entry = f'[checkpoint."me/small".files]\n"modeling.py" = {{ size_bytes = 17, sha256 = "{digest}" }}\n'
    text = lock.read_text()
    header = next(line for line in text.splitlines() if line.endswith(".files]"))
    lock.write_text(text.replace(header, header + "\n" + entry.splitlines()[1]))
    store.remove("me/small")
    with pytest.raises(errors.RefusedContent, match=r"'modeling\.py' of 'me/small' was refused: a checkpoint is data"):
        zoo.pull("me/small", endpoint=hub.endpoint)
    assert left_in_store() == []


@pytest.fixture
def sharded(hub: Any, folder: Path) -> dict[str, Any]:
    """The small checkpoint in shards on the hub. Gives its index."""
    zoo.load(folder).save(folder, max_shard_size="4KB")
    zoo.push(folder, "me/small", endpoint=hub.endpoint, token=hub.token)
    index: dict[str, Any] = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    return index


def test_shards_that_agree_with_their_index_are_taken(hub: Any, sharded: dict[str, Any]) -> None:
    path = zoo.pull("me/small", endpoint=hub.endpoint).path
    assert {file.name for file in path.glob("*.safetensors")} == set(sharded["weight_map"].values())


def test_shards_that_do_not_agree_with_their_index_are_refused(
    hub: Any, sharded: dict[str, Any], left_in_store: LeftInStore
) -> None:
    names = sorted(sharded["weight_map"])
    first = sharded["weight_map"][names[0]]
    other = next(shard for shard in sharded["weight_map"].values() if shard != first)
    absent = {tensor: shard for tensor, shard in sharded["weight_map"].items() if tensor != names[0]}
    cases = {
        f"the shard {first} holds '{names[0]}', which its weight_map does not place there": [
            absent,
            sharded["weight_map"] | {names[0]: other},
        ],
        "no shard holds 'a.b', which its weight_map names": [sharded["weight_map"] | {"a.b": first}],
    }
    for reason, maps in cases.items():
        for weight_map in maps:
            add(hub, "model.safetensors.index.json", json.dumps({"weight_map": weight_map}).encode())
            with pytest.raises(errors.CorruptFile) as caught:
                zoo.pull("me/small", endpoint=hub.endpoint)
            assert caught.value.reason == reason
            assert left_in_store() == []
