"""Linear layers, multiplied by whatever is fastest here.

torch multiplies float32 matrices on a CPU with MKL, which keeps its widest instructions for one maker's processors; oneDNN,
which torch brings along for bfloat16, uses what there is. On another maker's processor with AVX-512 the same product takes
half the time, forward and backward (docs/measurements.md). oneDNN's operator is private to torch: it is tried on small
matrices first, and without it all goes on as in torch's own layer.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

LEAST_ROWS = 16
LEAST_PRODUCTS = 2**22  # of numbers: below, it is over before a Python function has begun


class Linear(nn.Linear):
    """torch's linear layer, faster on some CPUs. What takes its place or its weight behaves as with torch's own."""

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (…, in). Returns (…, out)."""
        return multiply(hidden, self.weight, self.bias)


def is_plain(module: nn.Module) -> bool:
    """Tell whether a module is a linear layer that does nothing else."""
    return type(module) in (nn.Linear, Linear)


def multiply(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """hidden: (…, in); weight: (out, in); bias: (out). Returns (…, out)."""
    if not _pays(hidden, weight):
        return F.linear(hidden, weight, bias)
    if torch.is_grad_enabled():
        product: Tensor = _Product.apply(hidden, weight, bias)  # type: ignore[no-untyped-call]
        return product
    return onednn_product(hidden, weight, bias)


def onednn_product(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply by oneDNN, without gradients. weight: as it is, or in the order of its kernels."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(hidden, weight, bias, "none", [], "")
    return product


@cache
def is_available() -> bool:
    """Tell whether oneDNN's product is right here, by trying one, and the processor one on which it pays."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(rows, 64, generator=generator) for rows in (24, 48))
    try:
        found = onednn_product(hidden, weight, None)
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    return bool(torch.allclose(found, hidden @ weight.T, atol=1e-4))


def _pays(hidden: Tensor, weight: Tensor) -> bool:
    return (
        hidden.numel() * weight.shape[0] >= LEAST_PRODUCTS
        and hidden.numel() >= LEAST_ROWS * weight.shape[1]
        and hidden.dtype == weight.dtype == torch.float32
        and hidden.device.type == weight.device.type == "cpu"
        and type(weight) in (Tensor, nn.Parameter)
        and type(hidden) in (Tensor, nn.Parameter)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and is_available()
    )


class _Product(torch.autograd.Function):
    """The product with its gradients; they are products again, and have gradients too."""

    generate_vmap_rule = True

    @staticmethod
    def forward(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return onednn_product(hidden, weight, bias)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        hidden, weight, _ = inputs
        context.save_for_backward(hidden, weight)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight = context.saved_tensors
        rows = gradient.reshape(-1, weight.shape[0])
        to_hidden, to_weight, to_bias = context.needs_input_grad
        return (
            multiply(rows, weight.t()).view_as(hidden) if to_hidden else None,
            multiply(rows.t(), hidden.reshape(-1, weight.shape[1]).t()) if to_weight else None,
            rows.sum(0) if to_bias else None,
        )
