"""What beams in another order cost: moving those that change, against copying the cache whole. Prints milliseconds a step."""

import time
from collections.abc import Callable
from typing import Any

import torch

from zoo.layers.cache import Cache

LAYERS, HEADS, HEAD_DIM = 12, 12, 64  # GPT-2
CASES = [(40, 16), (500, 400), (500, 16)]  # positions read, and how many of them are the prompt's


def best(way: Callable[[], Any], times: int = 30) -> float:
    """Give the least time, in milliseconds."""
    found = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        way()
        found = min(found, time.perf_counter() - start)
    return 1000 * found


@torch.inference_mode()
def main() -> None:
    """Half of the beams go on from the first one."""
    torch.set_num_threads(1)
    print("positions  prompt  beams   moved  a beam  copied whole")
    for length, shared in CASES:
        for beams in (2, 4, 8):
            cache, key = Cache(LAYERS, 512), torch.randn(beams, HEADS, length, HEAD_DIM)
            for layer in cache.layers:
                layer.extend(key, key)
            rows = [0 if row >= beams // 2 else row for row in range(beams)]
            memories = [memory for layer in cache.layers for memory in layer.memory or ()]
            chosen = torch.tensor(rows)
            moved = best(lambda cache=cache, rows=rows, shared=shared: cache.select(rows, shared))
            whole = best(lambda memories=memories, chosen=chosen: [memory[chosen] for memory in memories])
            print(f"{length:9}{shared:8}{beams:7}{moved:8.2f}{moved / beams:8.2f}{whole:14.2f}")


if __name__ == "__main__":
    main()
