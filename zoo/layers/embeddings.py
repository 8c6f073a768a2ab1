"""From token ids to the first hidden states."""

import torch
from torch import Tensor, nn


class LearnedEmbeddings(nn.Module):
    """Token, position and token-type embeddings, summed and normalised (Devlin et al. 2018, figure 2)."""

    def __init__(
        self,
        *,
        vocab_size: int,
        max_position_embeddings: int,
        type_vocab_size: int,
        hidden_size: int,
        norm: nn.Module,
        dropout: float,
    ) -> None:
        """type_vocab_size: number of token types; norm: applied to the sum."""
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, hidden_size)
        self.positions = nn.Embedding(max_position_embeddings, hidden_size)
        self.token_types = nn.Embedding(type_vocab_size, hidden_size)
        self.norm = norm
        self.dropout = nn.Dropout(dropout)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None) -> Tensor:
        """input_ids, token_type_ids: int64 (batch, time), types 0 where not given. Returns (batch, time, hidden)."""
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        summed = self.tokens(input_ids) + self.token_types(types) + self.positions(positions(input_ids, attention_mask))
        output: Tensor = self.dropout(self.norm(summed))
        return output


def positions(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Number each row's positions from 0 at its first attended token, so that padding on the left changes nothing.

    input_ids: (batch, time); attention_mask: (batch, time) or None. Returns int64, broadcastable to (batch, time).
    """
    counted = torch.arange(input_ids.shape[1], device=input_ids.device)[None, :]
    if attention_mask is None:
        return counted
    padding_on_the_left = (attention_mask.long().cumsum(-1) == 0).sum(-1, keepdim=True)
    return (counted - padding_on_the_left).clamp(min=0)
