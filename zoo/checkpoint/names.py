"""File names that others chose: accepted only where they mean the same on every disk, inside the folder they are put in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

# Names that Windows gives to devices, whatever ending follows, in any folder.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)


def is_safe_name(name: Any) -> bool:
    """Tell whether a file of this name, with `/` between folders, would be written inside its folder on every system."""
    if not isinstance(name, str) or not name.isprintable() or len(name) >= 1000:
        return False
    parts = PurePosixPath(name).parts
    return bool(parts) and "/".join(parts) == name and not name.startswith("/") and all(map(_is_plain, parts))


def _is_plain(part: str) -> bool:
    return (
        part != ".."
        and part.lower() != ".git"
        and "\\" not in part
        and ":" not in part
        and not part.endswith((".", " "))
        and not _DEVICE.fullmatch(part)
        and len(part.encode("utf-8")) <= 255
    )


def same_when_folded(names: Iterable[str]) -> tuple[str, str] | None:
    """Give two names that are one on a disk that does not tell cases apart, or None."""
    seen: dict[str, str] = {}
    for name in names:
        for path in (name, *(str(parent) for parent in PurePosixPath(name).parents if parent.name)):
            other = seen.setdefault(path.casefold(), path)
            if other != path:
                return other, path
    return None
