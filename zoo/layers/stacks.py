"""Layers in a row: what turns embeddings into the last hidden state."""

from collections.abc import Iterable

from torch import Tensor, nn

from zoo.layers.attention import padding_mask


class PostNormLayer(nn.Module):
    """Attention and feed-forward, each added to its input and then normalised (Vaswani et al. 2017, section 3.1)."""

    def __init__(
        self,
        *,
        attention: nn.Module,
        attention_norm: nn.Module,
        feedforward: nn.Module,
        feedforward_norm: nn.Module,
        dropout: float,
    ) -> None:
        """dropout: of both sublayers' outputs."""
        super().__init__()
        self.attention = attention
        self.attention_norm = attention_norm
        self.feedforward = feedforward
        self.feedforward_norm = feedforward_norm
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """hidden: (batch, time, hidden); mask: see Attention. Returns hidden's shape."""
        hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, mask)))
        output: Tensor = self.feedforward_norm(hidden + self.dropout(self.feedforward(hidden)))
        return output


class Encoder(nn.Module):
    """The backbone contract of encoder-only architectures: ids and mask in, last hidden state out."""

    def __init__(self, *, embeddings: nn.Module, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.layers = nn.ModuleList(layers)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """input_ids, token_type_ids: int64 (batch, time); attention_mask: (batch, time), true where to attend.

        Returns the last hidden state (batch, time, hidden).
        """
        hidden: Tensor = self.embeddings(input_ids, attention_mask, token_type_ids)
        mask = padding_mask(attention_mask)
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return hidden
