"""Attention against the formula, written out head by head."""

import math

import pytest
import torch
from torch import Tensor

from zoo.layers.attention import Attention, padding_mask, recorded_attention

BATCH, TIME, HEADS, HEAD_DIM = 2, 5, 4, 6


def make() -> tuple[Attention, Tensor]:
    torch.manual_seed(1)
    attention = Attention(hidden_size=24, num_attention_heads=HEADS).eval()
    return attention, torch.randn(BATCH, TIME, 24)


def by_hand(attention: Attention, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(q·k / sqrt(head_dim))·v for each row, head and query. mask: bool (batch, time)."""
    query, key, value = attention.query(hidden), attention.key(hidden), attention.value(hidden)
    mixed, weights = torch.zeros_like(hidden), torch.zeros(BATCH, HEADS, TIME, TIME)
    for row in range(BATCH):
        for head in range(HEADS):
            part = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
            for asking in range(TIME):
                scores = [
                    math.exp(float(query[row, asking, part] @ key[row, seen, part]) / math.sqrt(HEAD_DIM))
                    * bool(mask[row, seen])
                    for seen in range(TIME)
                ]
                for seen, score in enumerate(scores):
                    weights[row, head, asking, seen] = score / sum(scores)
                    mixed[row, asking, part] += score / sum(scores) * value[row, seen, part]
    return attention.output(mixed), weights


@pytest.mark.parametrize("masked", [False, True])
def test_values_are_mixed_by_the_formula(masked: bool) -> None:
    attention, hidden = make()
    seen = torch.ones(BATCH, TIME, dtype=torch.bool)
    if masked:
        seen[0, :2] = seen[1, 4] = False
    with torch.no_grad():
        expected, weights = by_hand(attention, hidden, seen)
        mask = padding_mask(seen if masked else None)
        torch.testing.assert_close(attention(hidden, mask), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(attention.weights(hidden, mask), weights, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_a_padding_mask_is_bool_and_broadcasts_over_heads_and_queries(dtype: torch.dtype) -> None:
    mask = padding_mask(torch.tensor([[1, 0, 1], [0, 1, 1]], dtype=dtype))
    assert mask is not None
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[[[True, False, True]]], [[[False, True, True]]]]
    assert padding_mask(None) is None


def test_dropout_of_weights_is_for_training_only() -> None:
    attention, hidden = make()
    attention.dropout = 0.5
    with torch.no_grad():
        assert attention(hidden, None).equal(attention(hidden, None))
        attention.train()
        assert not attention(hidden, None).equal(attention(hidden, None))


def test_recording_ends_with_its_context_even_after_an_error() -> None:
    attention, hidden = make()
    with pytest.raises(KeyError), recorded_attention(attention) as recorded:
        attention(hidden, None)
        raise KeyError
    attention(hidden, None)
    assert len(recorded) == 1
    assert not recorded[0].requires_grad
    assert recorded[0].equal(attention.weights(hidden, None))
