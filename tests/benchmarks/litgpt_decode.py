"""Greedy decoding with litgpt, in an environment that has it: `python litgpt_decode.py PROMPT NEW ROUNDS`. Prints JSON."""

import json
import statistics
import sys
import time

import torch
from litgpt import GPT, Config
from litgpt.generate.base import generate


def main() -> None:
    """Time a random model of the sizes of TinyLlama 1.1B in bfloat16."""
    prompt, new, rounds = map(int, sys.argv[1:4])
    torch.set_default_dtype(torch.bfloat16)
    model = GPT(Config.from_name("tiny-llama-1.1b")).eval()
    model.max_seq_length = prompt + new
    model.set_kv_cache(batch_size=1)
    ids = torch.randint(1, 32000, (prompt,))
    seconds = []
    with torch.inference_mode():
        for _ in range(rounds + 1):
            start = time.perf_counter()
            generate(model, ids, prompt + new, temperature=0.0, top_k=1)
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"ms_a_step": 1000 * statistics.median(seconds[1:]) / new, "seconds": seconds[1:]}))


if __name__ == "__main__":
    main()
