"""From token ids to the first hidden states."""

import torch
from torch import Tensor, nn


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
        self.projection = None if hidden_size is None else nn.Linear(embedding_size, hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None) -> Tensor:
        """Give the first hidden states (batch, time, hidden).

        input_ids, token_type_ids: int64 (batch, time); types are 0 where not given, and not read where there are none.
        """
        summed: Tensor = self.tokens(input_ids)
        if self.token_types is not None:
            summed = summed + self.token_types(
                torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            )
        summed = summed + self.positions(positions(input_ids, attention_mask) + self.first_position)
        hidden: Tensor = self.dropout(self.norm(summed))
        return hidden if self.projection is None else self.projection(hidden)


def positions(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Number each row's positions from 0 at its first attended token, so that padding on the left changes nothing.

    input_ids: (batch, time); attention_mask: (batch, time) or None. Returns int64, broadcastable to (batch, time).
    """
    counted = torch.arange(input_ids.shape[1], device=input_ids.device)[None, :]
    if attention_mask is None:
        return counted
    padding_on_the_left = (attention_mask.long().cumsum(-1) == 0).sum(-1, keepdim=True)
    return (counted - padding_on_the_left).clamp(min=0)
