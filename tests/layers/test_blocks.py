"""The other building blocks: activations, embeddings, feed-forward, norms in a row, heads, fresh weights."""

import math

import pytest
import torch
from torch import Tensor, nn

from zoo.layers.activations import ACTIVATIONS
from zoo.layers.attention import Attention
from zoo.layers.embeddings import LearnedEmbeddings, positions
from zoo.layers.feedforward import FeedForward
from zoo.layers.heads import MaskedLanguageModel, PooledClassifier, Pooler, TokenClassifier, first_token
from zoo.layers.initialization import fresh_weights
from zoo.layers.stacks import PostNormLayer


def tanh_gelu(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


FORMULAS = {
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "gelu_new": tanh_gelu,
    "gelu_fast": tanh_gelu,
    "gelu_pytorch_tanh": tanh_gelu,
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "swish": lambda x: x / (1 + math.exp(-x)),
    "tanh": math.tanh,
}


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_is_its_formula(name: str) -> None:
    points = [-4.0, -1.5, -0.3, 0.0, 0.2, 1.0, 3.5]
    expected = torch.tensor([FORMULAS[name](point) for point in points])
    torch.testing.assert_close(ACTIVATIONS[name](torch.tensor(points)), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_positions_count_from_the_first_attended_token(dtype: torch.dtype) -> None:
    ids = torch.zeros(4, 5, dtype=torch.int64)
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 1, 0]], dtype=dtype)
    found = positions(ids, mask)
    assert found.dtype == torch.int64
    assert found[0].tolist() == [0, 1, 2, 3, 4]
    assert found[1, 2:].tolist() == [0, 1, 2]
    assert found[2, :3].tolist() == [0, 1, 2]
    assert found[3, 1:].tolist() == [0, 1, 2, 3]  # a hole is a place like any other
    assert positions(ids, None).expand(4, 5).tolist() == [[0, 1, 2, 3, 4]] * 4


def test_positions_stay_within_the_row_where_nothing_is_attended() -> None:
    found = positions(torch.zeros(1, 5, dtype=torch.int64), torch.zeros(1, 5))
    assert found.tolist() == [[0, 0, 0, 0, 0]]


@pytest.mark.parametrize("typed", [True, False])
def test_embeddings_are_summed_and_normalised(typed: bool) -> None:
    torch.manual_seed(2)
    norm = nn.LayerNorm(8)
    embeddings = LearnedEmbeddings(
        vocab_size=11, max_position_embeddings=7, type_vocab_size=3, embedding_size=8, norm=norm, dropout=0.5
    ).eval()
    ids, types = torch.tensor([[3, 10, 0, 5]]), torch.tensor([[0, 2, 1, 1]])
    found = embeddings(ids, None, types if typed else None)
    for place in range(4):
        kind = int(types[0, place]) if typed else 0
        summed = (
            embeddings.tokens.weight[ids[0, place]]
            + embeddings.positions.weight[place]
            + embeddings.token_types.weight[kind]
        )
        torch.testing.assert_close(found[0, place], norm(summed), atol=1e-6, rtol=0)


def test_feed_forward_is_two_projections_with_an_activation_between() -> None:
    torch.manual_seed(3)
    layer = FeedForward(hidden_size=8, intermediate_size=12, activation="relu")
    hidden = torch.randn(2, 5, 8)
    inner = (hidden @ layer.up.weight.T + layer.up.bias).clamp(min=0)
    torch.testing.assert_close(layer(hidden), inner @ layer.down.weight.T + layer.down.bias, atol=1e-6, rtol=0)


def test_a_post_norm_layer_normalises_after_each_sum() -> None:
    torch.manual_seed(4)
    attention = Attention(hidden_size=8, num_attention_heads=2)
    feedforward = FeedForward(hidden_size=8, intermediate_size=12, activation="gelu")
    layer = PostNormLayer(
        attention=attention,
        attention_norm=nn.LayerNorm(8),
        feedforward=feedforward,
        feedforward_norm=nn.LayerNorm(8),
        dropout=0.9,
    ).eval()

    def normalised(x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    hidden = torch.randn(2, 5, 8)
    middle = normalised(hidden + attention(hidden, None))
    torch.testing.assert_close(layer(hidden, None), normalised(middle + feedforward(middle)), atol=1e-5, rtol=0)


# --- heads ------------------------------------------------------------------------------------------------------------

HIDDEN = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(5))
MASK = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 1, 1, 0, 0]])


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_the_first_token_is_the_first_attended_one(dtype: torch.dtype) -> None:
    assert first_token(HIDDEN, MASK.to(dtype)).equal(torch.stack([HIDDEN[0, 0], HIDDEN[1, 2], HIDDEN[2, 1]]))
    assert first_token(HIDDEN, None).equal(HIDDEN[:, 0])


def test_a_pooler_is_a_dense_layer_and_tanh_over_the_first_token() -> None:
    pooler = Pooler(8)
    firsts = torch.stack([HIDDEN[0, 0], HIDDEN[1, 2], HIDDEN[2, 1]])
    expected = torch.tanh(firsts @ pooler.dense.weight.T + pooler.dense.bias)
    torch.testing.assert_close(pooler(HIDDEN, torch.zeros(3, 5), MASK), expected, atol=1e-6, rtol=0)


def test_classifiers_are_linear_over_what_they_see() -> None:
    texts = PooledClassifier(hidden_size=8, num_labels=4, dropout=0.5).eval()
    pooled = texts.pooler(HIDDEN, torch.zeros(3, 5), MASK)
    expected = pooled @ texts.classifier.weight.T + texts.classifier.bias
    torch.testing.assert_close(texts(HIDDEN, torch.zeros(3, 5), MASK), expected, atol=1e-6, rtol=0)
    tokens = TokenClassifier(hidden_size=8, num_labels=4, dropout=0.5).eval()
    expected = HIDDEN @ tokens.classifier.weight.T + tokens.classifier.bias
    torch.testing.assert_close(tokens(HIDDEN, torch.zeros(3, 5), MASK), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("tied", [True, False])
def test_a_masked_language_model_scores_the_whole_vocabulary(tied: bool) -> None:
    tokens, norm = nn.Embedding(11, 8), nn.LayerNorm(8)
    head = MaskedLanguageModel(hidden_size=8, tokens=tokens, activation="gelu", norm=norm, tied=tied)
    nn.init.normal_(head.bias)
    assert (head.decoder.weight is tokens.weight) is tied
    assert (head.decoder.bias is head.bias) is tied
    transformed = norm(ACTIVATIONS["gelu"](HIDDEN @ head.dense.weight.T + head.dense.bias))
    expected = transformed @ head.decoder.weight.T + head.decoder.bias
    torch.testing.assert_close(head(HIDDEN, torch.zeros(3, 5), None), expected, atol=1e-6, rtol=0)


# --- fresh weights ----------------------------------------------------------------------------------------------------


def test_fresh_weights_are_made_for_the_names_alone_and_without_a_device() -> None:
    with torch.device("meta"):
        module = nn.ModuleDict({"a": nn.Linear(8, 12), "norm": nn.LayerNorm(8), "b": nn.Linear(12, 8)})
    fresh = fresh_weights(module, ["b.weight", "b.bias", "norm.weight"], 0.5, seed=1)
    assert {name: tuple(tensor.shape) for name, tensor in fresh.items()} == {
        "norm.weight": (8,),
        "b.weight": (8, 12),
        "b.bias": (8,),
    }
    assert fresh["norm.weight"].equal(torch.ones(8))
    assert fresh["b.bias"].equal(torch.zeros(8))
    expected = torch.empty(8, 12).normal_(0, 0.5, generator=torch.Generator().manual_seed(1))
    assert fresh["b.weight"].equal(expected)
