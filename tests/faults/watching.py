"""Watching what a parse does: which events it raises outside one folder, how long it takes, and how much it holds."""

import os
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS_A_CASE = 5.0  # of processor time
SPARE_BYTES = 1 << 30  # address space over what the imports took; a case that wants more raises MemoryError
_READS = ("open", "os.listdir", "os.scandir", "pathlib.Path.glob", "pathlib.Path.rglob")
_FORBIDDEN = (
    "socket.", "subprocess.", "os.", "shutil.", "tempfile.", "ctypes.", "urllib.", "http.", "ftplib.", "smtplib.",
    "exec", "compile", "import", "pty.", "signal.", "cpython.run", "code.__new__", "pickle.", "marshal.", "glob.",
)  # fmt: skip


class Strayed(BaseException):
    """The parse did something outside the folder. No Exception: nothing that the parse catches."""


class TooSlow(BaseException):
    """The parse took longer than a case may."""


class Watch:
    """An audit hook, which is there for good: whoever makes one does so in a process of its own."""

    def __init__(self, own: Sequence[Path] = ()) -> None:
        """own: folders of Zoo itself that may be read too."""
        self._own = [os.path.realpath(folder) for folder in own]
        self._folder: str | None = None
        self._strayed: list[str] = []
        self.seen: set[str] = set()
        sys.addaudithook(self._audit)
        signal.signal(signal.SIGPROF, self._ring)

    @contextmanager
    def over(self, folder: Path) -> Iterator[None]:
        """Let nothing happen but reading inside the folder, for a few seconds at most. Raises Strayed, TooSlow."""
        signal.setitimer(signal.ITIMER_PROF, SECONDS_A_CASE)
        self._folder = os.path.realpath(folder)
        self._strayed.clear()
        try:
            yield
        finally:
            self._folder = None
            signal.setitimer(signal.ITIMER_PROF, 0)
            if self._strayed:  # also where something on the way caught it
                raise Strayed(self._strayed[0])

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        folder = self._folder
        if folder is None or not event.startswith((*_READS, *_FORBIDDEN)):
            return
        self._folder = None  # what the judgement itself does is not watched
        self.seen.add(event)
        inside = event in _READS and self._reads_inside(event, arguments, folder)
        self._folder = folder
        if not inside:
            self._strayed.append(f"{event}{arguments!r}"[:300])
            raise Strayed(self._strayed[0])

    def _reads_inside(self, event: str, arguments: tuple[Any, ...], folder: str) -> bool:
        if event == "open" and any(sign in str(arguments[1] or "") for sign in "wax+"):
            return False
        if isinstance(arguments[0], int):
            return True  # a file that is open already
        path = os.path.realpath(os.fsdecode(arguments[0]))
        return any(path == root or path.startswith(root + os.sep) for root in (folder, *self._own))

    @staticmethod
    def _ring(number: int, frame: Any) -> None:
        raise TooSlow(f"longer than {SECONDS_A_CASE} seconds")


def limit_memory() -> None:
    """Let the process have little more address space than it has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def peak_bytes() -> int:
    """The most memory that the process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
