"""Keys and values of what a decoder has read, so that the next token costs one position of work."""

import torch
from torch import Tensor


class LayerCache:
    """One layer's keys and values: (batch, kv_heads, capacity, head_dim), allocated once, filled from the left."""

    def __init__(self, capacity: int) -> None:
        """capacity: the most positions it will hold."""
        self.capacity = capacity
        self.length = 0
        self.source: tuple[Tensor, Tensor] | None = None  # cross-attention's, computed once
        self._memory: tuple[Tensor, Tensor] | None = None

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add new positions, and give all so far. key, value: (batch, kv_heads, time, head_dim)."""
        if self._memory is None:
            shape = (*key.shape[:2], self.capacity, key.shape[3])
            self._memory = key.new_empty(shape), value.new_empty(shape)
        start, self.length = self.length, self.length + key.shape[2]
        keys, values = self._memory
        keys[:, :, start : self.length] = key
        values[:, :, start : self.length] = value
        return keys[:, :, : self.length], values[:, :, : self.length]

    def reorder(self, rows: Tensor, shared: int) -> None:
        """Put rows in another order, int64 (batch); their first `shared` positions are the same, and stay."""
        changed = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
        if self._memory is not None and len(changed):
            for memory in self._memory:
                written = memory[:, :, shared : self.length]
                written[changed] = written[rows[changed]]

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, int64, in their order; one may come twice."""
        if self._memory is not None:
            kept = []
            for memory in self._memory:
                chosen = memory.new_empty((len(rows), *memory.shape[1:]))
                chosen[:, :, : self.length] = memory[rows, :, : self.length]
                kept.append(chosen)
            self._memory = kept[0], kept[1]
        if self.source is not None:
            self.source = self.source[0][rows], self.source[1][rows]


class Cache:
    """What every layer of a decoder keeps between passes."""

    def __init__(self, num_layers: int, capacity: int) -> None:
        """capacity: the most positions it will hold, those of the prompt included."""
        self.layers = [LayerCache(capacity) for _ in range(num_layers)]

    @property
    def length(self) -> int:
        """How many positions it holds."""
        return self.layers[0].length

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
            layer.length -= count
