"""Greedy decoding with litgpt, in an environment that has it: `python litgpt_decode.py PROMPT NEW THREADS`.

Writes once for each line that it reads, and answers with how many tokens it wrote.
"""

import sys

import torch
from litgpt import GPT, Config
from litgpt.generate.base import generate


def main() -> None:
    """Run a random model of the sizes of TinyLlama 1.1B in bfloat16."""
    prompt, new, threads = map(int, sys.argv[1:4])
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.bfloat16)
    model = GPT(Config.from_name("tiny-llama-1.1b")).eval()
    model.max_seq_length = prompt + new
    model.set_kv_cache(batch_size=1)
    ids = torch.randint(1, 32000, (prompt,))
    for _ in sys.stdin:
        with torch.inference_mode():
            written = generate(model, ids, prompt + new, temperature=0.0, top_k=1)
        print(len(written) - prompt, flush=True)


if __name__ == "__main__":
    main()
