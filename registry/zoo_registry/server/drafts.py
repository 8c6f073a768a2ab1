"""A commit request as it arrives: one JSON object a line, each checked and put on disk at once."""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from zoo_registry.server.errors import BadRequest
from zoo_registry.server.gitobjects import POINTER_START, object_id
from zoo_registry.server.names import file_path, sha256_hex, size_bytes
from zoo_registry.server.objects import ObjectStore, Received


@dataclass(frozen=True)
class Header:
    """What a commit says of itself. parent: the commit id, or the start of one, that it was made for."""

    summary: str
    description: str
    parent: str | None

    @property
    def message(self) -> str:
        """The whole commit message, as git keeps it."""
        return f"{self.summary}\n\n{self.description}" if self.description else self.summary


@dataclass(frozen=True)
class AddFile:
    """A small file whose content came with the request; blob: its git id."""

    path: str
    blob: str
    received: Received


@dataclass(frozen=True)
class AddObject:
    """A large file that was uploaded before; size in bytes, where the client says it."""

    path: str
    sha256: str
    size: int | None


@dataclass(frozen=True)
class DeleteFile:
    """A file to take away."""

    path: str


@dataclass(frozen=True)
class DeleteFolder:
    """A folder to take away with all in it."""

    path: str


Operation = AddFile | AddObject | DeleteFile | DeleteFolder


class Draft:
    """The header and operations read so far; use it in a `with` block, so that what is not committed goes away."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._digest = hashlib.sha256()
        self._header: Header | None = None
        self.operations: list[Operation] = []

    @property
    def header(self) -> Header:
        """The commit's header. Raises BadRequest if none has come."""
        if self._header is None:
            raise BadRequest("The commit request has no line with the key 'header'.")
        return self._header

    @property
    def request(self) -> str:
        """The sha256 of the request: the same for a request that is sent again."""
        return self._digest.hexdigest()

    def add_lines(self, lines: Iterable[bytes | bytearray]) -> None:
        """Read further lines. Raises BadRequest for one that is malformed or names a bad path."""
        for line in lines:
            self._digest.update(line + b"\n")
            if line.strip():
                self._add(*_key_and_value(line))

    def _add(self, key: object, value: dict[str, Any]) -> None:
        if key == "header":
            self._header = _header(value)
        elif key == "file":
            self.operations.append(self._add_file(value))
        elif key == "lfsFile":
            self.operations.append(_add_object(value))
        elif key == "deletedFile":
            self.operations.append(DeleteFile(file_path(value.get("path"))))
        elif key == "deletedFolder":
            path = value.get("path")
            self.operations.append(DeleteFolder(file_path(path.removesuffix("/") if isinstance(path, str) else path)))
        else:
            raise BadRequest(
                f"Commit operation {key!r} is unknown; known are header, file, lfsFile, deletedFile and deletedFolder."
            )

    def _add_file(self, value: dict[str, Any]) -> AddFile:
        path = file_path(value.get("path"))
        content = _content(path, value)
        if content.startswith(POINTER_START):
            raise BadRequest(
                f"File {path!r} is a Git LFS pointer, not the file itself. "
                "Fetch the file ('git lfs pull'), then upload it."
            )
        return AddFile(path, object_id("blob", content), self._store.receive(content))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for operation in self.operations:
            if isinstance(operation, AddFile):
                operation.received.discard()


def _key_and_value(line: bytes | bytearray) -> tuple[object, dict[str, Any]]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or not isinstance(data.get("value"), dict):
        raise BadRequest('A line of the commit request is not a JSON object {"key": ..., "value": {...}}.')
    return data.get("key"), data["value"]


def _header(value: dict[str, Any]) -> Header:
    summary, description, parent = value.get("summary"), value.get("description") or "", value.get("parentCommit")
    if not isinstance(summary, str) or not summary.strip() or not isinstance(description, str):
        raise BadRequest("The commit header needs a 'summary', and 'description' must be a string.")
    if "\0" in summary + description or not _encodes(summary + description):
        raise BadRequest("The commit message holds characters that git can't keep.")
    if parent is not None and not (isinstance(parent, str) and 5 <= len(parent) <= 40 and _is_hex(parent)):
        raise BadRequest(f"Parent commit {parent!r} is not a commit id: 5 to 40 hexadecimal digits are expected.")
    return Header(summary.strip(), description, parent.lower() if parent else None)


def _add_object(value: dict[str, Any]) -> AddObject:
    algorithm, size = value.get("algo", "sha256"), value.get("size")
    if algorithm != "sha256":
        raise BadRequest(f"LFS hash algorithm {algorithm!r} is not supported; use sha256.")
    size = None if size is None else size_bytes(size)
    return AddObject(file_path(value.get("path")), sha256_hex(value.get("oid")), size)


def _content(path: str, value: dict[str, Any]) -> bytes:
    content, encoding = value.get("content"), value.get("encoding", "utf-8")
    if not isinstance(content, str) or encoding not in ("base64", "utf-8"):
        raise BadRequest(f"File {path!r} needs 'content', a string, and 'encoding', 'base64' or 'utf-8'.")
    try:
        return base64.b64decode(content, validate=True) if encoding == "base64" else content.encode()
    except (binascii.Error, UnicodeEncodeError):
        raise BadRequest(f"The content of file {path!r} is not valid {encoding}.") from None


def _is_hex(text: str) -> bool:
    return all(digit in "0123456789abcdefABCDEF" for digit in text)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
