"""Architectures with one fault at a time, chosen by $BASE and $MUTANT: what the conformance kit has to notice."""

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from decoder_mutants import GEMMA2, GPT2, LLAMA, STRETCHED_LLAMA
from encoder_decoder_mutants import GATED_T5, T5
from encoder_mutants import BERT, MODERNBERT
from mutating import Base, Mutation

import zoo
from zoo.architecture import Architecture

BASES = {
    "bert": Base("bert", "zoo_encoder_only.bert"),
    "modernbert": Base("modernbert", "zoo_encoder_only.modernbert"),
    "gpt2": Base("gpt2", "zoo_decoder_only.gpt2"),
    "llama": Base("llama", "zoo_decoder_only.llama"),
    "stretched llama": Base(
        "llama",
        "zoo_decoder_only.llama",
        {
            "rope_theta": None,
            "rope_parameters": {
                "rope_theta": 100.0,
                "rope_type": "llama3",
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        },
    ),
    "gemma2": Base("gemma2", "zoo_decoder_only.gemma2"),
    "t5": Base("t5", "zoo_encoder_decoder.t5"),
    "gated t5": Base("t5", "zoo_encoder_decoder.t5", {"feed_forward_proj": "gated-silu"}),
}
MUTATIONS: Mapping[str, Mapping[str, Mutation]] = {
    "bert": BERT,
    "modernbert": MODERNBERT,
    "gpt2": GPT2,
    "llama": LLAMA,
    "stretched llama": STRETCHED_LLAMA,
    "gemma2": GEMMA2,
    "t5": T5,
    "gated t5": GATED_T5,
}


@zoo.hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """The base with the fault that $MUTANT names; without one, as it is."""
    return [mutated(os.environ["BASE"], os.environ.get("MUTANT", ""))]


@cache
def mutated(name: str, mutant: str) -> Architecture:
    """Give a base with a fault, made once a process."""
    base = BASES[name]
    given = importlib.import_module(base.module).zoo_architectures()
    original: Architecture = next(found for found in given if found.name == base.architecture)
    original = replace(original, toy_sizes={**original.toy_sizes, **base.toy_sizes})
    return MUTATIONS[name][mutant](original) if mutant else original
