"""Layers: the order of sublayers, norms and sums, written out."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.layers.attention import Attention
from zoo.layers.blocks import LayerGroup, ParallelLayer, PostNormLayer, PreNormLayer
from zoo.layers.cache import LayerCache
from zoo.layers.feedforward import FeedForward
from zoo.layers.masks import Context

HIDDEN = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(5))
CONTEXT = Context(
    mask=torch.tensor([[1, 1, 0, 1, 1], [0, 0, 1, 1, 1]]).bool()[:, None, None],
    source=torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(6)),
)


def norm() -> nn.LayerNorm:
    made = nn.LayerNorm(8)
    nn.init.normal_(made.weight)
    nn.init.normal_(made.bias)
    return made


def parts(cross: bool = False) -> dict[str, Any]:
    torch.manual_seed(4)
    made: dict[str, Any] = {
        "attention": Attention(hidden_size=8, num_attention_heads=2),
        "attention_norm": norm(),
        "feedforward": FeedForward(hidden_size=8, intermediate_size=12, activation="gelu"),
        "feedforward_norm": norm(),
    }
    if cross:
        made["cross_attention"] = Attention(hidden_size=8, num_attention_heads=4, cross=True)
        made["cross_attention_norm"] = norm()
    return made


@torch.no_grad()
@pytest.mark.parametrize("cross", [False, True])
def test_a_post_norm_layer_normalises_after_each_sum(cross: bool) -> None:
    p = parts(cross)
    layer = PostNormLayer(**p, dropout=0.9).eval()
    expected = p["attention_norm"](HIDDEN + p["attention"](HIDDEN, CONTEXT))
    if cross:
        expected = p["cross_attention_norm"](expected + p["cross_attention"](expected, CONTEXT))
    expected = p["feedforward_norm"](expected + p["feedforward"](expected))
    torch.testing.assert_close(layer(HIDDEN, CONTEXT), expected, atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("output_norms", [False, True])
@pytest.mark.parametrize("cross", [False, True])
def test_a_pre_norm_layer_normalises_what_each_sublayer_reads(cross: bool, output_norms: bool) -> None:
    p = parts(cross)
    after = {"attention_output_norm": norm(), "feedforward_output_norm": norm()} if output_norms else {}
    layer = PreNormLayer(**p, **after, dropout=0.9).eval()

    def given(name: str, output: Tensor) -> Tensor:
        return after[name](output) if output_norms else output

    expected = HIDDEN + given("attention_output_norm", p["attention"](p["attention_norm"](HIDDEN), CONTEXT))
    if cross:
        expected = expected + p["cross_attention"](p["cross_attention_norm"](expected), CONTEXT)
    fed = p["feedforward"](p["feedforward_norm"](expected))
    expected = expected + given("feedforward_output_norm", fed)
    torch.testing.assert_close(layer(HIDDEN, CONTEXT), expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_parallel_layer_adds_what_both_sublayers_make_of_one_input() -> None:
    p = parts()
    layer = ParallelLayer(**p, dropout=0.9).eval()
    attended = p["attention"](p["attention_norm"](HIDDEN), CONTEXT)
    fed = p["feedforward"](p["feedforward_norm"](HIDDEN))
    torch.testing.assert_close(layer(HIDDEN, CONTEXT), HIDDEN + attended + fed, atol=1e-6, rtol=0)


class Ones(nn.Module):
    """A sublayer whose output shows what was dropped."""

    def forward(self, hidden: Tensor, *rest: Any) -> Tensor:
        return torch.ones_like(hidden)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (PreNormLayer, {}, {0.0, 2.0, 4.0}),
        (PreNormLayer, {"drop_feedforward": False}, {1.0, 3.0}),
        (ParallelLayer, {}, {0.0, 2.0, 4.0}),
        (PostNormLayer, {}, {0.0, 2.0, 4.0}),
        (PostNormLayer, {"drop_attention": False}, {1.0, 3.0}),
    ],
    ids=str,
)
def test_sublayers_are_dropped_each_for_itself(kind: Any, options: dict[str, Any], expected: set[float]) -> None:
    torch.manual_seed(1)
    same = nn.Identity()
    layer = kind(
        attention=Ones(), attention_norm=same, feedforward=Ones(), feedforward_norm=same, dropout=0.5, **options
    )
    assert set(layer.train()(torch.zeros(3, 50, 8)).unique().tolist()) == expected
    assert set(layer.eval()(torch.zeros(3, 50, 8)).unique().tolist()) == {2.0}


@torch.no_grad()
@pytest.mark.parametrize("kind", [PostNormLayer, PreNormLayer, ParallelLayer])
def test_a_layer_hands_the_cache_to_its_attention(kind: Any) -> None:
    p = parts()
    p["attention"].causal = True
    layer = kind(**p, dropout=0.0).eval()
    cache = LayerCache(capacity=5)
    found = [layer(HIDDEN[:, :4], Context(), cache), layer(HIDDEN[:, 4:], Context(), cache)]
    torch.testing.assert_close(torch.cat(found, 1), layer(HIDDEN), atol=1e-6, rtol=0)


@torch.no_grad()
def test_layers_of_a_group_run_one_after_the_other() -> None:
    first, second = (PreNormLayer(**parts()).eval() for _ in range(2))
    nn.init.normal_(second.attention_norm.weight)
    found = LayerGroup([first, second])(HIDDEN, CONTEXT)
    assert found.equal(second(first(HIDDEN, CONTEXT), CONTEXT))
