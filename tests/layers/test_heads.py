"""Heads: what they read of the states, and what they make of it."""

import pytest
import torch
from torch import Tensor, nn

from zoo.layers.activations import ACTIVATIONS
from zoo.layers.heads import (
    EndClassifier,
    LanguageModel,
    LastTokenClassifier,
    MaskedLanguageModel,
    PooledClassifier,
    Pooler,
    TokenClassifier,
    TransformedClassifier,
    first_token,
    last_token,
    mean_token,
)

HIDDEN = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(5))
MASK = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 1, 1, 0, 0]])
IDS = torch.zeros(3, 5, dtype=torch.int64)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    projected = x @ layer.weight.T
    return projected if layer.bias is None else projected + layer.bias


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_first_last_and_mean_are_of_what_is_attended(dtype: torch.dtype) -> None:
    mask = MASK.to(dtype)
    assert first_token(HIDDEN, mask).equal(torch.stack([HIDDEN[0, 0], HIDDEN[1, 2], HIDDEN[2, 1]]))
    assert last_token(HIDDEN, mask).equal(torch.stack([HIDDEN[0, 4], HIDDEN[1, 4], HIDDEN[2, 2]]))
    means = [HIDDEN[0].sum(0) / 5, (HIDDEN[1, 2] + HIDDEN[1, 3] + HIDDEN[1, 4]) / 3, (HIDDEN[2, 1] + HIDDEN[2, 2]) / 2]
    close(mean_token(HIDDEN, mask), torch.stack(means))


def test_without_a_mask_first_last_and_mean_are_of_all() -> None:
    assert first_token(HIDDEN, None).equal(HIDDEN[:, 0])
    assert last_token(HIDDEN, None).equal(HIDDEN[:, 4])
    close(mean_token(HIDDEN, None), HIDDEN.sum(1) / 5)


def test_a_pooler_is_a_dense_layer_and_an_activation_over_the_first_token() -> None:
    firsts = torch.stack([HIDDEN[0, 0], HIDDEN[1, 2], HIDDEN[2, 1]])
    pooler = Pooler(8)
    close(pooler(HIDDEN, IDS, MASK), torch.tanh(linear(firsts, pooler.dense)))
    pooler = Pooler(8, activation="relu")
    close(pooler(HIDDEN, IDS, MASK), linear(firsts, pooler.dense).clamp(min=0))


def test_classifiers_are_linear_over_what_they_see() -> None:
    texts = PooledClassifier(hidden_size=8, num_labels=4, dropout=0.5).eval()
    close(texts(HIDDEN, IDS, MASK), linear(texts.pooler(HIDDEN, IDS, MASK), texts.classifier))
    tokens = TokenClassifier(hidden_size=8, num_labels=4, dropout=0.5).eval()
    close(tokens(HIDDEN, IDS, MASK), linear(HIDDEN, tokens.classifier))
    last = LastTokenClassifier(hidden_size=8, num_labels=4)
    assert last.classifier.bias is None
    lasts = torch.stack([HIDDEN[0, 4], HIDDEN[1, 4], HIDDEN[2, 2]])
    close(last(HIDDEN, IDS, MASK), linear(lasts, last.classifier))
    close(last(HIDDEN, IDS, None), linear(HIDDEN[:, 4], last.classifier))


@pytest.mark.parametrize("pooling", ["cls", "mean", None])
@pytest.mark.parametrize("dense_bias", [True, False])
def test_a_transformed_classifier_has_dense_activation_and_norm_before_it(
    pooling: str | None, dense_bias: bool
) -> None:
    norm = nn.LayerNorm(8)
    nn.init.normal_(norm.weight)
    head = TransformedClassifier(
        hidden_size=8,
        num_labels=4,
        activation="relu",
        norm=norm,
        dropout=0.5,
        dense_bias=dense_bias,
        pooling=pooling,  # type: ignore[arg-type]
    ).eval()
    assert (head.dense.bias is not None) is dense_bias
    read = {"cls": first_token(HIDDEN, MASK), "mean": mean_token(HIDDEN, MASK), None: HIDDEN}[pooling]
    expected = linear(norm(linear(read, head.dense).clamp(min=0)), head.classifier)
    close(head(HIDDEN, IDS, MASK), expected)


def test_an_end_classifier_reads_the_last_end_that_is_attended() -> None:
    head = EndClassifier(hidden_size=8, num_labels=4, dropout=0.5, end_token_id=2).eval()
    ids = torch.tensor([[5, 2, 6, 2, 7], [2, 2, 2, 6, 7], [2, 6, 7, 2, 2]])
    # two ends; one within the mask; none within it, so that the last token serves
    read = torch.stack([HIDDEN[0, 3], HIDDEN[1, 2], HIDDEN[2, 2]])
    expected = linear(torch.tanh(linear(read, head.dense)), head.classifier)
    close(head(HIDDEN, ids, MASK), expected)
    read = torch.stack([HIDDEN[0, 3], HIDDEN[1, 2], HIDDEN[2, 4]])
    close(head(HIDDEN, ids, None), linear(torch.tanh(linear(read, head.dense)), head.classifier))


@pytest.mark.parametrize("tied", [True, False])
def test_a_masked_language_model_scores_the_whole_vocabulary(tied: bool) -> None:
    tokens, norm = nn.Embedding(11, 8), nn.LayerNorm(8)
    head = MaskedLanguageModel(hidden_size=8, tokens=tokens, activation="gelu", norm=norm, tied=tied)
    assert head.bias is not None
    nn.init.normal_(head.bias)
    assert (head.decoder.weight is tokens.weight) is tied
    assert (head.decoder.bias is head.bias) is tied
    transformed = norm(ACTIVATIONS["gelu"](linear(HIDDEN, head.dense)))
    close(head(HIDDEN, IDS, None), linear(transformed, head.decoder))


@pytest.mark.parametrize("tied", [True, False])
def test_a_masked_language_model_goes_without_biases(tied: bool) -> None:
    tokens, norm = nn.Embedding(11, 8), nn.LayerNorm(8)
    head = MaskedLanguageModel(
        hidden_size=8,
        tokens=tokens,
        activation="relu",
        norm=norm,
        tied=tied,
        bias=False,
        dense_bias=False,
        bias_twice=False,
    )
    assert [name for name, _ in head.named_parameters()] == [
        "dense.weight",
        "norm.weight",
        "norm.bias",
        "decoder.weight",
    ]
    expected = norm((HIDDEN @ head.dense.weight.T).clamp(min=0)) @ head.decoder.weight.T
    close(head(HIDDEN, IDS, None), expected)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_language_model_scores_every_state(tied: bool, bias: bool) -> None:
    tokens = nn.Embedding(11, 8)
    head = LanguageModel(tokens=tokens, tied=tied, bias=bias)
    assert (head.output.weight is tokens.weight) is tied
    assert (head.output.bias is not None) is bias
    close(head(HIDDEN, IDS, None), linear(HIDDEN, head.output))


def test_a_language_model_scales_states_adds_a_fixed_bias_and_caps_scores() -> None:
    tokens = nn.Embedding(11, 8)
    head = LanguageModel(tokens=tokens, tied=True, scale=0.3, softcap=1.5, fixed_bias=True)
    assert head.fixed_bias is not None
    assert head.fixed_bias.shape == (1, 11)
    assert not head.fixed_bias.requires_grad
    nn.init.normal_(head.fixed_bias)
    scores = (0.3 * HIDDEN) @ tokens.weight.T + head.fixed_bias
    close(head(HIDDEN, IDS, None), 1.5 * torch.tanh(scores / 1.5))
