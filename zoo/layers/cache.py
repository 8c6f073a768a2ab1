"""Keys and values of what a decoder has read, so that the next token costs one position of work."""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor

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
        self._kept = capacity if window is None else window + SLACK
        self._most = sys.maxsize if window is None else self._kept + CHUNK
        self.capacity = min(capacity, self._most)
        self._stored = 0
        self._memory: tuple[Tensor, Tensor] | None = None

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add new positions, (batch, kv_heads, time, head_dim), and give all that are kept, the new ones last."""
        time = key.shape[2]
        if self._memory is None:
            shape = (*key.shape[:2], self.capacity, key.shape[3])
            self._memory = key.new_empty(shape), value.new_empty(shape)
        self.length += time
        if self._stored + time > self.capacity:
            self._make_room()
        if self._stored + time > self.capacity:
            return self._too_many(key, value)
        start, self._stored = self._stored, self._stored + time
        keys, values = self._memory
        keys[:, :, start : self._stored] = key
        values[:, :, start : self._stored] = value
        return keys[:, :, : self._stored], values[:, :, : self._stored]

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
                moved = memory.new_empty((*memory.shape[:2], capacity, memory.shape[3]))
                moved[:, :, : self._stored] = memory[:, :, : self._stored]
                larger.append(moved)
            self._memory = larger[0], larger[1]

    def reorder(self, rows: Tensor, shared: int) -> None:
        """Put rows in another order, int64 (batch); their first `shared` positions are the same, and stay."""
        changed = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
        first = max(0, shared - (self.length - self._stored))
        if self._memory is not None and len(changed):
            for memory in self._memory:
                written = memory[:, :, first : self._stored]
                written[changed] = written[rows[changed]]

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, int64, in their order; one may come twice."""
        if self._memory is not None:
            kept = []
            for memory in self._memory:
                chosen = memory.new_empty((len(rows), *memory.shape[1:]))
                chosen[:, :, : self._stored] = memory[rows, :, : self._stored]
                kept.append(chosen)
            self._memory = kept[0], kept[1]
        if self.source is not None:
            self.source = self.source[0][rows], self.source[1][rows]


class Cache:
    """What every layer of a decoder keeps between passes."""

    def __init__(self, num_layers: int, capacity: int, windows: Sequence[int | None] = ()) -> None:
        """capacity: the most positions it will read, those of the prompt included. windows: of each layer, if any."""
        self.layers = [LayerCache(capacity, window) for window in windows or [None] * num_layers]

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
        for layer in self.layers:
            layer.grow(capacity)

    def reorder(self, rows: Tensor, shared: int) -> None:
        """See LayerCache."""
        for layer in self.layers:
            layer.reorder(rows, shared)

    def select(self, rows: Tensor) -> None:
        """See LayerCache."""
        for layer in self.layers:
            layer.select(rows)

    def forget(self, count: int) -> None:
        """Take back the last positions."""
        for layer in self.layers:
            layer.forget(count)
