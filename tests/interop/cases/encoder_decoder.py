"""Encoder-decoder architectures in the parity suite."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from tests.interop.case import Case

ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh")
DENSE = ("relu", "gelu", "silu", "gated-relu", "gated-gelu", "gated-silu")
RATES = st.sampled_from([0.0, 0.1, 0.5])
WIDTHS = st.sampled_from([12, 24, 36])
HEADS = st.sampled_from([1, 2, 3, 4, 6, 12])  # each divides each width
TOKENS = st.integers(0, 52)
PADDING = st.integers(3, 52)  # mBART looks for the last token that is none, and must find the end


def t5(name: str, family: str, variants: Mapping[str, Mapping[str, Any]] | None = None) -> Case:
    """Give the case of one of the two names of this network. family: what its classes begin with. variants: its own."""
    return Case(
        architecture=name,
        config_class=f"{family}Config",
        classes={
            "feature-extraction": f"{family}Model",
            "feature-extraction (encoder)": f"{family}EncoderModel",
            "text2text-generation": f"{family}ForConditionalGeneration",
            "text-classification": f"{family}ForSequenceClassification",
            "token-classification": f"{family}ForTokenClassification",
            "question-answering": f"{family}ForQuestionAnswering",
        },
        config={
            "vocab_size": 53,
            "d_model": 24,
            "d_kv": 10,
            "d_ff": 40,
            "num_heads": 3,
            "num_layers": 2,
            "num_decoder_layers": 3,
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 9,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "decoder_start_token_id": 0,
        },
        variant_task="text2text-generation",
        variants={
            **{f"feed-forward {dense}": {"feed_forward_proj": dense} for dense in DENSE},
            "the usual table of distances": {
                "relative_attention_num_buckets": 32,
                "relative_attention_max_distance": 128,
            },
            "four rows of distances": {"relative_attention_num_buckets": 4, "relative_attention_max_distance": 3},
            "an odd number of distances": {"relative_attention_num_buckets": 7},
            "as many layers each way": {"num_decoder_layers": None},
            "a smaller decoder": {"num_layers": 3, "num_decoder_layers": 1},
            "narrow heads": {"d_kv": 2, "num_heads": 5},
            "a large epsilon": {"layer_norm_epsilon": 0.1},
            "another start": {"decoder_start_token_id": 7, "pad_token_id": 3},
            "other dropout": {"dropout_rate": 0.0, "initializer_factor": 0.5},
            "dropout around a classifier": {"classifier_dropout": 0.4},
            **(variants or {}),
        },
        variant_tasks={"dropout around a classifier": "text-classification"},
        draws={
            "d_model": st.integers(12, 40),
            "d_kv": st.integers(1, 4),  # scores are not scaled: wider heads of such weights multiply every rounding
            "d_ff": st.integers(1, 50),
            "num_heads": st.integers(1, 6),
            "num_layers": st.integers(1, 3),
            "num_decoder_layers": st.none() | st.integers(1, 3),
            "feed_forward_proj": st.sampled_from(DENSE),
            "relative_attention_num_buckets": st.integers(4, 40),
            "relative_attention_max_distance": st.integers(21, 200),
            "layer_norm_epsilon": st.sampled_from([1e-6, 1e-3, 1e-1]),
            "dropout_rate": RATES,
            "classifier_dropout": RATES,
            "tie_word_embeddings": st.booleans(),
            "pad_token_id": TOKENS,
            "decoder_start_token_id": TOKENS,
        },
    )


# transformers 5 ties whatever this says, and takes it for whether states are scaled.
T5 = t5(
    "t5",
    "T5",
    {
        "version 1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        "states not scaled": {"tie_word_embeddings": False},
    },
)
MT5 = t5("mt5", "MT5")

# Every size of one stack differs from that of the other.
SIZES: Mapping[str, Any] = {
    "vocab_size": 53,
    "d_model": 24,
    "encoder_layers": 2,
    "encoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "decoder_layers": 3,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 28,
    "max_position_embeddings": 19,
}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    **{f"activation {name}": {"activation_function": name} for name in ACTIVATIONS},
    "a smaller decoder": {"encoder_layers": 3, "decoder_layers": 1, "decoder_attention_heads": 1, "decoder_ffn_dim": 5},
    "both stacks alike": {"decoder_layers": 2, "decoder_attention_heads": 3, "decoder_ffn_dim": 40},
    "another padding token": {"pad_token_id": 7, "init_std": 0.3},
    "another end": {"eos_token_id": 11},
    "other dropout": {"dropout": 0.0, "attention_dropout": 0.25, "activation_dropout": 0.3},
}
DROPOUT_OF_CLASSIFIER: Mapping[str, Mapping[str, Any]] = {"dropout around a classifier": {"classifier_dropout": 0.4}}
TASKS_OF_VARIANTS = {"dropout around a classifier": "text-classification"}
DRAWS = {
    "d_model": WIDTHS,
    **{f"{stack}_layers": st.integers(1, 3) for stack in ("encoder", "decoder")},
    **{f"{stack}_attention_heads": HEADS for stack in ("encoder", "decoder")},
    **{f"{stack}_ffn_dim": st.integers(1, 50) for stack in ("encoder", "decoder")},
    "max_position_embeddings": st.integers(11, 30),
    "activation_function": st.sampled_from(ACTIVATIONS),
    "scale_embedding": st.booleans(),
    "dropout": RATES,
    "attention_dropout": RATES,
    "activation_dropout": RATES,
    "pad_token_id": PADDING,
    "decoder_start_token_id": TOKENS,
}


def bart_classes(family: str) -> dict[str, str]:
    """Give the classes that BART and mBART have. family: what their names begin with."""
    return {
        "feature-extraction": f"{family}Model",
        "text2text-generation": f"{family}ForConditionalGeneration",
        "text-classification": f"{family}ForSequenceClassification",
        "question-answering": f"{family}ForQuestionAnswering",
    }


BART = Case(
    architecture="bart",
    config_class="BartConfig",
    classes=bart_classes("Bart"),
    config=SIZES,
    variant_task="text2text-generation",
    variants={
        **VARIANTS,
        **DROPOUT_OF_CLASSIFIER,
        "scaled embeddings": {"scale_embedding": True},
        "another start": {"decoder_start_token_id": 13},
    },
    variant_tasks=TASKS_OF_VARIANTS,
    draws=DRAWS | {"classifier_dropout": RATES},
)

MBART = Case(
    architecture="mbart",
    config_class="MBartConfig",
    classes=bart_classes("MBart"),
    config={**SIZES, "scale_embedding": True},
    variant_task="text2text-generation",
    variants={
        **VARIANTS,
        **DROPOUT_OF_CLASSIFIER,
        "embeddings not scaled": {"scale_embedding": False},
        "one language to write in": {"decoder_start_token_id": 13},
        "mBART-50": {"decoder_start_token_id": 2, "activation_function": "relu"},
    },
    variant_tasks=TASKS_OF_VARIANTS,
    draws=DRAWS | {"classifier_dropout": RATES, "decoder_start_token_id": st.none() | TOKENS},
)

MARIAN = Case(
    architecture="marian",
    config_class="MarianConfig",
    classes={"feature-extraction": "MarianModel", "text2text-generation": "MarianMTModel"},
    config={
        **SIZES,
        "activation_function": "swish",
        "scale_embedding": True,
        "pad_token_id": 52,
        "eos_token_id": 0,
        "forced_eos_token_id": 0,
        "decoder_start_token_id": 52,
    },
    variant_task="text2text-generation",
    variants={
        **VARIANTS,
        "embeddings not scaled": {"scale_embedding": False},
        "another start": {"decoder_start_token_id": 13},
        "an odd width": {"d_model": 15, "encoder_attention_heads": 3, "decoder_attention_heads": 5},
        "the vocabulary named twice": {"decoder_vocab_size": 53},
    },
    draws=DRAWS,
)

CASES = [T5, MT5, BART, MBART, MARIAN]
