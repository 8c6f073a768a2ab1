"""A cache keeps no more of the past than a window lets a layer see, and nothing changes."""

import pytest
import torch
from torch import nn

from zoo.layers import cache as caches
from zoo.layers.attention import Attention
from zoo.layers.blocks import PreNormLayer
from zoo.layers.cache import Cache
from zoo.layers.embeddings import TokenEmbeddings
from zoo.layers.feedforward import FeedForward
from zoo.layers.rotary import Rotary
from zoo.layers.stacks import Decoder, Reach

WINDOWS = (5, None, 3)


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    layers = [
        PreNormLayer(
            attention=Attention(hidden_size=24, num_attention_heads=6, num_key_value_heads=2, causal=True),
            attention_norm=nn.LayerNorm(24),
            feedforward=FeedForward(hidden_size=24, intermediate_size=40, activation="relu"),
            feedforward_norm=nn.LayerNorm(24),
        )
        for _ in WINDOWS
    ]
    reaches = [Reach(window, Rotary(4, 100.0)) for window in WINDOWS]
    return Decoder(embeddings=TokenEmbeddings(nn.Embedding(53, 24)), layers=layers, reaches=reaches).eval()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "CHUNK", 4)
    monkeypatch.setattr(caches, "SLACK", 2)


def memory_of(cache: Cache) -> list[int]:
    return [layer._memory[0].shape[2] for layer in cache.layers if layer._memory is not None]


@pytest.mark.parametrize(
    "sizes", [[1] * 30, [4] * 7 + [2], [4, 1, 1, 4, 1, 4, 4, 4, 1, 1, 1, 4], [19, 1, 1, 9], [30]], ids=str
)
@pytest.mark.parametrize("padded", [False, True])
def test_however_a_text_is_read_its_states_are_the_same(decoder: Decoder, sizes: list[int], padded: bool) -> None:
    ids = torch.randint(0, 53, (2, 30), generator=torch.Generator().manual_seed(4))
    mask = torch.arange(30)[None, :] >= torch.tensor([[0], [7]]) if padded else None
    cache, parts, read = decoder.new_cache(30), [], 0
    with torch.no_grad():
        for size in sizes:
            seen = None if mask is None else mask[:, : read + size]
            parts.append(decoder(ids[:, read : read + size], seen, cache))
            read += size
        expected = decoder(ids, mask)
    where = torch.ones((2, 30), dtype=torch.bool) if mask is None else mask
    torch.testing.assert_close(torch.cat(parts, 1)[where], expected[where], atol=1e-5, rtol=0)
    assert memory_of(cache) == [5 + 2 + 4, 30, 3 + 2 + 4]


def test_what_is_taken_back_is_as_if_it_had_never_been_read(decoder: Decoder) -> None:
    ids = torch.randint(0, 53, (1, 30), generator=torch.Generator().manual_seed(5))
    cache, parts = decoder.new_cache(30), []
    with torch.no_grad():
        for place in range(0, 30, 2):
            decoder(torch.tensor([[1, 2]]), None, cache)
            cache.forget(2)
            parts.append(decoder(ids[:, place : place + 2], None, cache))
        expected = decoder(ids)
    torch.testing.assert_close(torch.cat(parts, 1), expected, atol=1e-5, rtol=0)


def test_rows_in_another_order_go_on_as_themselves(decoder: Decoder) -> None:
    shared = torch.randint(0, 53, (1, 9), generator=torch.Generator().manual_seed(6)).expand(3, 9)
    own = torch.randint(0, 53, (3, 8), generator=torch.Generator().manual_seed(7))
    more = torch.randint(0, 53, (3, 5), generator=torch.Generator().manual_seed(8))
    rows = [2, 1, 2]
    cache = decoder.new_cache(30)
    with torch.no_grad():
        decoder(shared, None, cache)
        for place in range(8):
            decoder(own[:, place : place + 1], None, cache)
        cache.select(rows, shared=9)
        found = torch.cat([decoder(more[:, place : place + 1], None, cache) for place in range(5)], 1)
        expected = decoder(torch.cat([shared, own[rows], more], 1))[:, -5:]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
