"""Activation functions under the names that published configs use."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - the field's customary name
from torch import Tensor

Activation = Callable[[Tensor], Tensor]

# gelu: Hendrycks & Gimpel 2016 (https://arxiv.org/abs/1606.08415), exact; gelu_new, gelu_fast and gelu_pytorch_tanh
# are spellings of its tanh approximation. silu: Elfwing et al. 2017.
_tanh_gelu = partial(F.gelu, approximate="tanh")
ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": F.gelu,
    "gelu_new": _tanh_gelu,
    "gelu_fast": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
}
