"""Decoder-only architectures in the parity suite."""

from hypothesis import strategies as st

from tests.interop.case import Case

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
    },
    draws={
        "n_layer": st.integers(1, 3),
        "n_head": st.sampled_from([1, 2, 3, 4, 6]),
        "n_inner": st.none() | st.integers(5, 50),
        "activation_function": st.sampled_from(["gelu_new", "gelu", "relu", "silu", "tanh"]),
        "layer_norm_epsilon": st.sampled_from([1e-5, 1e-3, 1e-1]),
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
        "no approximation": {"afn": "relu"},
        "an output layer of its own": {"tie_word_embeddings": False},
        "another epsilon": {"layer_norm_epsilon": 0.1},
    },
    draws={
        "n_layer": st.integers(1, 3),
        "n_head": st.sampled_from([1, 2, 3, 4, 6]),
        "afn": st.sampled_from(["gelu", "relu", "silu", "swish"]),
        "layer_norm_epsilon": st.sampled_from([1e-5, 1e-3, 1e-1]),
        "tie_word_embeddings": st.booleans(),
    },
)

NEOX = Case(
    architecture="gpt_neox",
    config_class="GPTNeoXConfig",
    classes=classes("GPTNeoX"),
    config={
        "vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40,
        "max_position_embeddings": 19, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.5},
    },
    variant_task="text-generation",
    variants={
        "one sublayer after the other": {"use_parallel_residual": False},
        "no biases in attention": {"attention_bias": False},
        "whole heads turn": {
            "rope_parameters": {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 1.0}
        },
        "the first quarter turns": {
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}
        },
        "tied": {"tie_word_embeddings": True},
        "another activation": {"hidden_act": "gelu_new"},
        "positions stretched": {
            "rope_parameters": {
                "rope_type": "linear", "factor": 2.0, "rope_theta": 50.0, "partial_rotary_factor": 0.5
            }
        },
    },
    draws={
        "num_hidden_layers": st.integers(1, 3),
        "num_attention_heads": st.sampled_from([1, 2, 3, 6]),
        "intermediate_size": st.integers(5, 50),
        "hidden_act": st.sampled_from(["gelu", "gelu_new", "relu", "silu"]),
        "attention_bias": st.booleans(),
        "use_parallel_residual": st.booleans(),
        "layer_norm_eps": st.sampled_from([1e-5, 1e-3, 1e-1]),
        "tie_word_embeddings": st.booleans(),
    },
)  # fmt: skip

LLAMA_SIZES = {
    "vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
    "intermediate_size": 40, "max_position_embeddings": 19, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "rms_norm_eps": 1e-3, "head_dim": 8,
}  # fmt: skip
LLAMA_DRAWS = {
    "num_hidden_layers": st.integers(1, 3),
    "num_attention_heads": st.sampled_from([2, 4, 6]),
    "num_key_value_heads": st.sampled_from([1, 2]),
    "head_dim": st.sampled_from([2, 6, 8, 12]),
    "intermediate_size": st.integers(5, 50),
    "rms_norm_eps": st.sampled_from([1e-6, 1e-3, 1e-1]),
    "tie_word_embeddings": st.booleans(),
}


def rope(kind: str = "default", theta: float = 10000.0, **settings: object) -> dict[str, dict[str, object]]:
    """The config's key for rotary positions."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **settings}}


LLAMA3 = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0, "original_max_position_embeddings": 8}
YARN = {"factor": 2.0, "original_max_position_embeddings": 9}
ROPES = st.one_of(
    st.builds(lambda theta: rope(theta=theta)["rope_parameters"], st.sampled_from([10.0, 500.0, 1e6])),
    st.builds(lambda factor: rope("linear", factor=factor)["rope_parameters"], st.floats(1.0, 8.0)),
    st.builds(lambda factor: rope("llama3", **(LLAMA3 | {"factor": factor}))["rope_parameters"], st.floats(1.0, 32.0)),
    st.builds(
        lambda factor: rope("yarn", 100.0, **(YARN | {"factor": factor}))["rope_parameters"], st.floats(1.5, 8.0)
    ),
)
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
        "heads that fill the width": {"head_dim": 4},
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
        "yarn with weights of its factor": rope("yarn", 30.0, **YARN, mscale=0.7, mscale_all_dim=0.4),
        "yarn with another ramp": rope("yarn", 30.0, **YARN, beta_fast=4.0, beta_slow=0.5),
        "yarn between dimensions": rope("yarn", 30.0, **YARN, truncate=False),
        "another activation": {"hidden_act": "gelu"},
    },
    draws=LLAMA_DRAWS | {"attention_bias": st.booleans(), "mlp_bias": st.booleans(), "rope_parameters": ROPES},
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
    },
    draws=LLAMA_DRAWS | {"sliding_window": st.none() | st.integers(1, 12)},
)

WINDOWED = {"use_sliding_window": True, "sliding_window": 4, "num_hidden_layers": 3}
WINDOW_VARIANTS = {
    "no windows": {"use_sliding_window": False},
    "windows in all layers": WINDOWED | {"max_window_layers": 0},
    "windows in the last layer": WINDOWED | {"max_window_layers": 2},
    "layers named": WINDOWED | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "tied": {"tie_word_embeddings": True},
    "positions stretched by yarn": rope("yarn", 30.0, **YARN),
    "a key head for each query head": ONE_HEAD_EACH,
}
WINDOW_DRAWS = {
    "use_sliding_window": st.booleans(),
    "sliding_window": st.integers(1, 12),
    "max_window_layers": st.integers(0, 3),
}

QWEN2 = Case(
    architecture="qwen2",
    config_class="Qwen2Config",
    classes=classes("Qwen2"),
    config={key: size for key, size in LLAMA_SIZES.items() if key != "head_dim"} | WINDOWED | {"max_window_layers": 1},
    variant_task="text-generation",
    variants=WINDOW_VARIANTS,
    draws={key: draw for key, draw in LLAMA_DRAWS.items() if key != "head_dim"} | WINDOW_DRAWS,
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
    },
    draws=LLAMA_DRAWS
    | {"attention_bias": st.booleans(), "hidden_act": st.sampled_from(["gelu", "gelu_pytorch_tanh", "silu", "relu"])},
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
        "layers named": {"layer_types": ["full_attention", "full_attention", "sliding_attention"]},
        "scores as usual": {"query_pre_attn_scalar": 8},
        "another activation": {"hidden_activation": "silu"},
        "biases in attention": {"attention_bias": True},
        "an output layer of its own": {"tie_word_embeddings": False},
    },
    draws=LLAMA_DRAWS
    | {
        "sliding_window": st.integers(1, 12),
        "query_pre_attn_scalar": st.integers(1, 64),
        "attn_logit_softcapping": st.none() | st.floats(0.5, 50.0),
        "final_logit_softcapping": st.none() | st.floats(0.5, 50.0),
    },
)

CASES = [GPT, GPT2, NEOX, LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA, GEMMA2]
