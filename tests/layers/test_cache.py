"""The cache: what was put in comes out, in order."""

import pytest
import torch
from torch import Tensor

from zoo.layers.cache import CHUNK, SLACK, Cache, LayerCache

BATCH, KV_HEADS, HEAD_DIM = 3, 2, 5


def passes(*times: int) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    shapes = [(BATCH, KV_HEADS, time, HEAD_DIM) for time in times]
    return [(torch.randn(shape), torch.randn(shape)) for shape in shapes]


def test_each_pass_gives_all_positions_so_far() -> None:
    cache, given = LayerCache(capacity=9), passes(4, 1, 2)
    for count, (key, value) in enumerate(given, start=1):
        found = cache.extend(key, value)
        assert found[0].equal(torch.cat([k for k, _ in given[:count]], 2))
        assert found[1].equal(torch.cat([v for _, v in given[:count]], 2))
    assert cache.length == 7


def test_all_layers_of_a_cache_are_apart_and_count_alike() -> None:
    cache, ((key, value), (other_key, other_value)) = Cache(2, capacity=6), passes(4, 4)
    cache.layers[0].extend(key, value)
    cache.layers[1].extend(other_key, other_value)
    assert cache.length == 4
    cache.forget(1)
    assert cache.length == 3
    (last,) = passes(1)
    assert cache.layers[0].extend(*last)[0].equal(torch.cat([key[:, :, :3], last[0]], 2))
    assert cache.layers[1].extend(*last)[1].equal(torch.cat([other_value[:, :, :3], last[1]], 2))


@pytest.mark.parametrize("times", [(1,) * (SLACK + CHUNK + 90), (SLACK + CHUNK + 90, 3), (CHUNK, CHUNK, 2 * CHUNK, 1)])
def test_a_window_keeps_at_least_what_it_lets_see(times: tuple[int, ...]) -> None:
    window = 6
    cache, given = LayerCache(sum(times), window), passes(*times)
    keys, values = (torch.cat(parts, 2) for parts in zip(*given, strict=True))
    read = 0
    for time, (key, value) in zip(times, given, strict=True):
        found_keys, found_values = cache.extend(key, value)
        read += time
        kept = found_keys.shape[2]
        assert kept >= min(read, window + time - 1)
        assert found_keys.equal(keys[:, :, read - kept : read])
        assert found_values.equal(values[:, :, read - kept : read])
    assert cache.length == sum(times)


@pytest.mark.parametrize("shared", [0, 3])
def test_rows_take_the_place_of_others(shared: int) -> None:
    cache, ((key, value),) = Cache(1, capacity=8), passes(5)
    key[:, :, :shared], value[:, :, :shared] = key[:1, :, :shared], value[:1, :, :shared]
    cache.layers[0].extend(key, value)
    rows = [2, 1, 2]
    cache.select(rows, shared)
    (new,) = passes(1)
    found = cache.layers[0].extend(*new)
    assert found[0].equal(torch.cat([key[rows], new[0]], 2))
    assert found[1].equal(torch.cat([value[rows], new[1]], 2))


def test_rows_leave_and_come_twice() -> None:
    cache, ((key, value), source) = Cache(1, capacity=8), passes(5, 7)
    cache.layers[0].extend(key, value)
    cache.layers[0].source = source
    rows = [2, 0, 0, 2]
    cache.select(rows)
    new = torch.randn(4, KV_HEADS, 1, HEAD_DIM), torch.randn(4, KV_HEADS, 1, HEAD_DIM)
    found = cache.layers[0].extend(*new)
    assert found[0].equal(torch.cat([key[rows], new[0]], 2))
    assert found[1].equal(torch.cat([value[rows], new[1]], 2))
    kept = cache.layers[0].source
    assert kept is not None
    assert kept[0].equal(source[0][rows])
    assert kept[1].equal(source[1][rows])
