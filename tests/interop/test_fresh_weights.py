"""A model from random weights begins as transformers lets the same architecture begin, matrix by matrix."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import zoo

SIZES: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 72, "num_hidden_layers": 3, "num_attention_heads": 4},
    "gpt2": {"n_embd": 72, "n_layer": 3, "n_head": 4, "bos_token_id": 1, "eos_token_id": 1},
    "llama": {"hidden_size": 72, "num_hidden_layers": 3, "num_attention_heads": 4},
    "bart": {"d_model": 72, "encoder_layers": 3, "decoder_layers": 2},
    "t5": {
        "d_model": 72,
        "num_layers": 3,
        "num_decoder_layers": 2,
        "num_heads": 3,
        "d_kv": 40,
        "initializer_factor": 0.7,
    },
}
CLASSES: dict[str, tuple[str, Any]] = {
    "bert": ("fill-mask", transformers.AutoModelForMaskedLM),
    "gpt2": ("text-generation", transformers.AutoModelForCausalLM),
    "llama": ("text-generation", transformers.AutoModelForCausalLM),
    "bart": ("text2text-generation", transformers.AutoModelForSeq2SeqLM),
    "t5": ("text2text-generation", transformers.AutoModelForSeq2SeqLM),
}


@pytest.mark.parametrize("architecture", SIZES)
def test_each_matrix_has_the_deviation_that_transformers_gives_it(tmp_path: Path, architecture: str) -> None:
    task, kind = CLASSES[architecture]
    zoo.build(zoo.make_spec(architecture, vocab_size=101, **SIZES[architecture]), task, seed=5).save(tmp_path)
    fresh = kind.from_pretrained(tmp_path).state_dict()
    torch.manual_seed(6)
    own = kind.from_config(transformers.AutoConfig.from_pretrained(tmp_path)).state_dict()
    matrices = {name: tensor for name, tensor in fresh.items() if tensor.dim() > 1 and bool(tensor.any())}
    assert len(matrices) > 10
    for name, tensor in matrices.items():
        chance = (1 / tensor.numel()) ** 0.5  # of the ratio of two estimates
        assert float(tensor.std() / own[name].std()) == pytest.approx(1, abs=5 * chance), name
