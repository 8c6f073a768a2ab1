"""Stacks: what each layer is given, and how a decoder beside an encoder begins."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.layers.embeddings import TokenEmbeddings
from zoo.layers.masks import Context
from zoo.layers.positions import RelativeBias
from zoo.layers.rotary import Rotary
from zoo.layers.stacks import Decoder, Encoder, EncoderAlone, EncoderDecoder, Reach

IDS = torch.tensor([[3, 10, 0, 5], [1, 1, 2, 9]])
LEFT = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])


class Recorder(nn.Module):
    """A layer that keeps what it is given, and multiplies by its number so that order shows."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.given: list[tuple[Context, Any]] = []

    def forward(self, hidden: Tensor, context: Context, cache: Any = None) -> Tensor:
        self.given.append((context, cache))
        if cache is not None:
            cache.extend(hidden[:, None], hidden[:, None])
        return hidden * self.number + 1


def embeddings() -> TokenEmbeddings:
    torch.manual_seed(1)
    return TokenEmbeddings(nn.Embedding(11, 6), positions=nn.Embedding(9, 6))


def context_of(layer: nn.Module) -> Context:
    assert isinstance(layer, Recorder)
    return layer.given[-1][0]


def test_layers_run_in_order_and_a_norm_comes_last() -> None:
    table, norm = embeddings(), nn.LayerNorm(6)
    stack = Encoder(embeddings=table, layers=[Recorder(2), Recorder(3)], norm=norm, dropout=0.5).eval()
    expected = norm((table(IDS, torch.arange(4)[None]) * 2 + 1) * 3 + 1)
    torch.testing.assert_close(stack(IDS), expected, atol=1e-6, rtol=0)
    stack.train()
    assert not stack(IDS).equal(stack(IDS))


def test_a_layer_may_run_more_than_once() -> None:
    table = embeddings()
    stack = Encoder(embeddings=table, layers=[Recorder(2), Recorder(3)], order=[1, 0, 0])
    expected = ((table(IDS, torch.arange(4)[None]) * 3 + 1) * 2 + 1) * 2 + 1
    torch.testing.assert_close(stack(IDS), expected, atol=1e-6, rtol=0)


def test_each_layer_gets_the_mask_and_the_angles_of_its_reach() -> None:
    near, far = Reach(1, Rotary(4, 10.0)), Reach(None, Rotary(4, 90.0))
    layers = [Recorder(number) for number in range(4)]
    Encoder(embeddings=embeddings(), layers=layers, reaches=[near, far, far, near])(IDS, LEFT)
    seen = LEFT.bool()[:, None, None, :]
    close = torch.tensor([[abs(query - key) <= 1 for key in range(4)] for query in range(4)])
    attended = LEFT.bool()
    for number, reach in enumerate([near, far, far, near]):
        context = context_of(layers[number])
        assert context.mask is not None
        mask = context.mask.expand(2, 1, 4, 4)
        expected = (seen & close if reach is near else seen).expand(2, 1, 4, 4)
        for row in range(2):
            assert mask[row, 0][attended[row]].equal(expected[row, 0][attended[row]])
        assert reach.rotary is not None
        cosines, sines = reach.rotary(torch.tensor([[0, 1, 2, 3], [0, 0, 0, 1]]), torch.float32)
        assert context.rotary is not None
        assert context.rotary[0].equal(cosines)
        assert context.rotary[1].equal(sines)
        assert context.key_rotary is None
    assert context_of(layers[0]) is context_of(layers[3])  # made once for both


def test_a_decoder_counts_on_from_what_is_cached() -> None:
    table, layer = embeddings(), Recorder(2)
    bias = RelativeBias(num_buckets=8, max_distance=9, num_attention_heads=3, causal=True)
    nn.init.normal_(bias.weight)
    stack = Decoder(embeddings=table, layers=[layer], reaches=Reach(None, Rotary(4, 10.0)), relative_bias=bias)
    cache = stack.new_cache(capacity=4)
    first, second = stack(IDS[:, :3], LEFT[:, :3], cache), stack(IDS[:, 3:], LEFT, cache)
    whole = stack(IDS, LEFT)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, atol=1e-6, rtol=0)
    (later, kept), (context, none) = layer.given[-2:]
    assert kept is cache.layers[0]
    assert none is None
    assert cache.length == 4
    assert later.rotary is not None
    assert context.rotary is not None
    assert later.rotary[0].equal(context.rotary[0][:, :, 3:])
    assert later.bias is not None
    assert context.bias is not None
    assert later.bias.equal(context.bias[:, :, 3:])
    assert later.mask is not None
    assert context.mask is not None
    assert later.mask.expand(2, 1, 1, 4).equal(context.mask[:, :, 3:])


def test_positions_that_depend_on_the_length_come_whole_at_each_pass() -> None:
    layer, rotary = Recorder(2), Rotary(4, 10.0, scaling="dynamic", factor=2.0, original_length=2)
    stack = Decoder(embeddings=embeddings(), layers=[layer], reaches=Reach(None, rotary))
    cache = stack.new_cache(capacity=4)
    stack(IDS[:, :3], None, cache)
    stack(IDS[:, 3:], None, cache)
    context = context_of(layer)
    expected = rotary(torch.arange(4)[None], torch.float32)
    assert context.rotary is not None
    assert context.key_rotary is not None
    for part in (0, 1):
        assert context.rotary[part].equal(expected[part][:, :, 3:])
        assert context.key_rotary[part].equal(expected[part])


# --- an encoder and a decoder -----------------------------------------------------------------------------------------


def both(start_token_id: int | None = 7, wraps: bool = False) -> EncoderDecoder:
    return EncoderDecoder(
        encoder=Encoder(embeddings=embeddings(), layers=[Recorder(2)]),
        decoder=Decoder(embeddings=embeddings(), layers=[Recorder(3)]),
        start_token_id=start_token_id,
        wraps=wraps,
    )


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64])
def test_a_text_is_moved_one_to_the_right_behind_the_start(dtype: torch.dtype) -> None:
    ids = torch.tensor([[4, 5, 6, 2], [4, 2, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=dtype)
    found = both().shift(ids, mask)
    assert found[0].tolist() == [7, 4, 5, 6]
    assert found[1, :2].tolist() == [7, 4]
    ids, mask = torch.tensor([[4, 5, 6, 2], [0, 0, 4, 2]]), mask.flip(-1)
    found = both().shift(ids, mask)
    assert found[0].tolist() == [7, 4, 5, 6]
    assert found[1, 2:].tolist() == [7, 4]
    assert both().shift(ids, None).tolist() == [[7, 4, 5, 6], [7, 0, 0, 4]]


@pytest.mark.parametrize(("start_token_id", "wraps"), [(None, False), (7, True)])
def test_a_text_begins_with_its_own_last_token_where_there_is_no_start(start_token_id: int | None, wraps: bool) -> None:
    shift = both(start_token_id, wraps).shift
    ids, mask = torch.tensor([[4, 5, 6, 2], [4, 3, 0, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    found = shift(ids, mask)
    assert found[0].tolist() == [2, 4, 5, 6]
    assert found[1, :2].tolist() == [3, 4]
    found = shift(torch.tensor([[4, 5, 6, 2], [0, 0, 4, 3]]), mask.flip(-1))
    assert found[0].tolist() == [2, 4, 5, 6]
    assert found[1, 2:].tolist() == [3, 4]
    assert shift(ids[:1], None).tolist() == [[2, 4, 5, 6]]


@pytest.mark.parametrize("mask", [None, LEFT, LEFT.flip(-1)])
def test_without_a_text_of_its_own_a_decoder_reads_the_source_shifted(mask: Tensor | None) -> None:
    model = both()
    shifted = model.shift(IDS, mask)
    found, expected = model(IDS, mask), model(IDS, mask, shifted, mask)
    assert found[0].equal(expected[0])
    assert found[1].equal(expected[1])


def test_the_decoder_reads_what_the_encoder_made_under_the_sources_mask() -> None:
    model = both()
    written = torch.tensor([[7, 8, 9], [7, 8, 0]])
    decoded, source = model(IDS, LEFT, written, torch.tensor([[1, 1, 1], [1, 1, 0]]))
    assert (decoded.shape, source.shape) == ((2, 3, 6), (2, 4, 6))
    assert source.equal(model.encode(IDS, LEFT))
    context = context_of(model.decoder.layers[0])
    assert context.source is not None
    assert context.source.equal(source)
    assert context.source_mask is not None
    assert context.source_mask.equal(LEFT.bool()[:, None, None])
    assert context_of(model.encoder.layers[0]).source is None
    alone = EncoderAlone(encoder=model.encoder)
    assert alone(IDS, LEFT).equal(source)
