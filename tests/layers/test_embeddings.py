"""First hidden states: sums, looked up one by one."""

import pytest
import torch
from torch import nn

from zoo.layers.embeddings import LearnedEmbeddings, TokenEmbeddings
from zoo.layers.positions import SinusoidalPositions

IDS, PLACES = torch.tensor([[3, 10, 0, 5], [1, 1, 2, 9]]), torch.tensor([[0, 1, 2, 3], [0, 0, 0, 1]])


@pytest.mark.parametrize("first_position", [0, 2])
@pytest.mark.parametrize("types", [None, torch.tensor([[0, 2, 1, 1], [0, 0, 1, 2]])])
def test_learned_embeddings_are_summed_and_normalised(types: torch.Tensor | None, first_position: int) -> None:
    torch.manual_seed(2)
    norm = nn.LayerNorm(8)
    embeddings = LearnedEmbeddings(
        vocab_size=11,
        max_position_embeddings=7,
        type_vocab_size=3,
        embedding_size=8,
        norm=norm,
        dropout=0.5,
        first_position=first_position,
    ).eval()
    assert embeddings.token_types is not None
    found = embeddings(IDS, PLACES, types)
    for row in range(2):
        for place in range(4):
            summed = (
                embeddings.tokens.weight[IDS[row, place]]
                + embeddings.positions.weight[PLACES[row, place] + first_position]
                + embeddings.token_types.weight[0 if types is None else types[row, place]]
            )
            torch.testing.assert_close(found[row, place], norm(summed), atol=1e-6, rtol=0)


def test_learned_embeddings_are_projected_to_a_wider_state() -> None:
    embeddings = LearnedEmbeddings(
        vocab_size=11,
        max_position_embeddings=7,
        type_vocab_size=None,
        embedding_size=6,
        norm=nn.Identity(),
        dropout=0.0,
        hidden_size=8,
    )
    assert embeddings.projection is not None
    summed = embeddings.tokens.weight[IDS] + embeddings.positions.weight[PLACES]
    expected = summed @ embeddings.projection.weight.T + embeddings.projection.bias
    torch.testing.assert_close(embeddings(IDS, PLACES, torch.ones_like(IDS)), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("first_position", [0, 2])
def test_token_embeddings_are_scaled_before_positions_are_added(first_position: int) -> None:
    tokens, table, norm = nn.Embedding(11, 8), nn.Embedding(7, 8), nn.LayerNorm(8)
    embeddings = TokenEmbeddings(
        tokens, positions=table, first_position=first_position, norm=norm, scale=3.0, dropout=0.5
    )
    expected = norm(3 * tokens.weight[IDS] + table.weight[PLACES + first_position])
    torch.testing.assert_close(embeddings.eval()(IDS, PLACES), expected, atol=1e-6, rtol=0)
    assert TokenEmbeddings(tokens)(IDS, PLACES).equal(tokens.weight[IDS])


def test_computed_positions_take_the_tokens_dtype() -> None:
    tokens = nn.Embedding(11, 8, dtype=torch.bfloat16)
    waves = SinusoidalPositions(8)
    found = TokenEmbeddings(tokens, positions=waves)(IDS, PLACES)
    assert found.equal(tokens.weight[IDS] + waves(PLACES).bfloat16())


@pytest.mark.parametrize("rounded", [True, False])
def test_a_scale_is_rounded_as_in_training_where_it_was(rounded: bool) -> None:
    tokens = nn.Embedding(11, 8, dtype=torch.bfloat16)
    scale = 55.4256  # sqrt(3072); the nearest bfloat16 is 55.5
    found = TokenEmbeddings(tokens, scale=scale, round_scale=rounded)(IDS, PLACES)
    factor = 55.5 if rounded else scale
    assert found.equal((tokens.weight[IDS].float() * factor).bfloat16())
    assert not found.equal((tokens.weight[IDS].float() * (scale if rounded else 55.5)).bfloat16())
