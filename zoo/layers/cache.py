"""Keys and values of what a decoder has read, so that the next token costs one position of work."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from zoo.layers.timeline import Timeline

CHUNK = 1024  # the most positions that are read at once into a window without copying
SLACK = 64  # positions that may be taken back


class LayerCache:
    """One layer's keys and values: (batch, kv_heads, capacity, head_dim), allocated once, filled from the left.

    A layer that looks back over a window only keeps no more than that, and some slack: when its memory is full, what no
    later position will see makes room. `length` counts all positions that were read.
    """

    def __init__(self, capacity: int, window: int | None = None) -> None:
        """capacity: the most positions it will read. window: how many of them a position sees; None for all."""
        self.length = 0
        self.source: tuple[Tensor, Tensor] | None = None  # cross-attention's, computed once
        self._window = sys.maxsize if window is None else window
        self._kept = capacity if window is None else window + SLACK
        self._most = sys.maxsize if window is None else self._kept + CHUNK
        self.capacity = min(capacity, self._most)
        self._stored = 0
        self._memory: tuple[Tensor, Tensor] | None = None

    @property
    def memory(self) -> tuple[Tensor, Tensor] | None:
        """Keys and values with what is not filled yet, (batch, kv_heads, capacity, head_dim); None before the first pass."""
        return self._memory

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add new positions, (batch, kv_heads, time, head_dim), and give at least all that they see, the new ones last.

        To one new position exactly what it sees is given, so that it needs no mask for its window.
        """
        time = key.shape[2]
        if self._memory is None:
            shape = (*key.shape[:2], self.capacity, key.shape[3])
            self._memory = key.new_zeros(shape), value.new_zeros(shape)  # a mask hides numbers alone, not what is none
        self.length += time
        if self._stored + time > self.capacity:
            self._make_room()
        if self._stored + time > self.capacity:
            return self._too_many(key, value)
        start, self._stored = self._stored, self._stored + time
        keys, values = self._memory
        keys[:, :, start : self._stored] = key
        values[:, :, start : self._stored] = value
        first = max(0, self._stored - self._window) if time == 1 else 0
        return keys[:, :, first : self._stored], values[:, :, first : self._stored]

    def _make_room(self) -> None:
        """Move what may still be seen to the front."""
        assert self._memory is not None
        kept = min(self._stored, self._kept)
        for memory in self._memory:
            memory[:, :, :kept] = memory[:, :, self._stored - kept : self._stored].clone()
        self._stored = kept

    def _too_many(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Take in more positions at once than there is room for: all are seen now, the last ones kept."""
        assert self._memory is not None
        every = []
        for memory, new in zip(self._memory, (key, value), strict=True):
            whole = torch.cat([memory[:, :, : self._stored], new], 2)
            memory[:, :, : self._kept] = whole[:, :, -self._kept :]
            every.append(whole)
        self._stored = self._kept
        return every[0], every[1]

    def count(self) -> None:
        """Take note of a position that a step with the cache's own memory wrote (see zoo.layers.static)."""
        self.length += 1
        self._stored += 1

    def forget(self, count: int) -> None:
        """Take back the last positions, at most SLACK of them where there is a window."""
        self.length -= count
        self._stored -= count

    @property
    def revocable(self) -> int:
        """How many of the last positions may be taken back, so that all that the next one sees is still there."""
        return self.length if self._stored == self.length else max(0, self._stored - (self._kept - SLACK))

    @property
    def rows(self) -> int:
        """How many texts were read side by side; 0 before the first."""
        return 0 if self._memory is None else self._memory[0].shape[0]

    @property
    def size_bytes(self) -> int:
        """What it takes."""
        return sum(memory.nbytes for memory in self._memory or ())

    def grow(self, capacity: int) -> None:
        """Make room for more positions, `capacity` in all, where a layer sees them all."""
        capacity = min(capacity, self._most)
        if capacity <= self.capacity:
            return
        self.capacity = capacity
        if self._memory is not None:
            larger = []
            for memory in self._memory:
                moved = memory.new_zeros((*memory.shape[:2], capacity, memory.shape[3]))
                moved[:, :, : self._stored] = memory[:, :, : self._stored]
                larger.append(moved)
            self._memory = larger[0], larger[1]

    def select(self, moves: Moves, shared: int) -> None:
        """Put rows in another order; see Cache.select."""
        if self._memory is not None:
            first = max(0, shared - (self.length - self._stored))
            keys, values = (moves.apply(memory, first, self._stored) for memory in self._memory)
            self._memory = keys, values
        if self.source is not None and not shared:
            keys, values = (moves.apply(part, 0, part.shape[2]) for part in self.source)
            self.source = keys, values


class Moves:
    """Which rows of a batch go where. Only those that change their place are copied."""

    def __init__(self, rows: Sequence[int]) -> None:
        """rows: the row that each place takes over; one may come twice."""
        self._count = len(rows)
        self._moves = [(place, row) for place, row in enumerate(rows) if place != row]
        written = {place for place, _ in self._moves}
        self._set_aside = sorted({row for _, row in self._moves} & written)

    def apply(self, memory: Tensor, first: int, stop: int) -> Tensor:
        """Move what stands at positions `first` to `stop` of (batch, heads, positions, head_dim); give all rows that remain.

        It is done in place, and in new memory only where rows are added.
        """
        batch = memory.shape[0]
        if self._count > batch:
            grown = memory.new_zeros((self._count, *memory.shape[1:]))
            grown[:batch, :, :stop] = memory[:, :, :stop]
            first, memory = 0, grown
        written = memory[:, :, first:stop]
        aside = {row: written[row].clone() for row in self._set_aside}
        for place, row in self._moves:
            written[place].copy_(aside[row] if row in aside else written[row])
        return memory[: self._count]


class Cache:
    """What every layer of a decoder keeps between passes."""

    def __init__(self, num_layers: int, capacity: int, windows: Sequence[int | None] = ()) -> None:
        """capacity: the most positions it will read, those of the prompt included. windows: of each layer, if any."""
        self.layers = [LayerCache(capacity, window) for window in windows or [None] * num_layers]
        self.capacity = capacity
        self.padding: Tensor | None = None
        """How many of each row's first positions are padding, int64 (batch, 1), where passes come without a mask."""
        self.timeline: Timeline | None = None

    @property
    def length(self) -> int:
        """How many positions were read."""
        return self.layers[0].length

    @property
    def is_even(self) -> bool:
        """Whether every layer has read as much."""
        return len({layer.length for layer in self.layers}) == 1

    @property
    def revocable(self) -> int:
        """How many of the last positions may be taken back."""
        return min(layer.revocable for layer in self.layers)

    @property
    def rows(self) -> int:
        """How many texts were read side by side."""
        return self.layers[0].rows

    @property
    def size_bytes(self) -> int:
        """What all layers take."""
        return sum(layer.size_bytes for layer in self.layers)

    def grow(self, capacity: int) -> None:
        """See LayerCache."""
        self.capacity, self.timeline = max(self.capacity, capacity), None
        for layer in self.layers:
            layer.grow(capacity)

    def attention_mask(self, time: int) -> Tensor | None:
        """Give the mask of so many positions, bool (batch, time), as `padding` says; None for no padding."""
        return None if self.padding is None else torch.arange(time, device=self.padding.device) >= self.padding

    def select(self, rows: Sequence[int], shared: int = 0) -> None:
        """Go on with these rows, in their order; one may come twice.

        shared: how many of their first positions, and of what is kept of a source and of padding, is the same for each
        row as for the one whose place it takes.
        """
        moves = Moves(rows)
        for layer in self.layers:
            layer.select(moves, shared)
        if self.padding is not None and not shared:
            chosen = torch.tensor(list(rows), dtype=torch.int64, device=self.padding.device)
            self.padding = self.padding[chosen]
            if self.timeline is not None:
                self.timeline.select(chosen)

    def forget(self, count: int) -> None:
        """Take back the last positions."""
        for layer in self.layers:
            layer.forget(count)
