"""Models that write, made by transformers with random weights, and what it writes with them."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from tests.checkpoints import write_tokenizer

PROMPTS = ["the cat sat", "anna lives in berlin and karin went home from paris", "who ran ? not the dog"]
GPT2 = {"vocab_size": 53, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 40, "bos_token_id": 2}
T5 = {"vocab_size": 53, "d_model": 24, "d_kv": 10, "d_ff": 40, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 3}
BART = {
    "vocab_size": 53, "d_model": 24, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 3,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 36, "max_position_embeddings": 32,
    "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3,
}  # fmt: skip


def write(folder: Path, class_name: str, config: Any, **generation: Any) -> nn.Module:
    """Let transformers save a random model, with the tests' tokenizer and these generation defaults."""
    oracle: Any = getattr(transformers, class_name)(config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in oracle.parameters():
            centre = 1.0 if parameter.dim() == 1 and bool((parameter == 1).all()) else 0.0
            scale = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.3
            parameter.copy_(centre + 1.5 * scale * torch.randn(parameter.shape, generator=generator))
    oracle.save_pretrained(folder)
    write_tokenizer(folder)
    if generation:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    found: nn.Module = oracle
    return found


def gpt2(folder: Path, eos: int | None = 50, **generation: Any) -> nn.Module:
    config = transformers.GPT2Config(**GPT2, pad_token_id=0, eos_token_id=eos)
    return write(folder, "GPT2LMHeadModel", config, **generation)


def continued(oracle: Any, ids: list[int], **settings: Any) -> list[int]:
    """What transformers writes greedily after one prompt, the token that ends it left out."""
    given = torch.tensor([ids])
    usual = {"attention_mask": torch.ones_like(given), "do_sample": False, "num_beams": 1, "use_cache": False}
    written = oracle.generate(given, **(usual | settings))[0]
    start = 1 if oracle.config.is_encoder_decoder else len(ids)
    end = oracle.config.eos_token_id
    return [token for token in written[start:].tolist() if token != end]
