"""Names from outside: repositories, paths, refs, digests. Each check gives the name back or refuses it."""

import re
import unicodedata

from zoo_registry.server.errors import BadRequest

_REPO_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REF_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")
_RESERVED_NAMESPACES = frozenset({"api", "buckets", "datasets", "kernels", "models", "spaces"})
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATH_BYTES = 1024
_SEGMENT_BYTES = 255


def repo_part(text: object, role: str) -> str:
    """A namespace or repository name: letters, digits, `.`, `_`, `-`, without a leading or trailing dot or dash.

    role: "namespace" or "name", for the message.
    Raises BadRequest.
    """
    if not isinstance(text, str) or not _REPO_PART.fullmatch(text) or ".." in text or "--" in text:
        raise BadRequest(
            f"Repository {role} {text!r} is not allowed: use up to 96 letters, digits, '.', '_' and '-', "
            "starting with a letter or digit, not ending in '.' or '-', without '..' or '--'."
        )
    if role == "namespace" and text.lower() in _RESERVED_NAMESPACES:
        raise BadRequest(f"Repository namespace {text!r} is reserved. Choose another one.")
    if text.lower().endswith(".git"):
        raise BadRequest(f"Repository {role} {text!r} must not end in '.git'.")
    return text


def file_path(text: object) -> str:
    """A file's path inside a repository: relative, `/` between segments, safe to create on any file system.

    Raises BadRequest, naming what is wrong.
    """
    if not isinstance(text, str) or not text:
        raise BadRequest(f"File path {text!r} is not allowed: it must be a non-empty string.")
    problem = _path_problem(text)
    if problem is not None:
        raise BadRequest(f"File path {text!r} is not allowed: {problem}.")
    return text


def _path_problem(text: str) -> str | None:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        return "it holds a control character"
    if "\\" in text:
        return "it holds a backslash"
    if text.startswith("/") or re.match(r"[A-Za-z]:", text):
        return "it is absolute"
    if len(text.encode()) > _PATH_BYTES:
        return f"it is longer than {_PATH_BYTES} bytes"
    for segment in text.split("/"):
        if not segment:
            return "it holds an empty segment"
        if segment in (".", ".."):
            return f"it holds the segment {segment!r}"
        if segment.rstrip(" .").lower() == ".git":
            return "it leads into .git"
        if len(segment.encode()) > _SEGMENT_BYTES:
            return f"a segment is longer than {_SEGMENT_BYTES} bytes"
    return None


def ref_name(text: object) -> str:
    """A branch or tag name: letters, digits, `.`, `_`, `+`, `-`, in segments parted by `/`.

    Raises BadRequest; also for names that look like a commit id, which would hide that commit.
    """
    parts = text.split("/") if isinstance(text, str) else []
    well_formed = parts and all(_REF_PART.fullmatch(part) and ".." not in part for part in parts)
    if not well_formed or parts[-1].endswith((".lock", ".")) or parts[0] == "refs" or text == "HEAD":
        raise BadRequest(
            f"Ref name {text!r} is not allowed: use letters, digits, '.', '_', '+' and '-' in segments parted by '/', "
            "not starting with 'refs/' or a punctuation mark, not ending in '.' or '.lock'."
        )
    name = "/".join(parts)
    if re.fullmatch(r"[0-9a-fA-F]{40}", name):
        raise BadRequest(f"Ref name {name!r} is not allowed: it looks like a commit id.")
    return name


def sha256_hex(text: object) -> str:
    """A sha256 as 64 lowercase hexadecimal digits. Raises BadRequest."""
    if not isinstance(text, str) or not _SHA256.fullmatch(text):
        raise BadRequest(f"Object id {text!r} is not a sha256: 64 lowercase hexadecimal digits are expected.")
    return text


def size_bytes(value: object) -> int:
    """A size in bytes. Raises BadRequest unless it is an integer from 0 to 2**53."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 2**53:
        raise BadRequest(f"Size {value!r} is not a number of bytes.")
    return value


def is_commit(text: str) -> bool:
    """Whether `text` is a full commit id: 40 lowercase hexadecimal digits."""
    return _COMMIT.fullmatch(text) is not None
