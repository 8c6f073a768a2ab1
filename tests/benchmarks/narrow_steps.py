"""What a step in bfloat16 costs on a CPU by torch's kernels, and as Zoo takes it: `python -m tests.benchmarks.narrow_steps`.

Microseconds, the least of several times, on one thread.
"""

import timeit
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from zoo.layers import packing, widening
from zoo.layers.activations import ACTIVATIONS
from zoo.quantization import quantize

HEADS, HEAD_DIM, INTERMEDIATE = 12, 64, 3072  # GPT-2's


def microseconds(way: Callable[[], Tensor], calls: int = 100) -> float:
    """Give the least time of a call."""
    return 1e6 * min(timeit.repeat(way, number=calls, repeat=9)) / calls


def compare(rows: int, keys: int) -> None:
    """Print a line for so many rows of a batch, over so many keys each."""
    shape = (rows, HEADS, keys, HEAD_DIM)
    query, key, value = (torch.randn(size).bfloat16() for size in ((*shape[:2], 1, HEAD_DIM), shape, shape))
    x, gelu = torch.randn(rows, 1, INTERMEDIATE).bfloat16(), ACTIVATIONS["gelu_new"]

    def narrow() -> Tensor:
        return F.scaled_dot_product_attention(query, key, value)

    def wide() -> Tensor:
        return F.scaled_dot_product_attention(*widening.widen(query, key, value)).bfloat16()

    with torch.no_grad():
        found = [microseconds(narrow), microseconds(wide), microseconds(lambda: gelu(x))]
    found.insert(2, microseconds(lambda: gelu(x)))  # where gradients may be wanted it is computed
    print(f"{rows:4}  {keys:4}  {found[0]:9.0f}  {found[1]:10.0f}  {found[2]:8.0f}  {found[3]:9.0f}")


def compare_products(rows: int) -> None:
    """Print a line for so many rows by a matrix of 2048 by 5632: whole, in 8 bits by torchao and as Zoo reads them."""
    layer = nn.ModuleDict({"linear": nn.Linear(2048, 5632, bias=False)}).to(torch.bfloat16)
    hidden, linear = torch.randn(1, rows, 2048).bfloat16(), layer["linear"]
    with torch.inference_mode():
        found = [microseconds(lambda: linear(hidden), 5)]
        with packing.PackedWeights([layer]).applied():
            found.append(microseconds(lambda: linear(hidden), 5))
        quantize(layer, "int8")
        found += [microseconds(lambda: nn.Linear.forward(linear, hidden), 5), microseconds(lambda: linear(hidden), 5)]
    print(f"{rows:4}" + "".join(f"{time:10.0f}" for time in found))


def main() -> None:
    torch.set_num_threads(1)
    print("rows  keys  attention  in float32  gelu_new  looked up")
    for rows, keys in ((1, 40), (1, 400), (8, 40), (8, 170)):
        compare(rows, keys)
    print("rows     torch  prepared   torchao      Zoo, 8 bits")
    for rows in (1, 4, 8, 16, 32):
        compare_products(rows)


if __name__ == "__main__":
    main()
