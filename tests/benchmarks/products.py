"""What products of float32 matrices cost on a CPU by torch's linear layer, and by Zoo's: `python -m tests.benchmarks.products`.

Milliseconds, the least of several times: the product alone, and with the gradients of its input and its weight.
"""

import argparse
import timeit
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from zoo.layers.linear import is_available, multiply

SIZES = ((384, 1536), (768, 768), (768, 3072))
ROWS = (64, 300, 1024, 2000)
Product = Callable[[Tensor, Tensor], Tensor]


def milliseconds(way: Callable[[], object]) -> float:
    """Give the least time of a call."""
    return 1e3 * min(timeit.repeat(way, number=4, repeat=7)) / 4


def compare(width: int, out: int, rows: int) -> None:
    """Print a line for so many rows by a matrix of a size."""
    hidden, weight = torch.randn(rows, width, requires_grad=True), torch.randn(out, width, requires_grad=True)
    slope = torch.ones(rows, out)

    def answer(product: Product) -> None:
        with torch.no_grad():
            product(hidden, weight)

    def learn(product: Product) -> None:
        torch.autograd.grad(product(hidden, weight), (hidden, weight), slope)

    found = [milliseconds(partial(way, product)) for way in (answer, learn) for product in (F.linear, multiply)]
    print(f"{width:5}  {out:5}  {rows:5}  {found[0]:7.2f}  {found[1]:7.2f}  {found[2]:12.2f}  {found[3]:7.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    print(f"oneDNN multiplies here: {is_available()}")
    print("width    out   rows    torch      Zoo  torch, learns      Zoo")
    for width, out in SIZES:
        for rows in ROWS:
            compare(width, out, rows)


if __name__ == "__main__":
    main()
