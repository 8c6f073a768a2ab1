"""zoo.lock: which commit of each reference a project uses, with every file's digest and the plugin that reads it.

version = 1

[checkpoints."me/small"]
repository = "me/small"
endpoint = "https://huggingface.co"
commit = "44f2…"
architecture = "bert"
plugin = "zoo-encoder-only"
plugin_version = "0.1.0"

[checkpoints."me/small".files]
"config.json" = { size_bytes = 612, sha256 = "9a1f…", git_blob = "72b9…" }
"model.safetensors" = { size_bytes = 90868376, sha256 = "53aa…" }

A line a file and a table a reference, all sorted: what two branches add merges, and TOML itself refuses what stands in
it twice.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from zoo.checkpoint.adapter_files import ADAPTER_CONFIG
from zoo.checkpoint.manifest import FileEntry
from zoo.checkpoint.reader import CONFIG_FILE
from zoo.errors import CorruptFile, InvalidReference, LockConflict, RefusedContent
from zoo.hub.catalogue import look_up
from zoo.hub.names import check_file_name
from zoo.hub.store import DEFAULT_REVISION
from zoo.references import Reference, parse

_log = logging.getLogger(__name__)
LOCK_FILE = "zoo.lock"
LOCK_LIMIT_BYTES = 50_000_000
_HEADER = "# Written by `zoo lock`. Commit it with the project; `zoo sync --frozen` then gives everybody the same."


def _printable(text: str) -> str:
    if not text.isprintable() or not text:
        raise ValueError("it is no printable text")
    return text


def _reference(text: str) -> str:
    try:
        reference = parse(text)
    except InvalidReference as error:
        raise ValueError(error.reason) from None
    if reference.folder is not None or str(reference) != text:
        raise ValueError("a lock holds references to hubs")
    return text


def _repository(text: str) -> str:
    if parse(_reference(text)).repo_id != text:
        raise ValueError("it is no 'org/name'")
    return text


def _file_name(text: str) -> str:
    try:
        check_file_name(text, LOCK_FILE)
    except RefusedContent as error:
        raise ValueError(error.reason) from None
    return text


def _complete(files: Mapping[str, LockedFile]) -> Mapping[str, LockedFile]:
    if CONFIG_FILE not in files and ADAPTER_CONFIG not in files:
        raise ValueError(f"it has neither {CONFIG_FILE} nor {ADAPTER_CONFIG}")
    return files


Printable = Annotated[str, Field(max_length=300), AfterValidator(_printable)]
FileName = Annotated[str, AfterValidator(_file_name)]
ReferenceText = Annotated[str, AfterValidator(_reference)]


class LockedFile(FileEntry):
    """One file: its size, its sha256, and git's id of it where the hub lists that instead."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size_bytes: int = Field(ge=0, lt=2**63)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    def difference(self, found: FileEntry | None) -> str | None:
        """Say how a file that a hub lists, or that was stored, is not this one. found: None where there is no file."""
        if found is None:
            return "is not there"
        expected = self.sha256 if found.sha256 else self.git_blob
        if found.digest != expected:
            return f"has the digest {found.digest}; locked is {expected or self.sha256}"
        if found.size_bytes != self.size_bytes:
            return f"has {found.size_bytes} bytes; locked are {self.size_bytes}"
        return None


class LockedCheckpoint(BaseModel):
    """What a reference means: a commit of a repository, its files, and the plugin that reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    repository: Annotated[str, AfterValidator(_repository)]
    endpoint: str = Field(pattern=r"^https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~/-]*)?$", max_length=500)
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    architecture: Printable | None = Field(None, description="model_type of its config.json")
    plugin: Printable | None = Field(None, description="The distribution that provides the architecture")
    plugin_version: Printable | None = None
    base: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Of the weights an adapter is for: see weights_digest"
    )
    files: Annotated[Mapping[FileName, LockedFile], AfterValidator(_complete)]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files.values())

    def differences(self, found: Mapping[str, FileEntry]) -> dict[str, str]:
        """Say of each locked file that is missing or another one how it differs."""
        every = {name: file.difference(found.get(name)) for name, file in self.files.items()}
        return {name: difference for name, difference in every.items() if difference is not None}


class Lock(BaseModel):
    """The whole file. checkpoints: by reference, written as the user did: "name", "org/name", "org/name@revision"."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1
    checkpoints: Mapping[ReferenceText, LockedCheckpoint] = {}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a lock. Raises CorruptFile."""
        try:
            if path.stat().st_size > LOCK_LIMIT_BYTES:
                raise CorruptFile(path, f"it has more than {LOCK_LIMIT_BYTES} bytes")
            content = tomllib.loads(path.read_text(encoding="utf-8"))
            if type(version := content.get("version")) is int and version > 1:
                raise CorruptFile(path, f"it is of version {version}, and this Zoo reads version 1; update Zoo")
            return cls.model_validate(content)
        except OSError as error:
            raise CorruptFile(path, f"it cannot be read ({error.strerror})") from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"] if part != "[key]")
            raise CorruptFile(
                path, f"it is not a lock ({where}: {first['msg'].removeprefix('Value error, ')})"
            ) from None
        except (ValueError, RecursionError) as error:
            raise CorruptFile(path, f"it is not valid TOML ({error})") from None

    def save(self, path: Path) -> None:
        """Write the lock, whole or not at all; the same content always gives the same bytes."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            temporary.write_text(self.to_toml(), encoding="utf-8", newline="\n")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def to_toml(self) -> str:
        """Give the file's text."""
        lines = [_HEADER, f"version = {self.version}"]
        for reference, locked in sorted(self.checkpoints.items()):
            table = f"checkpoints.{_quoted(reference)}"
            facts = locked.model_dump(exclude={"files"}, exclude_none=True)
            lines += ["", f"[{table}]", *(f"{name} = {_quoted(value)}" for name, value in facts.items())]
            lines += ["", f"[{table}.files]"]
            lines += [f"{_quoted(name)} = {_inline(file)}" for name, file in sorted(locked.files.items())]
        return "\n".join(lines) + "\n"

    def changed(self, changes: Mapping[str, LockedCheckpoint | None]) -> Lock:
        """Give a lock with these references set, or taken out where they are None."""
        every = {**self.checkpoints, **changes}
        return Lock(checkpoints={reference: locked for reference, locked in every.items() if locked is not None})


def _quoted(text: str) -> str:
    """Give a TOML basic string: quotes, backslashes and whatever cannot be seen are escaped."""
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08X}"


def _inline(file: LockedFile) -> str:
    git_blob = f", git_blob = {_quoted(file.git_blob)}" if file.git_blob else ""
    return f"{{ size_bytes = {file.size_bytes}, sha256 = {_quoted(file.sha256)}{git_blob} }}"


# --- the lock of the project ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pin:
    """What the lock at `path` holds for a reference that stands in it."""

    path: Path
    reference: str
    locked: LockedCheckpoint


def lock_path() -> Path | None:
    """Give the zoo.lock of the project: in this folder, or the nearest above it. Or None.

    The search ends at the user's home folder, whose own counts only where one works right in it. ZOO_LOCK names a file
    instead; set but empty, there is no lock. In a folder where everybody may write, only the user's own file counts.
    """
    if (named := os.environ.get("ZOO_LOCK")) is not None:
        return Path(named).expanduser() if named else None
    here = Path.cwd()
    for folder in (here, *here.parents):
        if folder != here and folder in (_home(), Path(folder.anchor)):
            return None
        path = folder / LOCK_FILE
        if path.is_file() and _is_trusted(path):
            return path
    return None


def _home() -> Path | None:
    try:
        return Path.home().resolve()
    except RuntimeError:  # nobody's
        return None


def _is_trusted(path: Path) -> bool:
    everybody_writes = path.parent.stat().st_mode & 0o002
    return not everybody_writes or not hasattr(os, "getuid") or path.stat().st_uid == os.getuid()


def find_pin(reference: Reference) -> Pin | None:
    """Give what the project's lock holds for a reference; None without a lock, or where it does not name it.

    The default revision and the locked commit itself are what is locked. Raises CorruptFile, InvalidReference for an
    unknown name, and LockConflict for another revision of something that is locked.
    """
    path = lock_path()
    if path is None:
        return None
    lock = Lock.load(path)
    known = _entries(lock, reference)
    wanted = reference.revision or DEFAULT_REVISION
    for text, locked in known.items():
        if wanted in (parse(text).revision or DEFAULT_REVISION, locked.commit):
            return Pin(path, text, locked)
    if known and reference.revision is not None:
        text, locked = next(iter(known.items()))
        raise LockConflict(str(reference), text, locked.commit, path)
    _tell_unlocked(str(reference), path)
    return None


def _entries(lock: Lock, reference: Reference) -> dict[str, LockedCheckpoint]:
    """Give what may be meant: entries of this name first, then those of the same repository under another."""
    name = reference.name or reference.repo_id
    same = {text: locked for text, locked in lock.checkpoints.items() if text.partition("@")[0] == name}
    repository = reference.repo_id
    if reference.name is not None and not same:
        entry = look_up(reference)
        repository = entry.repository if entry is not None else None
    return same | {text: locked for text, locked in lock.checkpoints.items() if locked.repository == repository}


@cache  # once a process
def _tell_unlocked(reference: str, path: Path) -> None:
    _log.warning(
        "%s does not hold '%s': it is loaded unlocked. To hold it: zoo lock add %s", path, reference, reference
    )
