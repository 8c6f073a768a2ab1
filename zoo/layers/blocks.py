"""Layers: attention and feed-forward around the residual stream, in the orders that architectures chose.

Dropout is called in training alone: in decoding, a module that does nothing costs as much as a matrix product.
"""

from torch import Tensor, nn

from zoo.layers.attention import NOTHING
from zoo.layers.cache import LayerCache
from zoo.layers.masks import Context


class PostNormLayer(nn.Module):
    """Each sublayer is added to its input and then normalised (Vaswani et al. 2017, section 3.1)."""

    def __init__(
        self,
        *,
        attention: nn.Module,
        attention_norm: nn.Module,
        feedforward: nn.Module,
        feedforward_norm: nn.Module,
        dropout: float,
        drop_attention: bool = True,
        cross_attention: nn.Module | None = None,
        cross_attention_norm: nn.Module | None = None,
    ) -> None:
        """dropout: of the sublayers' outputs. drop_attention: False where only the feed-forward's is dropped.

        cross_attention: over a source, between the two; its norm comes with it.
        """
        super().__init__()
        self.attention = attention
        self.attention_norm = attention_norm
        self.cross_attention = cross_attention
        self.cross_attention_norm = cross_attention_norm
        self.feedforward = feedforward
        self.feedforward_norm = feedforward_norm
        self.dropout = nn.Dropout(dropout)
        self.drop_attention = drop_attention

    def forward(self, hidden: Tensor, context: Context = NOTHING, cache: LayerCache | None = None) -> Tensor:
        """hidden: (batch, time, hidden). Returns its shape."""
        mixed = self.attention(hidden, context, cache)
        hidden = self.attention_norm(hidden + (self._dropped(mixed) if self.drop_attention else mixed))
        if self.cross_attention is not None and self.cross_attention_norm is not None:
            read = self.cross_attention(hidden, context, cache)
            hidden = self.cross_attention_norm(hidden + self._dropped(read))
        output: Tensor = self.feedforward_norm(hidden + self._dropped(self.feedforward(hidden)))
        return output

    def _dropped(self, hidden: Tensor) -> Tensor:
        return self.dropout(hidden) if self.training else hidden


class PreNormLayer(nn.Module):
    """Each sublayer reads its normalised input and is added to it (Xiong et al. 2020, https://arxiv.org/abs/2002.04745)."""

    def __init__(
        self,
        *,
        attention: nn.Module,
        attention_norm: nn.Module,
        feedforward: nn.Module,
        feedforward_norm: nn.Module,
        dropout: float = 0.0,
        drop_feedforward: bool = True,
        cross_attention: nn.Module | None = None,
        cross_attention_norm: nn.Module | None = None,
        attention_output_norm: nn.Module | None = None,
        feedforward_output_norm: nn.Module | None = None,
    ) -> None:
        """dropout: of the sublayers' outputs. drop_feedforward: False where only what attention gives is dropped.

        cross_attention: over a source, between the two; its norm comes with it.
        attention_output_norm, feedforward_output_norm: of what a sublayer gives, before it is added (Gemma Team 2024).
        """
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.attention_output_norm = attention_output_norm
        self.cross_attention_norm = cross_attention_norm
        self.cross_attention = cross_attention
        self.feedforward_norm = feedforward_norm
        self.feedforward = feedforward
        self.feedforward_output_norm = feedforward_output_norm
        self.dropout = nn.Dropout(dropout)
        self.drop_feedforward = drop_feedforward

    def forward(self, hidden: Tensor, context: Context = NOTHING, cache: LayerCache | None = None) -> Tensor:
        """hidden: (batch, time, hidden). Returns its shape."""
        mixed: Tensor = self.attention(self.attention_norm(hidden), context, cache)
        if self.attention_output_norm is not None:
            mixed = self.attention_output_norm(mixed)
        hidden = hidden + (self.dropout(mixed) if self.training else mixed)
        if self.cross_attention is not None and self.cross_attention_norm is not None:
            read: Tensor = self.cross_attention(self.cross_attention_norm(hidden), context, cache)
            hidden = hidden + (self.dropout(read) if self.training else read)
        fed: Tensor = self.feedforward(self.feedforward_norm(hidden))
        if self.feedforward_output_norm is not None:
            fed = self.feedforward_output_norm(fed)
        return hidden + (self.dropout(fed) if self.training and self.drop_feedforward else fed)


class ParallelLayer(nn.Module):
    """Attention and feed-forward read the same input, and both are added to it (Wang & Komatsuzaki 2021, GPT-J)."""

    def __init__(
        self,
        *,
        attention: nn.Module,
        attention_norm: nn.Module,
        feedforward: nn.Module,
        feedforward_norm: nn.Module,
        dropout: float = 0.0,
    ) -> None:
        """dropout: of both sublayers' outputs."""
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.feedforward_norm = feedforward_norm
        self.feedforward = feedforward
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, context: Context = NOTHING, cache: LayerCache | None = None) -> Tensor:
        """hidden: (batch, time, hidden). Returns its shape."""
        mixed: Tensor = self.attention(self.attention_norm(hidden), context, cache)
        fed: Tensor = self.feedforward(self.feedforward_norm(hidden))
        if self.training:
            mixed, fed = self.dropout(mixed), self.dropout(fed)
        return fed + mixed + hidden


class LayerGroup(nn.ModuleList):
    """Layers that always run together, one after the other: to a stack they are one layer."""

    def forward(self, hidden: Tensor, context: Context = NOTHING, cache: LayerCache | None = None) -> Tensor:
        """hidden: (batch, time, hidden). Returns its shape."""
        assert cache is None, "layers of a group would share one cache"
        for layer in self:
            hidden = layer(hidden, context)
        return hidden
