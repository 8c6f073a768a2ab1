"""A linear layer with a low-rank neighbour (Hu et al. 2021, section 4.1)."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class LoraLinear(nn.Linear):
    """x·Wᵀ + bias + scale · (x·Aᵀ)·Bᵀ: W and bias are another layer's own parameters, A and B are learnt beside them."""

    def __init__(self, linear: nn.Linear, a: Tensor, b: Tensor, scale: float, dropout: float = 0.0) -> None:
        """a: (rank, in); b: (out, rank). scale: of the product. dropout: of what A reads."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.lora_a, self.lora_b = nn.Parameter(a), nn.Parameter(b)
        self.scale = scale
        self.dropout = nn.Dropout(dropout)
        self.train(linear.training)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (…, in). Returns (…, out)."""
        added = F.linear(F.linear(self.dropout(hidden).to(self.lora_a.dtype), self.lora_a), self.lora_b)
        return F.linear(hidden, self.weight, self.bias) + (self.scale * added).to(hidden.dtype)

    def merged(self) -> nn.Linear:
        """Give the layer without a neighbour, what that adds put into W itself."""
        with torch.no_grad():
            self.weight += (self.scale * self.lora_b @ self.lora_a).to(self.weight.dtype)
        linear = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        linear.weight, linear.bias = self.weight, self.bias
        return linear.train(self.training)


def fresh_pair(linear: nn.Linear, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Give A, drawn as torch draws a linear layer, and B of zeros, so that nothing changes at first; float32."""
    bound = math.sqrt(1 / linear.in_features)
    a = torch.empty(rank, linear.in_features).uniform_(-bound, bound, generator=generator)
    device = linear.weight.device
    return a.to(device), torch.zeros(linear.out_features, rank, device=device)
