"""Quantised weights: linear layers held in 8 or 4 bits a number, through `torchao`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from zoo.errors import ExtraMissing, InvalidInput
from zoo.layers.linear import is_plain, is_right

Kind = Literal["int8", "int4"]
KINDS: tuple[str, ...] = get_args(Kind)
GROUP = 32  # numbers of a row that have a scale of their own, in 4 bits
MOST_STEP_ROWS = 16  # beyond, to turn the matrix to bfloat16 takes no longer (docs/measurements.md)
ROWS = 16  # the kernel for 4 bits on a CPU takes matrices of so many rows, or a multiple


@dataclass(frozen=True)
class Accuracy:
    """What it costs, as measured once. perplexity_ratio: the perplexity over that of the weights as they were."""

    perplexity_ratio: float
    source: str


SOURCE = "GPT-2 of 3.2 million parameters on tiny Shakespeare, docs/measurements.md"
MEASURED: Mapping[str, Accuracy] = {"int8": Accuracy(0.999995, SOURCE), "int4": Accuracy(1.00095, SOURCE)}


def check_quantize(kind: str | None) -> None:
    """Check that weights can be quantised this way here. Raises InvalidInput, ExtraMissing."""
    if kind is not None and kind not in KINDS:
        raise InvalidInput(f"quantize is {kind!r}; it would be 'int8' or 'int4'")
    if kind is not None:
        _torchao()


def quantizable(backbone: nn.Module, kind: str) -> dict[str, nn.Linear]:
    """Give the layers that are quantised, by name: the backbone's linear ones, whose weight no other layer shares.

    In 4 bits those alone that have a multiple of 32 inputs and of 16 outputs. Embeddings, norms, biases and heads stay.
    """
    uses = Counter(id(parameter) for _, parameter in backbone.named_parameters(remove_duplicate=False))
    every = {name: module for name, module in backbone.named_modules() if is_plain(module)}
    return {
        name: layer
        for name, layer in every.items()
        if uses[id(layer.weight)] == 1
        and (kind == "int8" or (layer.in_features % GROUP == 0 and layer.out_features % ROWS == 0))
    }


def size_bytes(layer: nn.Linear, kind: str) -> int:
    """Give the memory of a layer's quantised weight, its scales included."""
    rows, numbers = layer.out_features, layer.weight.numel()
    if kind == "int8":
        return numbers + rows * (torch.float32.itemsize + torch.int8.itemsize)
    return numbers // 2 + numbers // GROUP * 2 * torch.bfloat16.itemsize


class BFloat16Linear(nn.Linear):
    """A linear layer that multiplies in bfloat16 whatever it is given: other kernels for 4 bits are slow, or absent."""

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (…, in). Returns (…, out), in its dtype."""
        multiplied = F.linear(hidden.to(torch.bfloat16), self.weight).to(hidden.dtype)
        return multiplied if self.bias is None else multiplied + self.bias


class Int8Linear(nn.Linear):
    """A linear layer in 8 bits. A step of a few rows in bfloat16 on a CPU, without gradients, reads the 8 bits themselves.

    torchao turns all of a matrix to the dtype of what it is multiplied by first, each time: right for many rows, and
    three to four times the work for a few.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (…, in). Returns (…, out)."""
        rows = hidden.numel() // self.in_features
        if not 0 < rows <= MOST_STEP_ROWS or hidden.dtype != torch.bfloat16 or hidden.device.type != "cpu":
            return super().forward(hidden)
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or not _reads_int8():
            return super().forward(hidden)
        weight: Any = self.weight
        flat = hidden.reshape(rows, self.in_features)
        multiplied = torch._weight_int8pack_mm(flat, weight.qdata, weight.scale.flatten().to(hidden.dtype))
        multiplied = multiplied.view(*hidden.shape[:-1], self.out_features)
        return multiplied if self.bias is None else multiplied + self.bias


@cache
def _reads_int8() -> bool:
    """Tell whether torch's own product with 8 bits works here, by trying it: it is private."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 64, generator=generator).to(torch.bfloat16)
    weight = torch.randint(-127, 128, (48, 64), dtype=torch.int8, generator=generator)
    scales, expected = torch.ones(48, dtype=torch.bfloat16), hidden.float() @ weight.T.float()
    return is_right(lambda: torch._weight_int8pack_mm(hidden, weight, scales), expected, atol=1)


def quantize(backbone: nn.Module, kind: str) -> None:
    """Quantise the layers of a backbone in place, one after the other: int8 by row, int4 by groups of 32 numbers.

    Raises InvalidInput where no layer can be, ExtraMissing.
    """
    layers = quantizable(backbone, kind)
    if not layers:
        raise InvalidInput(
            f"No linear layer can be held in 4 bits: none has a multiple of {GROUP} inputs and of {ROWS} outputs. "
            "Try: quantize='int8'"
        )
    torchao = _torchao()
    for layer in layers.values():
        weight = layer.weight.detach().contiguous()  # kernels take no parts of other matrices
        if kind == "int8":
            layer.__class__ = Int8Linear
        elif weight.dtype != torch.bfloat16:
            weight = weight.to(torch.bfloat16)
            layer.__class__ = BFloat16Linear
        layer.weight = nn.Parameter(weight, requires_grad=False)
        torchao.quantize_(layer, _recipe(kind, layer.weight.is_cuda))


def _recipe(kind: str, on_gpu: bool) -> Any:
    """Give torchao's config. Its wish to change settings of the compiler for the whole process is turned down."""
    torchao = _torchao()
    if kind == "int8":
        return torchao.Int8WeightOnlyConfig(set_inductor_config=False)
    if on_gpu:
        return torchao.Int4WeightOnlyConfig(
            group_size=GROUP, int4_packing_format="tile_packed_to_4d", set_inductor_config=False
        )
    prototype: Any = import_module("torchao.prototype.quantization.int4")
    return prototype.PrototypeInt4WeightOnlyConfig(group_size=GROUP, set_inductor_config=False)


def _torchao() -> Any:
    """Give torchao's module for quantisation. Raises ExtraMissing."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # about kernels that are built for other machines
    try:
        return import_module("torchao.quantization")
    except ImportError as error:
        raise ExtraMissing("quantize", "quantised weights", str(error)) from None
    finally:
        logging.disable(before)
