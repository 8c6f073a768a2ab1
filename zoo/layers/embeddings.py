"""From token ids to the first hidden states. All are called as embeddings(input_ids, positions, token_type_ids)."""

import torch
from torch import Tensor, nn

from zoo.layers.linear import Linear


class TokenEmbeddings(nn.Module):
    """Token embeddings, scaled, with positions added where a table or function of them is given."""

    def __init__(
        self,
        tokens: nn.Embedding,
        *,
        positions: nn.Module | None = None,
        first_position: int = 0,
        norm: nn.Module | None = None,
        dropout: float = 0.0,
        scale: float = 1.0,
        round_scale: bool = True,
    ) -> None:
        """positions: from numbers to vectors, a table or SinusoidalPositions; first_position: of the first token in it.

        norm: applied to the sum. scale: of the token embeddings. round_scale: whether the scale itself is rounded to
        their dtype, where it was in training.
        """
        super().__init__()
        self.tokens = tokens
        self.positions = positions
        self.first_position = first_position
        self.norm = norm
        self.dropout = nn.Dropout(dropout)
        self.scale = scale
        self.round_scale = round_scale

    def forward(self, input_ids: Tensor, positions: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """input_ids: int64 (batch, time); positions: int64, broadcastable to it; token_type_ids are not read.

        Returns the first hidden states (batch, time, hidden).
        """
        hidden: Tensor = self.tokens(input_ids)
        if self.scale != 1.0 and self.round_scale:
            hidden = hidden * torch.full((), self.scale, dtype=hidden.dtype, device=hidden.device)
        elif self.scale != 1.0:
            hidden = hidden * self.scale
        if self.positions is not None:
            places = positions + self.first_position if self.first_position else positions
            hidden = hidden + self.positions(places).to(hidden.dtype)
        if self.norm is not None:
            hidden = self.norm(hidden)
        return self.dropout(hidden) if self.training else hidden


class LearnedEmbeddings(nn.Module):
    """Token, position and, where there are any, token-type embeddings, summed and normalised (Devlin et al. 2018, fig. 2).

    They may be narrower than the hidden states, and are projected to their width then (Lan et al. 2019, section 3.1).
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        max_position_embeddings: int,
        type_vocab_size: int | None,
        embedding_size: int,
        norm: nn.Module,
        dropout: float,
        first_position: int = 0,
        hidden_size: int | None = None,
    ) -> None:
        """type_vocab_size: number of token types, None for none; norm: applied to the sum.

        first_position: row of the first token in the position table. hidden_size: width of the output, where a
        projection leads to it; None for none.
        """
        super().__init__()
        self.first_position = first_position
        self.tokens = nn.Embedding(vocab_size, embedding_size)
        self.positions = nn.Embedding(max_position_embeddings, embedding_size)
        self.token_types = None if type_vocab_size is None else nn.Embedding(type_vocab_size, embedding_size)
        self.norm = norm
        self.dropout = nn.Dropout(dropout)
        self.projection = None if hidden_size is None else Linear(embedding_size, hidden_size)

    def forward(self, input_ids: Tensor, positions: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Give the first hidden states (batch, time, hidden).

        input_ids, token_type_ids: int64 (batch, time); types are 0 where not given, and not read where there are none.
        positions: int64, broadcastable to (batch, time).
        """
        summed: Tensor = self.tokens(input_ids)
        if self.token_types is not None:
            summed = summed + self.token_types(
                torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            )
        summed = summed + self.positions(positions + self.first_position)
        hidden: Tensor = self.dropout(self.norm(summed))
        return hidden if self.projection is None else self.projection(hidden)
