"""Position-wise feed-forward layers (Vaswani et al. 2017, section 3.3)."""

from torch import Tensor, nn

from zoo.layers.activations import ACTIVATIONS


class FeedForward(nn.Module):
    """Two projections with an activation between them: down(activation(up(x)))."""

    def __init__(self, *, hidden_size: int, intermediate_size: int, activation: str, bias: bool = True) -> None:
        """activation: a name in zoo.layers.activations.ACTIVATIONS."""
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.up = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.down = nn.Linear(intermediate_size, hidden_size, bias=bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (batch, time, hidden). Returns the same shape."""
        output: Tensor = self.down(self.activation(self.up(hidden)))
        return output
