"""Activation functions under the names that published configs use."""

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - the field's customary name
from torch import Tensor

Activation = Callable[[Tensor], Tensor]

_tanh_gelu = partial(F.gelu, approximate="tanh")


def gelu_new(x: Tensor) -> Tensor:
    """GELU by tanh. In bfloat16 it is rounded after every step, as where its checkpoints were made.

    A fused kernel rounds once. It is no nearer to float32 over a whole model, but 2 % of the largest state away from it.
    """
    if x.dtype != torch.bfloat16:
        return _tanh_gelu(x)
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
