"""What fetched files hold, judged before any of it can be seen: no code and no pickle, and tensors as the index says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from zoo.checkpoint.headers import read_header
from zoo.checkpoint.reader import INDEX_FILE, PICKLE_SUFFIXES, join_shards, read_json, shard_names
from zoo.errors import RefusedContent

CODE_SUFFIXES = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".exe", ".sh", ".bat", ".ps1", ".whl", ".egg")
_BEGINNINGS = (
    *((bytes([0x80, protocol]), "a pickle") for protocol in range(2, 6)),
    (b"PK\x03\x04", "a zip archive, as pickles and Python packages are"),
    (b"PK\x05\x06", "a zip archive, as pickles and Python packages are"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
)


def is_dangerous(name: str) -> bool:
    """Tell whether a file of this name would be a pickle or code."""
    return name.lower().endswith((*PICKLE_SUFFIXES, *CODE_SUFFIXES))


def refuse_dangerous(names: Iterable[str], repo_id: str) -> None:
    """Refuse files that are pickles or code by their names. Raises RefusedContent."""
    refused = [name for name in names if is_dangerous(name)]
    if refused:
        suffixes = sorted({name.rpartition(".")[2] for name in refused})
        cure = " ".join(f"--exclude '*.{suffix}'" for suffix in suffixes)
        raise RefusedContent(
            f"'{refused[0]}' of '{repo_id}'",
            "a checkpoint is data, and files like this can run as code",
            f"Leave it out: {cure}",
        )


def check_contents(blobs: Mapping[str, Path], repo_id: str) -> None:
    """Judge files by what is in them. blobs: by name. Raises RefusedContent, CorruptFile."""
    headers = {name: read_header(blob) for name, blob in blobs.items() if name.endswith(".safetensors")}
    for name, blob in blobs.items():
        if name not in headers:  # a header that could be read is no pickle, whatever its length looks like
            _refuse_disguised(name, blob, repo_id)
    if INDEX_FILE in blobs:
        index = read_json(blobs[INDEX_FILE])
        shards = shard_names(index, INDEX_FILE)
        if set(shards) <= set(headers):  # not where a user left some out
            join_shards(index, INDEX_FILE, {name: headers[name] for name in shards}, blobs)


def _refuse_disguised(name: str, blob: Path, repo_id: str) -> None:
    with blob.open("rb", buffering=0) as file:
        beginning = file.read(8)
    for magic, what in _BEGINNINGS:
        if beginning.startswith(magic):
            raise RefusedContent(
                f"'{name}' of '{repo_id}'",
                f"by its content it is {what}, whatever its name says",
                f"Tell its author, and leave it out if the rest is to be trusted: --exclude '{name}'",
            )
