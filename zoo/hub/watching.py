"""Being told how a pull or a push goes on."""

from __future__ import annotations

import threading
from typing import Protocol


class Watcher(Protocol):
    """Told how a pull or push goes on; by one thread at a time."""

    def asked(self, endpoint: str) -> None:
        """A hub is asked: what follows is not from the store alone."""
        ...

    def renamed(self, old: str, new: str) -> None:
        """A repository has another name now, and the hub follows it there."""
        ...

    def advanced(self, name: str, count: int, size_bytes: int) -> None:
        """So many bytes more of a file, of `size_bytes` in all, are in place; fewer, where count is negative."""
        ...


class Silent:
    """A Watcher that does nothing."""

    def asked(self, endpoint: str) -> None:
        """Ignored."""

    def renamed(self, old: str, new: str) -> None:
        """Ignored."""

    def advanced(self, name: str, count: int, size_bytes: int) -> None:
        """Ignored."""


class OneAtATime:
    """A Watcher that many threads may tell: it hands on to another, from one thread at a time."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher, self._lock = watcher, threading.Lock()

    def asked(self, endpoint: str) -> None:
        with self._lock:
            self._watcher.asked(endpoint)

    def renamed(self, old: str, new: str) -> None:
        with self._lock:
            self._watcher.renamed(old, new)

    def advanced(self, name: str, count: int, size_bytes: int) -> None:
        with self._lock:
            self._watcher.advanced(name, count, size_bytes)
