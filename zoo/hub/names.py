"""File names as a hub gives them: what may become a path on this machine, whatever its system and disk are like."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from zoo.errors import RefusedContent

PART_LIMIT_BYTES = 255  # of one folder's or file's name: the limit of most disks
NAME_LIMIT = 1000
_DEVICE = re.compile(r"(con|prn|aux|nul|clock\$|conin\$|conout\$|(com|lpt)[0-9¹²³])", re.IGNORECASE)
_TELL = "Nothing was fetched. Tell the operator of the hub"
_RENAME = "Nothing of it can be used. Ask its author to rename it"


def check_file_name(name: Any, where: str) -> None:
    """Refuse a file name that could leave the folder it is put in, or hide what it is. Raises RefusedContent."""
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    plain = (
        parts
        and "/".join(parts) == name
        and not name.startswith("/")
        and not any(part in (".", "..") or part.lower() == ".git" or "\\" in part or ":" in part for part in parts)
        and name.isprintable()  # neither control characters nor those that turn the direction of what follows
        and len(name) < NAME_LIMIT
    )
    if not plain:
        raise _refused(where, f"{name!r}, which could be written outside its folder", _TELL)


def check_chosen_names(names: Iterable[str], where: str) -> None:
    """Refuse names, of files that are to be stored, which some disk or system could not hold beside each other.

    That is so on every machine: what one could store and another not would not be the same checkpoint.
    Raises RefusedContent.
    """
    files: dict[str, str] = {}
    for name in names:
        for part in name.split("/"):
            reason = _unusable(part)
            if reason:
                raise _refused(where, f"{name!r}, which {reason}", _RENAME)
        other = files.setdefault(_folded(name), name)
        if other != name:
            reason = f"{name!r} and one named {other!r}, which are the same on a disk that is blind to case"
            raise _refused(where, reason, _RENAME)
    for name in files.values():
        for folder in PurePosixPath(name).parents:
            file = files.get(_folded(str(folder)))
            if file is not None:
                raise _refused(where, f"{file!r}, and one named {name!r} inside it", _RENAME)


def _unusable(part: str) -> str | None:
    """Say why a folder or file cannot have this name everywhere, or None."""
    if _DEVICE.fullmatch(part.split(".")[0].rstrip(" ")):
        return "is a device on Windows"
    if part.endswith((".", " ")):
        return "ends in a dot or a space"
    if any(character in '<>"|?*' for character in part):
        return "has a character that Windows does not allow"
    if len(part.encode("utf-8")) > PART_LIMIT_BYTES:
        return f"has a part of more than {PART_LIMIT_BYTES} bytes"
    return None


def _folded(name: str) -> str:
    """Give what a disk compares that is blind to case and to how characters are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _refused(where: str, named: str, cure: str) -> RefusedContent:
    return RefusedContent(f"The repository '{where}'", f"it has a file named {named}", cure)
