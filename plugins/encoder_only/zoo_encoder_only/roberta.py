"""RoBERTa (Liu et al., 2019, https://arxiv.org/abs/1907.11692), and the same network trained on other languages.

CamemBERT (Martin et al., 2019, https://arxiv.org/abs/1911.03894): French. XLM-RoBERTa (Conneau et al., 2019,
https://arxiv.org/abs/1911.02116): a hundred languages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from zoo import hookimpl
from zoo.architecture import Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.specs import Activation, EncoderSpec, Epsilon, Probability, Size, TokenId
from zoo_encoder_only.common import EMBEDDING_ROWS, LAYER_ROWS, build_layer, usual_sizes
from zoo_encoder_only.heads import (
    DENSE_CLASSIFIER_ROWS,
    build_masked_language_model,
    pooled_features,
    question_answering,
    text_classification,
    token_classification,
)

if TYPE_CHECKING:
    from torch import nn

    from zoo.layers.stacks import Encoder

VOCAB_SIZES = {"roberta": 50265, "camembert": 32005, "xlm-roberta": 250002}


class RobertaSpec(EncoderSpec):
    """The hyperparameters of a RoBERTa encoder."""

    # Written by the training code of some fine-tuned checkpoints; nothing ever read them.
    ignored_config_keys: ClassVar[frozenset[str]] = frozenset({"language", "name"})

    model_type: Literal["roberta", "camembert", "xlm-roberta"] = Field(
        description="The architecture's name, as in the Hub's configs"
    )
    max_position_embeddings: Size = Field(description="Rows of the position table: longest input + pad_token_id + 1")
    type_vocab_size: Size = Field(description="Number of token types (segments)")
    hidden_act: Activation = Field("gelu", description="Activation of the feed-forward layers")
    hidden_dropout_prob: Probability = Field(0.1, description="Dropout of embeddings and sublayer outputs")
    attention_probs_dropout_prob: Probability = Field(0.1, description="Dropout of attention weights")
    classifier_dropout: Probability | None = Field(None, description="Dropout around a classifier; None: as hidden")
    layer_norm_eps: Epsilon = Field(description="Added to the variance in layer norms")
    pad_token_id: TokenId = Field(1, description="Token id of padding; positions are numbered from the one after it")
    bos_token_id: TokenId | None = Field(0, description="Token id that begins a text")
    eos_token_id: TokenId | list[TokenId] | None = Field(2, description="Token id or ids that end a text")
    position_embedding_type: Literal["absolute"] = Field("absolute", description="Pinned: learned absolute positions")

    @property
    def longest_input(self) -> int:
        """As many as there are positions after that of padding."""
        return self.max_position_embeddings - self.pad_token_id - 1

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As Liu et al. take them from BERT: heads of 64 or the next size that divides the width."""
        return usual_sizes(given.get("hidden_size", 768)) | {
            "vocab_size": VOCAB_SIZES.get(given.get("model_type", "roberta"), 50265),
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
        }

    @model_validator(mode="after")
    def _positions_left_after_padding(self) -> Self:
        if self.longest_input < 1:
            raise ValueError(
                f"max_position_embeddings {self.max_position_embeddings} leaves no position for a token; "
                f"the first {self.pad_token_id + 1} are for padding (pad_token_id {self.pad_token_id})"
            )
        return self


LAYOUT = Layout(
    *EMBEDDING_ROWS,
    *LAYER_ROWS,
    ignored=["embeddings.position_ids"],  # 0, 1, 2, …
    prefix="roberta.",
)
POOLER_ROWS = (("pooler.dense.weight", "dense.weight"), ("pooler.dense.bias", "dense.bias"))
POOLER = tuple(f"roberta.{name}" for name, _ in POOLER_ROWS)  # older checkpoints carry it under heads that don't use it


def build(spec: RobertaSpec) -> Encoder:
    """Give the backbone."""
    from torch import nn

    from zoo.layers.embeddings import LearnedEmbeddings
    from zoo.layers.stacks import Encoder

    embeddings = LearnedEmbeddings(
        vocab_size=spec.vocab_size,
        max_position_embeddings=spec.max_position_embeddings,
        type_vocab_size=spec.type_vocab_size,
        embedding_size=spec.hidden_size,
        norm=nn.LayerNorm(spec.hidden_size, spec.layer_norm_eps),
        dropout=spec.hidden_dropout_prob,
        first_position=spec.pad_token_id + 1,
    )
    layers = [
        build_layer(
            spec,
            activation=spec.hidden_act,
            dropout=spec.hidden_dropout_prob,
            attention_dropout=spec.attention_probs_dropout_prob,
            layer_norm_eps=spec.layer_norm_eps,
        )
        for _ in range(spec.num_hidden_layers)
    ]
    return Encoder(embeddings=embeddings, layers=layers)


def _masked_language_model(spec: RobertaSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    # gelu, whatever hidden_act is
    return build_masked_language_model(spec, backbone, activation="gelu", layer_norm_eps=spec.layer_norm_eps)


def _architecture(name: str, family: str, paper: str, summary: str) -> Architecture:
    """family: what the Hub's class names begin with."""
    heads = (
        pooled_features(family, *POOLER_ROWS),
        Head(
            "fill-mask",
            classes=(f"{family}ForMaskedLM",),
            build=_masked_language_model,
            layout=Layout(
                ("lm_head.bias",               "bias"),
                ("lm_head.dense.weight",       "dense.weight"),
                ("lm_head.dense.bias",         "dense.bias"),
                ("lm_head.layer_norm.weight",  "norm.weight"),
                ("lm_head.layer_norm.bias",    "norm.bias"),
                ("lm_head.decoder.weight",     "decoder.weight"),
                ("lm_head.decoder.bias",       "decoder.bias"),
                ignored=POOLER,
            ),
        ),
        text_classification(
            family, Layout(*DENSE_CLASSIFIER_ROWS, ignored=POOLER), dropout="classifier_dropout", drop_twice=True
        ),
        token_classification(family, dropout="classifier_dropout", ignored=POOLER),
        question_answering(family, ignored=POOLER),
    )  # fmt: skip
    return Architecture(
        name=name,
        spec=RobertaSpec,
        build=build,
        layout=LAYOUT,
        heads=heads,
        paper=paper,
        summary=summary,
        toy_sizes={"hidden_act": "relu", "layer_norm_eps": 1e-3, "type_vocab_size": 3, "pad_token_id": 2},
    )


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """RoBERTa under its three names."""
    return [
        _architecture(
            "roberta",
            "Roberta",
            "RoBERTa: A Robustly Optimized BERT Pretraining Approach (https://arxiv.org/abs/1907.11692)",
            "RoBERTa is BERT trained longer, on more text, with byte-level tokens, and without the question whether "
            "two sentences follow each other. Its positions are counted from the one after the padding token's id, "
            "and its text classifier has two layers of its own in place of the pooler.",
        ),
        _architecture(
            "camembert",
            "Camembert",
            "CamemBERT: a Tasty French Language Model (https://arxiv.org/abs/1911.03894)",
            "CamemBERT is RoBERTa trained on French text from the web. Only the vocabulary, made by SentencePiece, "
            "and the Hub's class names differ.",
        ),
        _architecture(
            "xlm-roberta",
            "XLMRoberta",
            "Unsupervised Cross-lingual Representation Learning at Scale (https://arxiv.org/abs/1911.02116)",
            "XLM-RoBERTa is RoBERTa trained on text in a hundred languages, with a SentencePiece vocabulary of 250 "
            "thousand tokens. In its base size most of the parameters are token embeddings.",
        ),
    ]
