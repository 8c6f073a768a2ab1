"""Activation functions under the names that published configs use."""

import math
from collections.abc import Callable, Mapping
from functools import cache, partial

import torch
import torch.nn.functional as F  # noqa: N812 - the field's customary name
from torch import Tensor

Activation = Callable[[Tensor], Tensor]

_tanh_gelu = partial(F.gelu, approximate="tanh")


def gelu_new(x: Tensor) -> Tensor:
    """GELU by tanh. In bfloat16 it is rounded after every step, as where its checkpoints were made.

    A fused kernel rounds once. It is no nearer to float32 over a whole model, but 2 % of the largest state away from it.
    bfloat16 has 65,536 values: without gradients on a CPU the steps are taken once for each, and then looked up.
    """
    if x.dtype != torch.bfloat16:
        return _tanh_gelu(x)
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return _stepwise_gelu(x)
    bits = x.view(torch.int16).int() & 0xFFFF
    return _stepwise_gelu_of_all().index_select(0, bits.flatten()).view(x.shape)


@cache
def _stepwise_gelu_of_all() -> Tensor:
    """Give it for every bfloat16, by its bits as a number."""
    with torch.inference_mode(False):
        return _stepwise_gelu(torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16))


def _stepwise_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x.pow(3.0))))


# gelu: Hendrycks & Gimpel 2016 (https://arxiv.org/abs/1606.08415), exact; gelu_new, gelu_fast and gelu_pytorch_tanh
# are spellings of its tanh approximation. silu: Elfwing et al. 2017.
ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": F.gelu,
    "gelu_new": gelu_new,
    "gelu_fast": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
}
