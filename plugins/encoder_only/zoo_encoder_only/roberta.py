"""RoBERTa (Liu et al., 2019, https://arxiv.org/abs/1907.11692), and the same network trained on other languages.

CamemBERT (Martin et al., 2019, https://arxiv.org/abs/1911.03894): French. XLM-RoBERTa (Conneau et al., 2019,
https://arxiv.org/abs/1911.02116): a hundred languages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.specs import Activation, EncoderSpec, Epsilon, Probability, Size, TokenId

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
        hidden_size = given.get("hidden_size", 768)
        if type(hidden_size) is not int or hidden_size < 1:
            hidden_size = 768  # validation says what is wrong with the one given
        heads = min(max(1, hidden_size // 64), 2**10)
        return {
            "vocab_size": VOCAB_SIZES.get(given.get("model_type", "roberta"), 50265),
            "hidden_size": hidden_size,
            "num_hidden_layers": 12,
            "num_attention_heads": next(count for count in range(heads, 0, -1) if hidden_size % count == 0),
            "intermediate_size": 4 * hidden_size,
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
    ("embeddings.word_embeddings.weight",                   "embeddings.tokens.weight"),
    ("embeddings.position_embeddings.weight",               "embeddings.positions.weight"),
    ("embeddings.token_type_embeddings.weight",             "embeddings.token_types.weight"),
    ("embeddings.LayerNorm.weight",                         "embeddings.norm.weight"),
    ("embeddings.LayerNorm.bias",                           "embeddings.norm.bias"),
    ("encoder.layer.{}.attention.self.query.weight",        "layers.{}.attention.query.weight"),
    ("encoder.layer.{}.attention.self.query.bias",          "layers.{}.attention.query.bias"),
    ("encoder.layer.{}.attention.self.key.weight",          "layers.{}.attention.key.weight"),
    ("encoder.layer.{}.attention.self.key.bias",            "layers.{}.attention.key.bias"),
    ("encoder.layer.{}.attention.self.value.weight",        "layers.{}.attention.value.weight"),
    ("encoder.layer.{}.attention.self.value.bias",          "layers.{}.attention.value.bias"),
    ("encoder.layer.{}.attention.output.dense.weight",      "layers.{}.attention.output.weight"),
    ("encoder.layer.{}.attention.output.dense.bias",        "layers.{}.attention.output.bias"),
    ("encoder.layer.{}.attention.output.LayerNorm.weight",  "layers.{}.attention_norm.weight"),
    ("encoder.layer.{}.attention.output.LayerNorm.bias",    "layers.{}.attention_norm.bias"),
    ("encoder.layer.{}.intermediate.dense.weight",          "layers.{}.feedforward.up.weight"),
    ("encoder.layer.{}.intermediate.dense.bias",            "layers.{}.feedforward.up.bias"),
    ("encoder.layer.{}.output.dense.weight",                "layers.{}.feedforward.down.weight"),
    ("encoder.layer.{}.output.dense.bias",                  "layers.{}.feedforward.down.bias"),
    ("encoder.layer.{}.output.LayerNorm.weight",            "layers.{}.feedforward_norm.weight"),
    ("encoder.layer.{}.output.LayerNorm.bias",              "layers.{}.feedforward_norm.bias"),
    ignored=["embeddings.position_ids"],  # 0, 1, 2, …
    prefix="roberta.",
)  # fmt: skip
POOLER_ROWS = (("pooler.dense.weight", "dense.weight"), ("pooler.dense.bias", "dense.bias"))
POOLER = tuple(f"roberta.{name}" for name, _ in POOLER_ROWS)  # older checkpoints carry it under heads that don't use it
CLASSIFIER_ROWS = (("classifier.weight", "classifier.weight"), ("classifier.bias", "classifier.bias"))


def build(spec: RobertaSpec) -> Encoder:
    """Give the backbone."""
    from zoo.layers.attention import Attention
    from zoo.layers.embeddings import LearnedEmbeddings
    from zoo.layers.feedforward import FeedForward
    from zoo.layers.stacks import Encoder, PostNormLayer

    embeddings = LearnedEmbeddings(
        vocab_size=spec.vocab_size,
        max_position_embeddings=spec.max_position_embeddings,
        type_vocab_size=spec.type_vocab_size,
        embedding_size=spec.hidden_size,
        norm=_norm(spec),
        dropout=spec.hidden_dropout_prob,
        first_position=spec.pad_token_id + 1,
    )
    layers = [
        PostNormLayer(
            attention=Attention(
                hidden_size=spec.hidden_size,
                num_attention_heads=spec.num_attention_heads,
                dropout=spec.attention_probs_dropout_prob,
            ),
            attention_norm=_norm(spec),
            feedforward=FeedForward(
                hidden_size=spec.hidden_size,
                intermediate_size=spec.intermediate_size,
                activation=spec.hidden_act,
            ),
            feedforward_norm=_norm(spec),
            dropout=spec.hidden_dropout_prob,
        )
        for _ in range(spec.num_hidden_layers)
    ]
    return Encoder(embeddings=embeddings, layers=layers)


def _norm(spec: RobertaSpec) -> nn.LayerNorm:
    from torch import nn

    return nn.LayerNorm(spec.hidden_size, spec.layer_norm_eps)


def _pooler(spec: RobertaSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import Pooler

    return Pooler(spec.hidden_size)


def _masked_language_model(spec: RobertaSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from torch import nn

    from zoo.layers.heads import MaskedLanguageModel

    tokens = backbone.get_submodule("embeddings.tokens")
    assert isinstance(tokens, nn.Embedding)
    return MaskedLanguageModel(
        hidden_size=spec.hidden_size,
        tokens=tokens,
        activation="gelu",  # whatever hidden_act is
        norm=_norm(spec),
        tied=spec.tie_word_embeddings,
    )


def _text_classifier(spec: RobertaSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import PooledClassifier

    dropout = _classifier_dropout(spec)
    return PooledClassifier(
        hidden_size=spec.hidden_size, num_labels=num_labels, dropout=dropout, dropout_before=dropout
    )


def _token_classifier(spec: RobertaSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import TokenClassifier

    return TokenClassifier(hidden_size=spec.hidden_size, num_labels=num_labels, dropout=_classifier_dropout(spec))


def _span_classifier(spec: RobertaSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import TokenClassifier

    return TokenClassifier(hidden_size=spec.hidden_size, num_labels=num_labels, dropout=0.0)


def _classifier_dropout(spec: RobertaSpec) -> float:
    return spec.hidden_dropout_prob if spec.classifier_dropout is None else spec.classifier_dropout


def _architecture(name: str, family: str, paper: str) -> Architecture:
    """family: what the Hub's class names begin with."""
    heads = (
        Head(
            FEATURES,
            classes=(f"{family}Model",),
            build=_pooler,
            layout=Layout(*POOLER_ROWS),
            optional=True,
            prefixed=False,
        ),
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
        Head(
            "text-classification",
            classes=(f"{family}ForSequenceClassification",),
            build=_text_classifier,
            layout=Layout(
                ("classifier.dense.weight",     "pooler.dense.weight"),
                ("classifier.dense.bias",       "pooler.dense.bias"),
                ("classifier.out_proj.weight",  "classifier.weight"),
                ("classifier.out_proj.bias",    "classifier.bias"),
                ignored=POOLER,
            ),
            output="classifier",
        ),
        Head(
            "token-classification",
            classes=(f"{family}ForTokenClassification",),
            build=_token_classifier,
            layout=Layout(*CLASSIFIER_ROWS, ignored=POOLER),
            output="classifier",
        ),
        Head(
            "question-answering",
            classes=(f"{family}ForQuestionAnswering",),
            build=_span_classifier,
            layout=Layout(
                ("qa_outputs.weight", "classifier.weight"), ("qa_outputs.bias", "classifier.bias"), ignored=POOLER
            ),
            output="classifier",
        ),
    )  # fmt: skip
    return Architecture(
        name=name,
        spec=RobertaSpec,
        build=build,
        layout=LAYOUT,
        heads=heads,
        paper=paper,
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
        ),
        _architecture(
            "camembert", "Camembert", "CamemBERT: a Tasty French Language Model (https://arxiv.org/abs/1911.03894)"
        ),
        _architecture(
            "xlm-roberta",
            "XLMRoberta",
            "Unsupervised Cross-lingual Representation Learning at Scale (https://arxiv.org/abs/1911.02116)",
        ),
    ]
