"""Linear layers, multiplied by whatever is fastest here.

torch multiplies float32 matrices on a CPU with MKL, which keeps its widest instructions for one maker's processors; oneDNN,
which torch brings along for bfloat16, uses what there is. On another maker's processor with AVX-512 the same product takes
half the time, forward and backward (docs/measurements.md). oneDNN's operator is private to torch: it is tried on small
matrices first, and without it all goes on as in torch's own layer.

oneDNN writes and keeps machine code for each new shape, 0.6 MB in 2 ms. Batches have ever new numbers of rows, so that
rows are multiplied in pieces of few sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

PIECES = (1024, 256, 64)  # rows that are multiplied at once
LEAST_ROWS = PIECES[-1]
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
    return _product(hidden, weight, bias)


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
    return is_right(lambda: onednn_product(hidden, weight, None), hidden @ weight.T, atol=1e-4, rtol=1e-5)


def is_right(product: Callable[[], Tensor], expected: Tensor, atol: float, rtol: float = 1e-2) -> bool:
    """Tell whether a product by one of torch's private operators is there, and gives the numbers expected, float32."""
    try:
        with torch.inference_mode():
            found = product()
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    return torch.allclose(found.float(), expected, atol=atol, rtol=rtol)


def _pays(hidden: Tensor, weight: Tensor) -> bool:
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False  # what is traced may run elsewhere, by torch's own operators
    return (
        hidden.numel() * weight.shape[0] >= LEAST_PRODUCTS
        and hidden.numel() >= LEAST_ROWS * weight.shape[1]
        and hidden.dtype == weight.dtype == torch.float32
        and hidden.device.type == weight.device.type == "cpu"
        and type(weight) in (Tensor, nn.Parameter)
        and type(hidden) in (Tensor, nn.Parameter)
        and not torch.is_autocast_enabled("cpu")
        and is_available()
    )


class _Product(torch.autograd.Function):
    """The product with its gradients, which have gradients too."""

    generate_vmap_rule = True

    @staticmethod
    def forward(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _product(hidden, weight, bias)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        hidden, weight, _ = inputs
        context.save_for_backward(hidden, weight)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight = context.saved_tensors
        to_hidden, to_weight, to_bias = context.needs_input_grad
        rows, read = gradient.reshape(-1, weight.shape[0]), hidden.reshape(-1, weight.shape[1])
        outer = torch.mm if torch.is_grad_enabled() else _outer_product
        return (
            multiply(gradient, weight.t()) if to_hidden else None,
            outer(rows.t(), read) if to_weight else None,
            rows.sum(0) if to_bias else None,
        )


def _product(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """hidden: (…, in); weight: (out, in). Returns (…, out)."""
    rows, weight = hidden.reshape(-1, weight.shape[1]), _without_holes(weight)
    if len(rows) in PIECES:
        return onednn_product(hidden, weight, bias)
    product = rows.new_empty(len(rows), len(weight))
    for piece, of_known_size in _pieces(len(rows)):
        product[piece] = (onednn_product if of_known_size else F.linear)(rows[piece], weight, bias)
    return product.view(*hidden.shape[:-1], len(weight))


def _outer_product(turned: Tensor, read: Tensor) -> Tensor:
    """turned: (out, rows); read: (rows, in). Returns (out, in)."""
    read = _without_holes(read)
    total = turned.new_zeros(len(turned), read.shape[1])
    for piece, of_known_size in _pieces(len(read)):
        if of_known_size:
            total += onednn_product(turned[:, piece], read[piece].t(), None)
        else:
            total.addmm_(turned[:, piece], read[piece])
    return total


def _without_holes(matrix: Tensor) -> Tensor:
    """Give a matrix whose rows or columns follow one another: of others oneDNN takes a hundred times as long."""
    if matrix.is_contiguous() or matrix.t().is_contiguous():
        return matrix
    return matrix.t().contiguous().t() if matrix.stride(0) == 1 else matrix.contiguous()


def _pieces(rows: int) -> Iterator[tuple[slice, bool]]:
    """Give the pieces of so many rows, and whether they are of one of the sizes: the last is what is left."""
    start = 0
    for size in PIECES:
        while rows - start >= size:
            yield slice(start, start + size), True
            start += size
    if start < rows:
        yield slice(start, rows), False
