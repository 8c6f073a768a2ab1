"""Manifests: what a checkpoint in the store consists of, so that it can be checked again at any time."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zoo.errors import CorruptFile, DigestMismatch

_CHUNK_BYTES = 1 << 20


class FileEntry(BaseModel):
    """One file: its size, and the digest that the hub gave for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_bytes: int = Field(ge=0)
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="For files in large-file storage")
    git_blob: str | None = Field(None, pattern=r"^[0-9a-f]{40}$", description="For all others: git's id of the content")

    @model_validator(mode="after")
    def _has_digest(self) -> Self:
        if self.sha256 is None and self.git_blob is None:
            raise ValueError("it has neither sha256 nor git_blob")
        return self

    @property
    def digest(self) -> str:
        """The digest, which is also the file's name among the store's blobs."""
        digest = self.sha256 or self.git_blob
        assert digest is not None
        return digest

    def hasher(self) -> "hashlib._Hash":
        """Give a hash object that reaches `digest` when fed the content."""
        if self.sha256 is not None:
            return hashlib.sha256()
        # A git blob id is the sha1 of this prefix and the content; sha1 here names content, it does not secure it.
        return hashlib.sha1(b"blob %d\0" % self.size_bytes, usedforsecurity=False)

    def check(self, path: Path, name: str, advance: Callable[[int], None] = lambda count: None) -> None:
        """Hash a file. advance: told the number of bytes as they are read. Raises DigestMismatch, CorruptFile."""
        if not path.is_file():
            raise CorruptFile(path, "it is not there any more")
        hasher = self.hasher()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
                advance(len(chunk))
        if hasher.hexdigest() != self.digest:
            raise DigestMismatch(name, self.digest, hasher.hexdigest(), "the manifest")


class Manifest(BaseModel):
    """A checkpoint at one commit: where it came from, its files, and the plugin that reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo_id: str
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    endpoint: str
    architecture: str | None = Field(None, description="model_type of its config.json")
    distribution: str | None = Field(None, description="The plugin distribution that provides the architecture")
    distribution_version: str | None = None
    include: tuple[str, ...] = Field((), description="Patterns of files that were added to the checkpoint's own")
    exclude: tuple[str, ...] = Field((), description="Patterns of files that were left out")
    files: Mapping[str, FileEntry]

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.files.values())

    def save(self, path: Path) -> None:
        """Write the manifest, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(self.model_dump_json(indent=2, exclude_none=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a manifest. Raises CorruptFile."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            raise CorruptFile(path, f"it is not a manifest ({error})") from None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine: its folder and, where it came from a hub, what it is there.

    path: the folder that holds config.json. repo_id, commit, manifest: None for a folder of the user's own.
    """

    path: Path
    repo_id: str | None = None
    commit: str | None = None
    manifest: Manifest | None = None
