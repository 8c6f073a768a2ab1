"""Position-wise feed-forward layers (Vaswani et al. 2017, section 3.3)."""

from torch import Tensor, nn

from zoo.layers.activations import ACTIVATIONS
from zoo.layers.linear import Linear
from zoo.layers.packing import PackedLinear


class FeedForward(nn.Module):
    """Two projections with an activation between them: down(activation(up(x)))."""

    def __init__(
        self, *, hidden_size: int, intermediate_size: int, activation: str, bias: bool = True, dropout: float = 0.0
    ) -> None:
        """activation: a name in zoo.layers.activations.ACTIVATIONS. dropout: of what the second projection reads."""
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.up = Linear(hidden_size, intermediate_size, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.down = Linear(intermediate_size, hidden_size, bias=bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (batch, time, hidden). Returns the same shape."""
        return self._down(self.activation(self.up(hidden)))

    def _down(self, inner: Tensor) -> Tensor:
        output: Tensor = self.down(self.dropout(inner) if self.training else inner)
        return output


class GatedFeedForward(FeedForward):
    """What goes through is scaled by a gate: down(activation(gate(x)) · up(x)) (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(
        self, *, hidden_size: int, intermediate_size: int, activation: str, bias: bool = True, dropout: float = 0.0
    ) -> None:
        """See FeedForward; the activation is the gate's."""
        super().__init__(
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            activation=activation,
            bias=bias,
            dropout=dropout,
        )
        self.gate = Linear(hidden_size, intermediate_size, bias=bias)
        self.joinable = ("gate", "up")  # see zoo.layers.packing.PackedWeights
        self.joined: PackedLinear | None = None

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (batch, time, hidden). Returns the same shape."""
        gate, up = (self.gate(hidden), self.up(hidden)) if self.joined is None else self.joined.parts(hidden)
        return self._down(self.activation(gate) * up)
