"""Keys and values of what a decoder has read, so that the next token costs one position of work."""

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


class Cache:
    """What every layer of a decoder keeps between passes."""

    def __init__(self, num_layers: int, capacity: int) -> None:
        """capacity: the most positions it will hold, those of the prompt included."""
        self.layers = [LayerCache(capacity) for _ in range(num_layers)]

    @property
    def length(self) -> int:
        """How many positions it holds."""
        return self.layers[0].length
