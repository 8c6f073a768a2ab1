"""A linear layer with a low-rank neighbour (Hu et al. 2021, section 4.1), and with lengths that learn (Liu et al. 2024)."""

import math

import torch
from torch import Tensor, nn

from zoo.layers.linear import Linear, multiply


class LoraLinear(nn.Linear):
    """x·Wᵀ + bias + scale · (x·Aᵀ)·Bᵀ: W and bias are another layer's own parameters, A and B are learnt beside them.

    With a magnitude this is DoRA: A and B turn the rows of W, and the magnitude says how long each is then,
    x·(magnitude · (W + scale·B·A) / lengths of its rows)ᵀ + bias. Source: Liu et al. 2024, eq. 5.
    """

    lora_magnitude: nn.Parameter | None

    def __init__(
        self,
        linear: nn.Linear,
        a: Tensor,
        b: Tensor,
        scale: float,
        dropout: float = 0.0,
        magnitude: Tensor | None = None,
    ) -> None:
        """a: (rank, in); b: (out, rank). scale: of the product. dropout: of what A reads. magnitude: (out), for DoRA."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.lora_a, self.lora_b = nn.Parameter(a), nn.Parameter(b)
        self.register_parameter("lora_magnitude", None if magnitude is None else nn.Parameter(magnitude))
        self.scale = scale
        self.dropout = nn.Dropout(dropout)
        self.train(linear.training)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (…, in). Returns (…, out)."""
        added = multiply(multiply(self.dropout(hidden).to(self.lora_a.dtype), self.lora_a), self.lora_b)
        added = (self.scale * added).to(hidden.dtype)
        if self.lora_magnitude is None:
            return multiply(hidden, self.weight, self.bias) + added
        turned = (multiply(hidden, self.weight) + added) * self._stretch().to(hidden.dtype)
        return turned if self.bias is None else turned + self.bias.to(turned.dtype)

    def _stretch(self) -> Tensor:
        """Give the factor of each output, (out). The lengths take no gradient (Liu et al. 2024, section 4.3)."""
        assert self.lora_magnitude is not None
        return self.lora_magnitude / row_lengths(self._turned())

    def _turned(self) -> Tensor:
        """W + scale·B·A, (out, in), without gradients."""
        with torch.no_grad():
            return self.weight + self.scale * self.lora_b @ self.lora_a

    def learnt(self) -> list[nn.Parameter]:
        """Give what is learnt beside W and bias."""
        return [self.lora_a, self.lora_b, *([] if self.lora_magnitude is None else [self.lora_magnitude])]

    def merged(self) -> nn.Linear:
        """Give the layer without a neighbour, what that adds put into W itself."""
        with torch.no_grad():
            turned = self._turned()
            self.weight.copy_(turned if self.lora_magnitude is None else turned * self._stretch()[:, None])
        linear = Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        linear.weight, linear.bias = self.weight, self.bias
        return linear.train(self.training)


def row_lengths(weight: Tensor) -> Tensor:
    """Give the length of each row of a matrix, above 0: (out, in) to (out), at least float32."""
    dtype = torch.promote_types(weight.dtype, torch.float32)
    lengths: Tensor = torch.linalg.vector_norm(weight.detach(), dim=1, dtype=dtype)
    return lengths.clamp(min=torch.finfo(dtype).tiny)


def fresh_pair(linear: nn.Linear, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Give A, drawn as torch draws a linear layer, and B of zeros, so that nothing changes at first; float32."""
    bound = math.sqrt(1 / linear.in_features)
    a = torch.empty(rank, linear.in_features).uniform_(-bound, bound, generator=generator)
    device = linear.weight.device
    return a.to(device), torch.zeros(linear.out_features, rank, device=device)
