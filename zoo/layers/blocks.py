"""Layers: attention and feed-forward around the residual stream, in the orders that architectures chose."""

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
        hidden = self.attention_norm(hidden + (self.dropout(mixed) if self.drop_attention else mixed))
        if self.cross_attention is not None and self.cross_attention_norm is not None:
            read = self.cross_attention(hidden, context, cache)
            hidden = self.cross_attention_norm(hidden + self.dropout(read))
        output: Tensor = self.feedforward_norm(hidden + self.dropout(self.feedforward(hidden)))
        return output


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
        self.attention_output_norm = attention_output_norm or nn.Identity()
        self.cross_attention_norm = cross_attention_norm
        self.cross_attention = cross_attention
        self.feedforward_norm = feedforward_norm
        self.feedforward = feedforward
        self.feedforward_output_norm = feedforward_output_norm or nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.drop_feedforward = drop_feedforward

    def forward(self, hidden: Tensor, context: Context = NOTHING, cache: LayerCache | None = None) -> Tensor:
        """hidden: (batch, time, hidden). Returns its shape."""
        mixed = self.attention(self.attention_norm(hidden), context, cache)
        hidden = hidden + self.dropout(self.attention_output_norm(mixed))
        if self.cross_attention is not None and self.cross_attention_norm is not None:
            hidden = hidden + self.dropout(self.cross_attention(self.cross_attention_norm(hidden), context, cache))
        fed: Tensor = self.feedforward_output_norm(self.feedforward(self.feedforward_norm(hidden)))
        output: Tensor = hidden + (self.dropout(fed) if self.drop_feedforward else fed)
        return output


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
        mixed: Tensor = self.dropout(self.attention(self.attention_norm(hidden), context, cache))
        output: Tensor = self.dropout(self.feedforward(self.feedforward_norm(hidden)))
        return output + mixed + hidden


class LayerGroup(nn.ModuleList):
    """Layers that always run together, one after the other: to a stack they are one layer."""

    def forward(self, hidden: Tensor, context: Context = NOTHING, cache: LayerCache | None = None) -> Tensor:
        """hidden: (batch, time, hidden). Returns its shape."""
        assert cache is None, "layers of a group would share one cache"
        for layer in self:
            hidden = layer(hidden, context)
        return hidden
