"""Norms beside torch's LayerNorm."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps), times a weight (Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467)."""

    def __init__(self, size: int, eps: float, offset: float = 0.0) -> None:
        """offset: added to the weight; Gemma stores the weight's distance from 1."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.eps = eps
        self.offset = offset

    def initial_values(self) -> Mapping[str, Tensor]:
        """See zoo.layers.initialization: at first the weight counts as 1."""
        return {"weight": torch.full(self.weight.shape, 1.0 - self.offset)}

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (…, size). Returns its shape and dtype; the mean is taken in float32."""
        exact = hidden.float()
        normal = exact * torch.rsqrt(exact.square().mean(-1, keepdim=True) + self.eps)
        if self.offset:
            return (normal * (self.offset + self.weight.float())).to(hidden.dtype)
        return normal.to(hidden.dtype) * self.weight
