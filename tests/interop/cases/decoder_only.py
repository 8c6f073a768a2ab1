"""Decoder-only architectures in the parity suite."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from tests.interop.case import Case

ACTIVATIONS = st.sampled_from(["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh"])
EPSILONS = st.sampled_from([1e-6, 1e-5, 1e-3, 1e-1])
WIDTHS = st.sampled_from([12, 24, 36])
POSITIONS = st.integers(11, 30)

GPT2 = Case(
    architecture="gpt2",
    config_class="GPT2Config",
    classes={
        "feature-extraction": "GPT2Model",
        "text-generation": "GPT2LMHeadModel",
        "text-classification": "GPT2ForSequenceClassification",
        "token-classification": "GPT2ForTokenClassification",
        "question-answering": "GPT2ForQuestionAnswering",
    },
    config={
        "vocab_size": 53,
        "n_embd": 24,
        "n_layer": 2,
        "n_head": 3,
        "n_positions": 19,
        "n_inner": 40,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    variant_task="text-generation",
    variants={
        "scores divided by the layer's number": {"scale_attn_by_inverse_layer_idx": True},
        "scores not scaled": {"scale_attn_weights": False},
        "scores in float32": {"reorder_and_upcast_attn": True},
        "four times the width inside": {"n_inner": None},
        "an output layer of its own": {"tie_word_embeddings": False},
        "another activation": {"activation_function": "relu"},
        "an exact activation": {"activation_function": "gelu"},
        "four heads": {"n_head": 4},
        "a large epsilon": {"layer_norm_epsilon": 0.1},
        "several tokens that end a text": {"eos_token_id": [2, 5]},
        "other dropout": {"resid_pdrop": 0.0, "embd_pdrop": 0.2, "attn_pdrop": 0.3},
    },
    draws={
        "n_embd": WIDTHS,
        "n_layer": st.integers(1, 3),
        "n_head": st.sampled_from([1, 2, 3, 4, 6]),
        "n_positions": POSITIONS,
        "n_inner": st.none() | st.integers(5, 50),
        "activation_function": ACTIVATIONS,
        "layer_norm_epsilon": EPSILONS,
        "scale_attn_weights": st.booleans(),
        "scale_attn_by_inverse_layer_idx": st.booleans(),
        "reorder_and_upcast_attn": st.booleans(),
        "tie_word_embeddings": st.booleans(),
    },
)


def classes(family: str, generation: str = "ForCausalLM", tokens: bool = True, answers: bool = True) -> dict[str, str]:
    """transformers' classes for each task. family: what their names begin with."""
    found = {
        "feature-extraction": f"{family}Model",
        "text-generation": f"{family}{generation}",
        "text-classification": f"{family}ForSequenceClassification",
    }
    found |= {"token-classification": f"{family}ForTokenClassification"} if tokens else {}
    return found | ({"question-answering": f"{family}ForQuestionAnswering"} if answers else {})


GPT = Case(
    architecture="openai-gpt",
    config_class="OpenAIGPTConfig",
    classes=classes("OpenAIGPT", "LMHeadModel", tokens=False, answers=False),
    config={"vocab_size": 53, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 19, "pad_token_id": 0},
    variant_task="text-generation",
    variants={
        "another activation": {"afn": "silu"},
        "that activation under its other name": {"afn": "swish"},
        "no approximation": {"afn": "relu"},
        "an output layer of its own": {"tie_word_embeddings": False},
        "another epsilon": {"layer_norm_epsilon": 0.1},
        "four heads": {"n_head": 4},
        "tokens that begin and end a text": {"bos_token_id": 1, "eos_token_id": 2},
        "other dropout": {"resid_pdrop": 0.0, "embd_pdrop": 0.2, "attn_pdrop": 0.3},
    },
    draws={
        "n_embd": WIDTHS,
        "n_layer": st.integers(1, 3),
        "n_head": st.sampled_from([1, 2, 3, 4, 6]),
        "n_positions": POSITIONS,
        "afn": st.sampled_from(["gelu", "relu", "silu", "swish"]),
        "layer_norm_epsilon": EPSILONS,
        "tie_word_embeddings": st.booleans(),
    },
)


def rope(kind: str = "default", theta: float = 10000.0, **settings: Any) -> dict[str, Any]:
    """The config's key for rotary positions."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **settings}}


def ropes(**more: st.SearchStrategy[float]) -> st.SearchStrategy[dict[str, Any]]:
    """What rope_parameters may hold, of every type. more: further settings, of any type."""
    theta = st.sampled_from([10.0, 100.0, 500.0, 1e6])
    weight = st.sampled_from([0.0, 0.4, 0.7, 1.0])
    original = {"original_max_position_embeddings": st.sampled_from([8, 9, 16])}
    stretched: dict[str, dict[str, st.SearchStrategy[Any]]] = {
        "linear": {},
        "dynamic": {},
        "llama3": {**original, "low_freq_factor": st.floats(0.2, 1.0), "high_freq_factor": st.floats(1.5, 8.0)},
        "yarn": original,
    }
    optional = {
        "attention_factor": st.floats(0.5, 2.0),
        "beta_fast": st.sampled_from([4.0, 32.0]),
        "beta_slow": st.sampled_from([0.5, 1.0, 2.0]),
        "mscale": weight,
        "mscale_all_dim": weight,
        "truncate": st.booleans(),
    }
    base = {"rope_theta": theta, **more}
    found = [st.fixed_dictionaries({"rope_type": st.just("default"), **base})]
    for kind, settings in stretched.items():
        needed = {"rope_type": st.just(kind), "factor": st.floats(1.0, 8.0), **base, **settings}
        found.append(st.fixed_dictionaries(needed, optional=optional if kind == "yarn" else {}))
    return st.one_of(found)


LLAMA3 = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0, "original_max_position_embeddings": 8}
YARN = {"factor": 2.0, "original_max_position_embeddings": 9}

NEOX = Case(
    architecture="gpt_neox",
    config_class="GPTNeoXConfig",
    classes=classes("GPTNeoX"),
    config={
        "vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40,
        "max_position_embeddings": 19, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        **rope(theta=50.0, partial_rotary_factor=0.5),
    },
    variant_task="text-generation",
    variants={
        "one sublayer after the other": {"use_parallel_residual": False},
        "no biases in attention": {"attention_bias": False},
        "whole heads turn": rope(theta=50.0, partial_rotary_factor=1.0),
        "the first quarter turns": rope(partial_rotary_factor=0.25),
        "a quarter turns where nothing is said": {"rope_parameters": None},
        "their old names": {"rope_parameters": None, "rotary_pct": 0.75, "rotary_emb_base": 30},
        "tied": {"tie_word_embeddings": True},
        "another activation": {"hidden_act": "gelu_new"},
        "a large epsilon": {"layer_norm_eps": 0.1},
        "positions stretched": rope("linear", 50.0, factor=2.0, partial_rotary_factor=0.5),
        "positions stretched by yarn": rope("yarn", 50.0, **YARN, partial_rotary_factor=0.5),
        "a base that grows with the text": rope("dynamic", 50.0, factor=4.0, partial_rotary_factor=0.5)
        | {"max_position_embeddings": 5},
        "one after the other, whole heads, no biases": rope(theta=70.0, partial_rotary_factor=1.0)
        | {"use_parallel_residual": False, "attention_bias": False},
    },
    draws={
        "hidden_size": st.sampled_from([12, 24, 48]),
        "num_hidden_layers": st.integers(1, 3),
        "num_attention_heads": st.sampled_from([1, 2, 3, 6]),
        "intermediate_size": st.integers(5, 50),
        "max_position_embeddings": POSITIONS,
        "rope_parameters": ropes(partial_rotary_factor=st.sampled_from([0.25, 0.5, 1.0])),
        "hidden_act": ACTIVATIONS,
        "attention_bias": st.booleans(),
        "use_parallel_residual": st.booleans(),
        "layer_norm_eps": EPSILONS,
        "tie_word_embeddings": st.booleans(),
    },
)  # fmt: skip

LLAMA_SIZES = {
    "vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
    "intermediate_size": 40, "max_position_embeddings": 19, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "rms_norm_eps": 1e-3, "head_dim": 8,
}  # fmt: skip
LLAMA_DRAWS = {
    "hidden_size": WIDTHS,
    "num_hidden_layers": st.integers(1, 3),
    "num_attention_heads": st.sampled_from([2, 4, 6]),
    "num_key_value_heads": st.sampled_from([1, 2]),
    "head_dim": st.sampled_from([2, 6, 8, 12]),
    "intermediate_size": st.integers(5, 50),
    "max_position_embeddings": POSITIONS,
    "hidden_act": ACTIVATIONS,
    "rms_norm_eps": EPSILONS,
    "rope_parameters": ropes(),
    "tie_word_embeddings": st.booleans(),
}
WITHOUT_HEAD_DIM = {key: draw for key, draw in LLAMA_DRAWS.items() if key != "head_dim"}


ONE_HEAD_EACH = {"num_key_value_heads": 6}

LLAMA = Case(
    architecture="llama",
    config_class="LlamaConfig",
    classes=classes("Llama"),
    config=LLAMA_SIZES,
    variant_task="text-generation",
    variants={
        "a key head for each query head": ONE_HEAD_EACH,
        "one key head": {"num_key_value_heads": 1},
        "key heads left unsaid": {"num_key_value_heads": None},
        "heads that fill the width": {"head_dim": 4},
        "width of heads left unsaid": {"head_dim": None},
        "tied": {"tie_word_embeddings": True},
        "biases in attention": {"attention_bias": True},
        "biases in the feed-forward": {"mlp_bias": True},
        "another rotary base": rope(theta=30.0),
        "positions stretched linearly": rope("linear", 30.0, factor=3.0),
        "a base that grows with the text, not yet": rope("dynamic", 30.0, factor=3.0),
        "a base that grows with the text": rope("dynamic", 30.0, factor=4.0) | {"max_position_embeddings": 5},
        "positions stretched as in Llama 3": rope("llama3", 30.0, **LLAMA3),
        "positions stretched by yarn": rope("yarn", 30.0, **YARN),
        "yarn with its own factor": rope("yarn", 30.0, **YARN, attention_factor=1.3),
        "yarn without a length of its own": rope("yarn", 30.0, factor=4.0) | {"max_position_embeddings": 6},
        "yarn whose ramp is none": rope("yarn", 30.0, factor=4.0, original_max_position_embeddings=4, truncate=False),
        "yarn with weights of its factor": rope("yarn", 30.0, **YARN, mscale=0.7, mscale_all_dim=0.4),
        "yarn with another ramp": rope("yarn", 30.0, **YARN, beta_fast=4.0, beta_slow=0.5),
        "yarn between dimensions": rope("yarn", 30.0, **YARN, truncate=False),
        "their old names": {"rope_theta": 30.0, "rope_scaling": {"type": "linear", "factor": 3.0}},
        "another activation": {"hidden_act": "gelu"},
        "several tokens that end a text": {"eos_token_id": [2, 5]},
        "dropout": {"attention_dropout": 0.1},
    },
    draws=LLAMA_DRAWS
    | {
        "num_key_value_heads": st.none() | st.sampled_from([1, 2]),
        "head_dim": st.none() | st.sampled_from([2, 6, 8, 12]),
        "attention_bias": st.booleans(),
        "mlp_bias": st.booleans(),
    },
)

MISTRAL = Case(
    architecture="mistral",
    config_class="MistralConfig",
    classes=classes("Mistral"),
    config=LLAMA_SIZES | {"sliding_window": 4},
    variant_task="text-generation",
    variants={
        "no window": {"sliding_window": None},
        "a window of one": {"sliding_window": 1},
        "a window longer than the text": {"sliding_window": 30},
        "heads that fill the width": {"head_dim": None},
        "tied": {"tie_word_embeddings": True},
        "another rotary base": rope(theta=30.0),
        "a key head for each query head": ONE_HEAD_EACH,
        "one key head": {"num_key_value_heads": 1},
        "a window over positions stretched by yarn": rope("yarn", 30.0, **YARN),
        "a window over a base that grows": rope("dynamic", 30.0, factor=4.0) | {"max_position_embeddings": 5},
        "another activation": {"hidden_act": "gelu"},
    },
    draws=LLAMA_DRAWS | {"sliding_window": st.none() | st.integers(1, 12)},
)

FULL, SLIDING = "full_attention", "sliding_attention"
LAYER_TYPES = st.none() | st.lists(st.sampled_from([FULL, SLIDING]), min_size=1, max_size=3)
WINDOWED: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 4, "num_hidden_layers": 3}
WINDOW_VARIANTS: dict[str, Mapping[str, Any]] = {
    "no windows": {"use_sliding_window": False},
    "windows in all layers": WINDOWED | {"max_window_layers": 0},
    "windows in the last layer": WINDOWED | {"max_window_layers": 2},
    "layers named": WINDOWED | {"layer_types": [SLIDING, FULL, SLIDING]},
    "layers named, none with a window": {"use_sliding_window": False, "layer_types": [FULL, FULL, FULL]},
    "windows of no length": WINDOWED | {"sliding_window": None},
    "windows of one": WINDOWED | {"sliding_window": 1, "max_window_layers": 1},
    "another activation": {"hidden_act": "gelu"},
    "tied": {"tie_word_embeddings": True},
    "positions stretched by yarn": rope("yarn", 30.0, **YARN),
    "a key head for each query head": ONE_HEAD_EACH,
}
WINDOW_DRAWS = {
    "use_sliding_window": st.booleans(),
    "sliding_window": st.none() | st.integers(1, 12),
    "max_window_layers": st.integers(0, 3),
    "layer_types": LAYER_TYPES,
}

QWEN2 = Case(
    architecture="qwen2",
    config_class="Qwen2Config",
    classes=classes("Qwen2"),
    config={key: size for key, size in LLAMA_SIZES.items() if key != "head_dim"} | WINDOWED | {"max_window_layers": 1},
    variant_task="text-generation",
    variants=WINDOW_VARIANTS,
    draws=WITHOUT_HEAD_DIM | WINDOW_DRAWS,
)

QWEN3 = Case(
    architecture="qwen3",
    config_class="Qwen3Config",
    classes=classes("Qwen3"),
    config=LLAMA_SIZES | WINDOWED | {"max_window_layers": 1},
    variant_task="text-generation",
    variants=WINDOW_VARIANTS | {"biases in attention": {"attention_bias": True}, "wider heads": {"head_dim": 14}},
    draws=LLAMA_DRAWS | WINDOW_DRAWS | {"attention_bias": st.booleans()},
)

GEMMA = Case(
    architecture="gemma",
    config_class="GemmaConfig",
    classes=classes("Gemma", answers=False),
    config=LLAMA_SIZES,
    variant_task="text-generation",
    variants={
        "the old name of its activation": {"hidden_act": "gelu"},
        "another activation": {"hidden_act": "silu"},
        "one key head": {"num_key_value_heads": 1},
        "wider heads": {"head_dim": 14},
        "biases in attention": {"attention_bias": True},
        "an output layer of its own": {"tie_word_embeddings": False},
        "another rotary base": rope(theta=30.0),
        "positions stretched": rope("linear", 30.0, factor=3.0),
        "no mask of two directions": {"use_bidirectional_attention": False},
    },
    draws=LLAMA_DRAWS | {"attention_bias": st.booleans()},
)

GEMMA2 = Case(
    architecture="gemma2",
    config_class="Gemma2Config",
    classes=classes("Gemma2", answers=False),
    config=LLAMA_SIZES
    | {"num_hidden_layers": 3, "sliding_window": 4, "query_pre_attn_scalar": 7, "attn_logit_softcapping": 2.0}
    | {"final_logit_softcapping": 3.0},
    variant_task="text-generation",
    variants={
        "scores without bound": {"attn_logit_softcapping": None},
        "logits without bound": {"final_logit_softcapping": None},
        "windows longer than the text": {"sliding_window": 30},
        "windows of one": {"sliding_window": 1},
        "layers named": {"layer_types": [FULL, FULL, SLIDING]},
        "no bounds": {"attn_logit_softcapping": None, "final_logit_softcapping": None},
        "bounds as published": {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
        "a key head for each query head": ONE_HEAD_EACH,
        "wider heads": {"head_dim": 14},
        "positions stretched by yarn": rope("yarn", 30.0, **YARN),
        "scores as usual": {"query_pre_attn_scalar": 8},
        "another activation": {"hidden_activation": "silu"},
        "biases in attention": {"attention_bias": True},
        "an output layer of its own": {"tie_word_embeddings": False},
    },
    draws={key: draw for key, draw in LLAMA_DRAWS.items() if key != "hidden_act"}
    | {
        "hidden_activation": ACTIVATIONS,
        "attention_bias": st.booleans(),
        "layer_types": LAYER_TYPES,
        "sliding_window": st.integers(1, 12),
        "query_pre_attn_scalar": st.integers(1, 64),
        "attn_logit_softcapping": st.none() | st.floats(0.5, 50.0),
        "final_logit_softcapping": st.none() | st.floats(0.5, 50.0),
    },
)

CASES = [GPT, GPT2, NEOX, LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA, GEMMA2]
