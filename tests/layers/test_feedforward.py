"""Feed-forward layers against their formulas."""

import pytest
import torch
from torch import Tensor, nn

from zoo.layers.feedforward import FeedForward, GatedFeedForward


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    projected = x @ layer.weight.T
    return projected if layer.bias is None else projected + layer.bias


@pytest.mark.parametrize("bias", [True, False])
def test_feed_forward_is_two_projections_with_an_activation_between(bias: bool) -> None:
    torch.manual_seed(3)
    layer = FeedForward(hidden_size=8, intermediate_size=12, activation="relu", bias=bias, dropout=0.5).eval()
    hidden = torch.randn(2, 5, 8)
    expected = linear(linear(hidden, layer.up).clamp(min=0), layer.down)
    torch.testing.assert_close(layer(hidden), expected, atol=1e-6, rtol=0)
    assert (layer.up.bias is not None, layer.down.bias is not None) == (bias, bias)


@pytest.mark.parametrize("bias", [True, False])
def test_a_gate_is_activated_and_scales_what_goes_through(bias: bool) -> None:
    torch.manual_seed(3)
    layer = GatedFeedForward(hidden_size=8, intermediate_size=12, activation="silu", bias=bias, dropout=0.5).eval()
    hidden = torch.randn(2, 5, 8)
    gate = linear(hidden, layer.gate)
    expected = linear(gate * torch.sigmoid(gate) * linear(hidden, layer.up), layer.down)
    torch.testing.assert_close(layer(hidden), expected, atol=1e-6, rtol=0)
    assert (layer.gate.bias is not None) is bias


@pytest.mark.parametrize("kind", [FeedForward, GatedFeedForward])
def test_dropout_is_of_what_the_second_projection_reads(kind: type[FeedForward]) -> None:
    torch.manual_seed(3)
    layer = kind(hidden_size=8, intermediate_size=12, activation="relu", dropout=0.5).train()
    read: list[Tensor] = []
    layer.down.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    hidden = torch.randn(2, 5, 8)
    layer(hidden)
    whole = linear(hidden, layer.up).clamp(min=0)
    if isinstance(layer, GatedFeedForward):
        whole = linear(hidden, layer.gate).clamp(min=0) * linear(hidden, layer.up)
    kept = read[0] != 0
    torch.testing.assert_close(read[0][kept], 2 * whole[kept], atol=1e-6, rtol=0)
    assert 0 < int(kept.sum()) < int((whole != 0).sum())
