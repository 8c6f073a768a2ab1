"""Manifests: digests as the hub gives them, found again in the files."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from zoo.checkpoint.manifest import FileEntry, Manifest
from zoo.errors import CorruptFile, DigestMismatch

CONTENT = bytes(range(256)) * 5000 + b"end"  # more than one chunk


def lfs_entry() -> FileEntry:
    return FileEntry(size_bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())


def git_entry(file: Path) -> FileEntry:
    done = subprocess.run(["git", "hash-object", "--no-filters", str(file)], capture_output=True, text=True, check=True)
    return FileEntry(size_bytes=file.stat().st_size, git_blob=done.stdout.strip())


def manifest(**changes: Any) -> Manifest:
    facts: dict[str, Any] = {
        "repo_id": "org/name",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "endpoint": "http://127.0.0.1:8900",
        "architecture": "bert",
        "files": {"model.safetensors": lfs_entry(), "config.json": FileEntry(size_bytes=5, git_blob="a" * 40)},
    }
    return Manifest.model_validate(facts | changes)


@pytest.mark.parametrize("content", [b"", b"hello\r\n", CONTENT])
def test_a_file_agrees_with_gits_own_id_of_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    advanced: list[int] = []
    git_entry(file).check(file, "config.json", advanced.append)
    assert sum(advanced) == len(content)


def test_a_large_file_agrees_with_its_sha256(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(CONTENT)
    lfs_entry().check(file, "model.safetensors")
    assert lfs_entry().digest == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("kind", ["sha256", "git_blob"])
@pytest.mark.parametrize("position", [0, 1 << 20, len(CONTENT) - 1])
def test_a_flipped_byte_is_found(tmp_path: Path, kind: str, position: int) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(CONTENT)
    entry = lfs_entry() if kind == "sha256" else git_entry(file)
    flipped = bytearray(CONTENT)
    flipped[position] ^= 1
    file.write_bytes(flipped)
    actual = hashlib.sha256(flipped).hexdigest() if kind == "sha256" else git_entry(file).digest
    with pytest.raises(DigestMismatch) as caught:
        entry.check(file, "model.safetensors")
    assert str(caught.value) == (
        f"'model.safetensors' has the digest {actual}, but the manifest promises {entry.digest}. The file was not kept. "
        "Try again; if it stays so, the hub or the network changes files, and its operator should know"
    )


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0"])
def test_another_length_is_found(tmp_path: Path, change: Any) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(CONTENT)
    entry = git_entry(file)
    file.write_bytes(change(CONTENT))
    with pytest.raises(DigestMismatch):
        entry.check(file, "model.safetensors")


def test_a_file_that_has_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to(tmp_path / "blob")
    with pytest.raises(CorruptFile) as caught:
        lfs_entry().check(tmp_path / "config.json", "config.json")
    assert str(caught.value) == (
        f"The file '{tmp_path / 'config.json'}' is corrupt: it is not there any more. It was not loaded; fetch it again, "
        "or tell its author"
    )


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "manifest.json"
    manifest().save(path)
    assert Manifest.load(path) == manifest()
    assert [entry.name for entry in path.parent.iterdir()] == ["manifest.json"]
    assert manifest().size_bytes == len(CONTENT) + 5


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        manifest().model_dump_json().replace("0123456789abcdef", "0123456789ABCDEF").encode(),
        manifest().model_dump_json().replace('"size_bytes":5', '"size_bytes":-5').encode(),
        manifest().model_dump_json().replace("a" * 40, "../../../etc/passwd").encode(),
        manifest().model_dump_json().replace('"architecture"', '"run_this"').encode(),
        manifest().model_dump_json(exclude_none=True).replace(f'"git_blob":"{"a" * 40}"', '"sha256":null').encode(),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    assert content != manifest().model_dump_json().encode()
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(CorruptFile) as caught:
        Manifest.load(path)
    assert str(caught.value).startswith(f"The file '{path}' is corrupt: it is not a manifest (")


def test_an_entry_without_a_digest_cannot_be() -> None:
    with pytest.raises(ValidationError, match="it has neither sha256 nor git_blob"):
        FileEntry(size_bytes=5)
