"""A cache in one shape for all of a text, so that a compiled step serves every position without being compiled again."""

from torch import Tensor

from zoo.layers.cache import Cache, LayerCache


class StaticLayerCache(LayerCache):
    """A layer's memory, written at a place that a tensor names and read as a whole; masks hide what is not seen."""

    def __init__(self, memory: tuple[Tensor, Tensor], source: tuple[Tensor, Tensor] | None, past: Tensor) -> None:
        """memory: see LayerCache. past: int64 (1), how many positions were read."""
        self.keys, self.values = memory
        self.source = source
        self.past = past

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write one new position, (batch, kv_heads, 1, head_dim), and give all of the memory."""
        self.keys.index_copy_(2, self.past, key)
        self.values.index_copy_(2, self.past, value)
        return self.keys, self.values


class StaticCache(Cache):
    """The layers of a cache, seen so. They are the same memory."""

    def __init__(self, cache: Cache, past: Tensor) -> None:
        """cache: with at least one position read, and no windows. past: int64 (1), how many positions were read."""
        self.layers = []
        for layer in cache.layers:
            assert layer.memory is not None
            self.layers.append(StaticLayerCache(layer.memory, layer.source, past))
        self.timeline = cache.timeline
