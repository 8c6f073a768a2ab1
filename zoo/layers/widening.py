"""Steps of decoding in bfloat16 on a CPU, mixed in float32.

torch's kernel for bfloat16 prepares keys and values for products of matrices, which one query does not repay: to copy them
as float32 and mix those takes a half to a quarter of the time (docs/measurements.md). The copies lie in memory that is used
again: new memory for each would cost more than is saved, for the system hands it out page by page.
"""

import threading

import torch
from torch import Tensor

MOST_ELEMENTS = 2**20  # of the keys, and of the values: 4 MiB each, as float32


class _Memory(threading.local):
    """Room for keys and for values, a thread's own."""

    def __init__(self) -> None:
        with torch.inference_mode(False):
            self.key, self.value = torch.empty(MOST_ELEMENTS), torch.empty(MOST_ELEMENTS)


_memory = _Memory()


def pays(query: Tensor, key: Tensor) -> bool:
    """Tell whether this is such a step, over few enough keys. Both are (batch, heads, time, head_dim)."""
    return (
        query.shape[2] == 1
        and query.dtype == torch.bfloat16
        and query.device.type == "cpu"
        and key.numel() <= MOST_ELEMENTS
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


def widen(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give them in float32. Keys and values hold until the next call in this thread."""
    return query.float(), _copy(key, _memory.key), _copy(value, _memory.value)


def _copy(narrow: Tensor, memory: Tensor) -> Tensor:
    return memory[: narrow.numel()].view(narrow.shape).copy_(narrow)
