"""What stays between calls that begin alike: keys and values of a text, so that it is not read again."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

    from zoo.generation.decoding import Row
    from zoo.layers.cache import Cache


class PrefixCache:
    """Keeps what a decoder read in one call of `generate` for the next: only what differs from there on is read.

    It holds the keys and values of one text, prompt and answer, as long as it lives or until `clear`; `size_bytes` says
    how much that is. It serves one model at a time, and starts anew with another, or after a change of dtype or device.
    Of layers that look back over a window only the last positions are there, so a text that parts ways earlier is read
    from the start. After training the model, clear it.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Let go of what is held."""
        self._cache: Cache | None = None
        self._given: Sequence[int] = ()
        self._row: Row | None = None
        self._reader: tuple[weakref.ref[nn.Module], torch.device, torch.dtype] | None = None

    @property
    def token_ids(self) -> list[int]:
        """The text that was read: prompt and answer, up to the last token that was looked at."""
        if self._cache is None:
            return []
        return [*self._given, *(self._row.token_ids if self._row else ())][: self._cache.length]

    @property
    def size_bytes(self) -> int:
        """The memory that is held."""
        return 0 if self._cache is None else self._cache.size_bytes

    def take(self, backbone: nn.Module, token_ids: Sequence[int], capacity: int) -> tuple[Cache, int]:
        """Give a cache for a text, and how many of its first tokens are in it: all but the last at most.

        capacity: the most positions that the cache will hold. What was held is handed over: see `hold`.
        """
        cache, held = self._cache, self.token_ids
        parameter = next(backbone.parameters())
        reader = (weakref.ref(backbone), parameter.device, parameter.dtype)
        same = self._reader == reader
        self.clear()
        self._reader = reader
        common = 0
        while common < min(len(held), len(token_ids) - 1) and held[common] == token_ids[common]:
            common += 1
        # An interruption may leave one layer ahead of another.
        if cache is None or not same or not cache.is_even or cache.length - common > cache.revocable:
            fresh: Cache = backbone.new_cache(capacity)  # type: ignore[operator]
            return fresh, 0
        if cache.rows > 1:  # answers that were followed side by side have their prompt in common
            cache.select(torch.zeros(1, dtype=torch.int64, device=parameter.device))
        cache.forget(cache.length - common)
        cache.grow(capacity)
        return cache, common

    def hold(self, cache: Cache, given: Sequence[int], row: Row | None) -> None:
        """Keep a cache for the next call. given: the prompt that it has read. row: the answer too, where it has just one."""
        self._cache, self._given, self._row = cache, given, row
