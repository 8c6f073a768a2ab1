"""How a user names a checkpoint: a catalogue name, `org/name`, `org/name@revision` or `./folder`."""

import re
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import InvalidReference

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?"
_SHORT = re.compile(_NAME)
_REPOSITORY = re.compile(f"{_NAME}/{_NAME}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Reference:
    """What the user typed, taken apart. Exactly one of `name`, `repo_id` and `folder` is set.

    name: a catalogue name, still to be looked up; repo_id: `org/name` on a hub; folder: a local path.
    revision: a branch, tag or commit, None for the default.
    """

    name: str | None = None
    repo_id: str | None = None
    folder: Path | None = None
    revision: str | None = None

    def __str__(self) -> str:
        if self.folder is not None:
            return str(self.folder)
        named = self.repo_id or self.name or ""
        return f"{named}@{self.revision}" if self.revision else named


def parse(ref: str | Path, revision: str | None = None) -> Reference:
    """Give the Reference that a text means. A Path is a folder, however it is written.

    A path is what starts with `/`, `./`, `../` or `~`, or is `.` or `..`; anything else names a repository or a
    catalogue entry. revision: an alternative to `@revision` in the text.
    Raises InvalidReference.
    """
    text = str(ref)
    if isinstance(ref, Path) or text in (".", "..") or text.startswith(("/", "./", "../", "~")):
        if revision is not None:
            raise InvalidReference(text, "a folder has no revisions")
        try:
            return Reference(folder=Path(text).expanduser())
        except (RuntimeError, ValueError):
            raise InvalidReference(text, f"there is no user whose folder '{text.split('/')[0]}' would be") from None
    if "://" in text:
        raise InvalidReference(text, f"no installed plugin knows the scheme '{text.split('://')[0]}'")
    named, at, written = text.partition("@")
    if at and revision is not None and written != revision:
        raise InvalidReference(text, f"it names the revision '{written}', but revision='{revision}' was given too")
    chosen = written if at else revision
    if chosen is not None:
        check_revision(chosen, text)
    if is_repository(named):
        return Reference(repo_id=named, revision=chosen)
    if _SHORT.fullmatch(named):
        return Reference(name=named, revision=chosen)
    raise InvalidReference(text, "names consist of letters, digits, '-', '_' and '.', with at most one '/'")


def check_revision(revision: str, reference: str) -> None:
    """Refuse a revision that could not be a branch, a tag or a commit. Raises InvalidReference."""
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision:
        raise InvalidReference(reference, f"'{revision}' cannot be a branch, a tag or a commit")


def is_repository(name: object) -> bool:
    """Tell whether a name is an `org/name`, as repositories on a hub are called."""
    if not isinstance(name, str) or not _REPOSITORY.fullmatch(name):
        return False
    return len(name) <= 96 and ".." not in name and "--" not in name


def is_commit(revision: object) -> bool:
    """Tell whether a revision is a full commit id (40 lower-case hexadecimal digits)."""
    return isinstance(revision, str) and _COMMIT.fullmatch(revision) is not None
