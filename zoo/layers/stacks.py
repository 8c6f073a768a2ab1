"""Layers in a row: what turns embeddings into the last hidden state."""

from collections.abc import Iterable, Sequence

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
        drop_attention: bool = True,
    ) -> None:
        """dropout: of both sublayers' outputs. drop_attention: False where only the feed-forward's is dropped."""
        super().__init__()
        self.attention = attention
        self.attention_norm = attention_norm
        self.feedforward = feedforward
        self.feedforward_norm = feedforward_norm
        self.dropout = nn.Dropout(dropout)
        self.drop_attention = drop_attention

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """hidden: (batch, time, hidden); mask: see Attention. Returns hidden's shape."""
        mixed = self.attention(hidden, mask)
        hidden = self.attention_norm(hidden + (self.dropout(mixed) if self.drop_attention else mixed))
        output: Tensor = self.feedforward_norm(hidden + self.dropout(self.feedforward(hidden)))
        return output


class LayerGroup(nn.ModuleList):
    """Layers that always run together, one after the other: to a stack they are one layer."""

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """hidden: (batch, time, hidden); mask: see Attention. Returns hidden's shape."""
        for layer in self:
            hidden = layer(hidden, mask)
        return hidden


class Encoder(nn.Module):
    """The backbone contract of encoder-only architectures: ids and mask in, last hidden state out."""

    def __init__(
        self, *, embeddings: nn.Module, layers: Iterable[nn.Module], order: Sequence[int] | None = None
    ) -> None:
        """order: which layer runs when, where some run more than once; None: each once, one after the other."""
        super().__init__()
        self.embeddings = embeddings
        self.layers = nn.ModuleList(layers)
        self.order = tuple(range(len(self.layers))) if order is None else tuple(order)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """input_ids, token_type_ids: int64 (batch, time); attention_mask: (batch, time), true where to attend.

        Returns the last hidden state (batch, time, hidden).
        """
        hidden: Tensor = self.embeddings(input_ids, attention_mask, token_type_ids)
        mask = padding_mask(attention_mask)
        for index in self.order:
            hidden = self.layers[index](hidden, mask)
        return hidden
