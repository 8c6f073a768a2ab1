"""Encoder-only architectures in the parity suite."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from tests.interop.case import Case

SIZES: Mapping[str, Any] = {
    "vocab_size": 53,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 19,
    "type_vocab_size": 3,
}
ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh")
EPSILONS = st.sampled_from([1e-12, 1e-5, 1e-3, 1e-1])
RATES = st.sampled_from([0.0, 0.1, 0.5])
TOKENS = st.integers(0, 52)


def classes(family: str) -> dict[str, str]:
    """Give the classes that each of these has. family: what their names begin with."""
    return {
        "feature-extraction": f"{family}Model",
        "fill-mask": f"{family}ForMaskedLM",
        "text-classification": f"{family}ForSequenceClassification",
        "token-classification": f"{family}ForTokenClassification",
        "question-answering": f"{family}ForQuestionAnswering",
    }


def activations(key: str = "hidden_act", names: tuple[str, ...] = ACTIVATIONS) -> dict[str, dict[str, Any]]:
    """Give a variant for each activation."""
    return {f"activation {name}": {key: name} for name in names}


BERT_VARIANTS: Mapping[str, Mapping[str, Any]] = {
    **activations(),
    "a large epsilon": {"layer_norm_eps": 0.1},
    "one token type": {"type_vocab_size": 1},
    "three heads": {"num_attention_heads": 3},
    "one head": {"num_attention_heads": 1},
    "eleven layers": {"num_hidden_layers": 11},
    "an output layer of its own": {"tie_word_embeddings": False},
    "other dropout": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.25},
    "another padding token": {"pad_token_id": 7, "initializer_range": 0.3},
}
BERT_DRAWS = {
    "hidden_size": st.sampled_from([12, 24, 36]),
    "num_hidden_layers": st.integers(1, 4),
    "num_attention_heads": st.sampled_from([1, 2, 3, 4, 5, 6, 12]),
    "intermediate_size": st.integers(1, 50),
    "max_position_embeddings": st.integers(11, 30),
    "type_vocab_size": st.integers(1, 5),
    "hidden_act": st.sampled_from(ACTIVATIONS),
    "hidden_dropout_prob": RATES,
    "attention_probs_dropout_prob": RATES,
    "layer_norm_eps": EPSILONS,
    "pad_token_id": TOKENS,
    "tie_word_embeddings": st.booleans(),
}
CLASSIFIER_DROPOUT = {"classifier_dropout": st.none() | RATES}

BERT = Case(
    architecture="bert",
    config_class="BertConfig",
    classes={
        **classes("Bert"),
        "feature-extraction (without a pooler)": "BertModel",
        "fill-mask (pretraining)": "BertForPreTraining",
    },
    options={"feature-extraction (without a pooler)": {"add_pooling_layer": False}},
    config=SIZES,
    variant_task="fill-mask",
    variants={**BERT_VARIANTS, "dropout before a classifier": {"classifier_dropout": 0.4}},
    variant_tasks={"dropout before a classifier": "text-classification"},
    draws=BERT_DRAWS | CLASSIFIER_DROPOUT,
)


def roberta(name: str, family: str) -> Case:
    """Give the case of one of the three names of this network."""
    return Case(
        architecture=name,
        config_class=f"{family}Config",
        classes={**classes(family), "feature-extraction (without a pooler)": f"{family}Model"},
        options={"feature-extraction (without a pooler)": {"add_pooling_layer": False}},
        config={**SIZES, "max_position_embeddings": 21, "type_vocab_size": 5, "layer_norm_eps": 1e-5},
        variant_task="fill-mask",
        variants={
            **BERT_VARIANTS,
            "another padding token": {"pad_token_id": 5, "max_position_embeddings": 25, "initializer_range": 0.3},
            "padding token 0": {"pad_token_id": 0},
            "other ends": {"bos_token_id": 7, "eos_token_id": [2, 3]},
            "dropout around a classifier": {"classifier_dropout": 0.4},
        },
        variant_tasks={"dropout around a classifier": "text-classification"},
        draws=BERT_DRAWS
        | CLASSIFIER_DROPOUT
        | {
            # Positions are numbered from the one after the padding token, which no other token may be.
            "pad_token_id": st.integers(0, 9),
            "max_position_embeddings": st.integers(21, 30),
            "bos_token_id": st.integers(10, 52),
            "eos_token_id": st.integers(10, 52),
        },
    )


DISTILBERT = Case(
    architecture="distilbert",
    config_class="DistilBertConfig",
    classes=classes("DistilBert"),
    config={
        "vocab_size": 53,
        "dim": 24,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 40,
        "max_position_embeddings": 19,
    },
    variant_task="fill-mask",
    variants={
        **activations("activation"),
        "three heads": {"n_heads": 3},
        "one head": {"n_heads": 1},
        "eleven layers": {"n_layers": 11},
        "positions that began as sinusoids": {"sinusoidal_pos_embds": True, "tie_weights_": True},
        "an output layer of its own": {"tie_word_embeddings": False},
        "other dropout": {"dropout": 0.0, "attention_dropout": 0.0, "qa_dropout": 0.0, "seq_classif_dropout": 0.0},
        "another padding token": {"pad_token_id": 7, "initializer_range": 0.3},
    },
    draws={
        "dim": st.sampled_from([12, 24, 36]),
        "n_layers": st.integers(1, 4),
        "n_heads": st.sampled_from([1, 2, 3, 4, 5, 6, 12]),
        "hidden_dim": st.integers(1, 50),
        "max_position_embeddings": st.integers(11, 30),
        "activation": st.sampled_from(ACTIVATIONS),
        "dropout": RATES,
        "attention_dropout": RATES,
        "seq_classif_dropout": RATES,
        "qa_dropout": RATES,
        "sinusoidal_pos_embds": st.booleans(),
        "pad_token_id": TOKENS,
        "tie_word_embeddings": st.booleans(),
    },
)

# The hidden states are 24 wide, the embeddings 12 or another width.
NARROW: Mapping[str, Any] = {**SIZES, "embedding_size": 12}
EMBEDDING_VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "embeddings as wide as the states": {"embedding_size": 24},
    "embeddings wider than the states": {"embedding_size": 30},
}

ALBERT = Case(
    architecture="albert",
    config_class="AlbertConfig",
    classes={
        **classes("Albert"),
        "feature-extraction (without a pooler)": "AlbertModel",
        "fill-mask (pretraining)": "AlbertForPreTraining",
    },
    options={"feature-extraction (without a pooler)": {"add_pooling_layer": False}},
    config=NARROW,
    variant_task="fill-mask",
    variants={
        **BERT_VARIANTS,
        **EMBEDDING_VARIANTS,
        "two layers in one": {"inner_group_num": 2},
        "two groups of two layers": {"num_hidden_layers": 4, "num_hidden_groups": 2},
        "two groups for five layers": {"num_hidden_layers": 5, "num_hidden_groups": 2},
        "three groups of double layers": {"num_hidden_layers": 7, "num_hidden_groups": 3, "inner_group_num": 2},
        "more groups than layers": {"num_hidden_layers": 2, "num_hidden_groups": 3},
        "dropout before a classifier": {"classifier_dropout_prob": 0.4},
    },
    variant_tasks={"dropout before a classifier": "text-classification"},
    draws=BERT_DRAWS
    | {
        "embedding_size": st.integers(1, 40),
        "num_hidden_layers": st.integers(1, 7),
        "num_hidden_groups": st.integers(1, 4),
        "inner_group_num": st.integers(1, 3),
        "classifier_dropout_prob": RATES,
    },
)
ELECTRA = Case(
    architecture="electra",
    config_class="ElectraConfig",
    classes={**classes("Electra"), "feature-extraction (discriminator)": "ElectraForPreTraining"},
    config=NARROW,
    variant_task="fill-mask",
    variants={
        **BERT_VARIANTS,
        **EMBEDDING_VARIANTS,
        "a summary that nothing reads": {
            "summary_type": "mean",
            "summary_use_proj": False,
            "summary_activation": "tanh",
            "summary_last_dropout": 0.5,
        },
        "dropout in a classifier": {"classifier_dropout": 0.4},
    },
    variant_tasks={"dropout in a classifier": "text-classification"},
    draws=BERT_DRAWS | CLASSIFIER_DROPOUT | {"embedding_size": st.integers(1, 40)},
)

FULL, SLIDING = "full_attention", "sliding_attention"
MODERNBERT = Case(
    architecture="modernbert",
    config_class="ModernBertConfig",
    classes=classes("ModernBert"),
    config={
        "vocab_size": 53,
        "hidden_size": 24,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "max_position_embeddings": 19,
        "local_attention": 4,  # two tokens on either side: narrower than the rows
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
    },
    variant_task="fill-mask",
    variants={
        **activations("hidden_activation"),
        **{f"activation {name} in the head": {"classifier_activation": name} for name in ("relu", "silu", "gelu_new")},
        "every second layer looks everywhere": {"global_attn_every_n_layers": 2},
        "every layer looks everywhere": {"global_attn_every_n_layers": 1},
        "layers of types by name": {"layer_types": [SLIDING, FULL, FULL, SLIDING]},
        "a window of one token": {"local_attention": 1},
        "an odd window": {"local_attention": 7},
        "a window wider than the rows": {"local_attention": 128},
        "two bases of positions": {"global_rope_theta": 70.0, "local_rope_theta": 5.0},
        "two bases by type of layer": {
            "rope_parameters": {
                FULL: {"rope_type": "default", "rope_theta": 70.0},
                SLIDING: {"rope_type": "default", "rope_theta": 5.0},
            }
        },
        "positions stretched in layers that look everywhere": {
            "rope_parameters": {
                FULL: {"rope_type": "linear", "rope_theta": 70.0, "factor": 2.0},
                SLIDING: {"rope_type": "default", "rope_theta": 5.0},
            }
        },
        "biases in norms": {"norm_bias": True},
        "biases in attention": {"attention_bias": True},
        "biases in feed-forward layers": {"mlp_bias": True},
        "no bias in the output layer": {"decoder_bias": False},
        "a bias in the head": {"classifier_bias": True},
        "biases everywhere": {
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "decoder_bias": True,
            "classifier_bias": True,
        },
        "an output layer of its own": {"tie_word_embeddings": False},
        "an output layer of its own without bias": {"tie_word_embeddings": False, "decoder_bias": False},
        "a large epsilon": {"norm_eps": 0.1},
        "four heads": {"num_attention_heads": 4},
        "eleven layers": {"num_hidden_layers": 11},
        "other dropout": {"embedding_dropout": 0.1, "attention_dropout": 0.2, "mlp_dropout": 0.3},
        "the mean of a text": {"classifier_pooling": "mean"},
        "the first token of a text": {"classifier_pooling": "cls"},
        "a bias before a classifier": {"classifier_bias": True, "norm_bias": True, "classifier_dropout": 0.4},
    },
    variant_tasks={
        "the mean of a text": "text-classification",
        "the first token of a text": "text-classification",
        "a bias before a classifier": "text-classification",
    },
    draws={
        "hidden_size": st.sampled_from([12, 24, 36]),
        "num_hidden_layers": st.integers(1, 7),
        "num_attention_heads": st.sampled_from([1, 2, 3, 4, 6]),
        "intermediate_size": st.integers(1, 50),
        "global_attn_every_n_layers": st.integers(1, 4),
        "local_attention": st.integers(1, 20),
        "global_rope_theta": st.sampled_from([5.0, 70.0, 160_000.0]),
        "local_rope_theta": st.sampled_from([5.0, 70.0, 10_000.0]),
        "hidden_activation": st.sampled_from(ACTIVATIONS),
        "classifier_activation": st.sampled_from(ACTIVATIONS),
        "norm_eps": EPSILONS,
        "norm_bias": st.booleans(),
        "attention_bias": st.booleans(),
        "mlp_bias": st.booleans(),
        "decoder_bias": st.booleans(),
        "classifier_bias": st.booleans(),
        "classifier_pooling": st.sampled_from(["cls", "mean"]),
        "embedding_dropout": RATES,
        "attention_dropout": RATES,
        "mlp_dropout": RATES,
        "classifier_dropout": RATES,
        "tie_word_embeddings": st.booleans(),
    },
)

CASES = [
    BERT,
    DISTILBERT,
    roberta("roberta", "Roberta"),
    roberta("camembert", "Camembert"),
    roberta("xlm-roberta", "XLMRoberta"),
    ALBERT,
    ELECTRA,
    MODERNBERT,
]
