"""ELECTRA (Clark et al., 2020, https://arxiv.org/abs/2003.10555): discriminators, and the generators beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.specs import Activation, EncoderSpec, Epsilon, Probability, Size
from zoo_encoder_only.bert import BertSpec

if TYPE_CHECKING:
    from torch import nn

    from zoo.layers.stacks import Encoder


class ElectraSpec(EncoderSpec):
    """The hyperparameters of an ELECTRA discriminator or generator."""

    ignored_config_keys: ClassVar[frozenset[str]] = frozenset(
        # Of a multiple-choice head alone; the text classifier has its own fixed shape.
        {"summary_type", "summary_use_proj", "summary_activation", "summary_last_dropout"}
        # How wide the generator was in pretraining, relative to this discriminator.
        | {"generator_size", "generator_hidden_size"}
        | {"language", "name"}  # written by FARM
    )

    model_type: Literal["electra"] = Field("electra", description="The architecture's name, as in the Hub's configs")
    embedding_size: Size = Field(description="Width of the embeddings; projected where hidden_size is another")
    type_vocab_size: Size = Field(2, description="Number of token types (segments)")
    hidden_act: Activation = Field("gelu", description="Activation of the feed-forward layers")
    hidden_dropout_prob: Probability = Field(0.1, description="Dropout of embeddings and sublayer outputs")
    attention_probs_dropout_prob: Probability = Field(0.1, description="Dropout of attention weights")
    classifier_dropout: Probability | None = Field(None, description="Dropout in a classifier; None: as hidden")
    layer_norm_eps: Epsilon = Field(1e-12, description="Added to the variance in layer norms")
    pad_token_id: int | None = Field(0, ge=0, description="Token id of padding")
    position_embedding_type: Literal["absolute"] = Field("absolute", description="Pinned: learned absolute positions")

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As BERT's, with embeddings of half the width below the base size (Clark et al., table 6)."""
        sizes = BertSpec.proportions(given)
        width = sizes["hidden_size"]
        return sizes | {"embedding_size": width if width >= 768 else max(1, width // 2)}


LAYOUT = Layout(
    ("embeddings.word_embeddings.weight",                   "embeddings.tokens.weight"),
    ("embeddings.position_embeddings.weight",               "embeddings.positions.weight"),
    ("embeddings.token_type_embeddings.weight",             "embeddings.token_types.weight"),
    ("embeddings.LayerNorm.weight",                         "embeddings.norm.weight"),
    ("embeddings.LayerNorm.bias",                           "embeddings.norm.bias"),
    ("embeddings_project.weight",                           "embeddings.projection.weight"),
    ("embeddings_project.bias",                             "embeddings.projection.bias"),
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
    spare=["embeddings_project.weight", "embeddings_project.bias"],  # in Google's base and large discriminators
    prefix="electra.",
)  # fmt: skip


def build(spec: ElectraSpec) -> Encoder:
    """Give the backbone."""
    from torch import nn

    from zoo.layers.attention import Attention
    from zoo.layers.embeddings import LearnedEmbeddings
    from zoo.layers.feedforward import FeedForward
    from zoo.layers.stacks import Encoder, PostNormLayer

    def norm(width: int = spec.hidden_size) -> nn.LayerNorm:
        return nn.LayerNorm(width, spec.layer_norm_eps)

    embeddings = LearnedEmbeddings(
        vocab_size=spec.vocab_size,
        max_position_embeddings=spec.max_position_embeddings,
        type_vocab_size=spec.type_vocab_size,
        embedding_size=spec.embedding_size,
        norm=norm(spec.embedding_size),
        dropout=spec.hidden_dropout_prob,
        hidden_size=None if spec.embedding_size == spec.hidden_size else spec.hidden_size,
    )
    layers = [
        PostNormLayer(
            attention=Attention(
                hidden_size=spec.hidden_size,
                num_attention_heads=spec.num_attention_heads,
                dropout=spec.attention_probs_dropout_prob,
            ),
            attention_norm=norm(),
            feedforward=FeedForward(
                hidden_size=spec.hidden_size,
                intermediate_size=spec.intermediate_size,
                activation=spec.hidden_act,
            ),
            feedforward_norm=norm(),
            dropout=spec.hidden_dropout_prob,
        )
        for _ in range(spec.num_hidden_layers)
    ]
    return Encoder(embeddings=embeddings, layers=layers)


def _masked_language_model(spec: ElectraSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from torch import nn

    from zoo.layers.heads import MaskedLanguageModel

    tokens = backbone.get_submodule("embeddings.tokens")
    assert isinstance(tokens, nn.Embedding)
    return MaskedLanguageModel(
        hidden_size=spec.hidden_size,
        tokens=tokens,
        activation="gelu",  # whatever the layers use
        norm=nn.LayerNorm(spec.embedding_size, spec.layer_norm_eps),
        tied=spec.tie_word_embeddings,
        bias_twice=False,
    )


def _text_classifier(spec: ElectraSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import PooledClassifier

    dropout = _classifier_dropout(spec)
    return PooledClassifier(
        hidden_size=spec.hidden_size, num_labels=num_labels, dropout=dropout, activation="gelu", dropout_before=dropout
    )


def _token_classifier(spec: ElectraSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import TokenClassifier

    return TokenClassifier(hidden_size=spec.hidden_size, num_labels=num_labels, dropout=_classifier_dropout(spec))


def _span_classifier(spec: ElectraSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import TokenClassifier

    return TokenClassifier(hidden_size=spec.hidden_size, num_labels=num_labels, dropout=0.0)


def _classifier_dropout(spec: ElectraSpec) -> float:
    return spec.hidden_dropout_prob if spec.classifier_dropout is None else spec.classifier_dropout


HEADS = (
    Head(
        FEATURES,
        classes=("ElectraModel", "ElectraForPreTraining"),
        # ElectraForPreTraining: was the token replaced? No task here asks for that.
        layout=Layout(ignored=["discriminator_predictions.dense.weight",
                               "discriminator_predictions.dense.bias",
                               "discriminator_predictions.dense_prediction.weight",
                               "discriminator_predictions.dense_prediction.bias"]),
        prefixed=False,
    ),
    Head(
        "fill-mask",
        classes=("ElectraForMaskedLM",),
        build=_masked_language_model,
        layout=Layout(
            ("generator_predictions.dense.weight",      "dense.weight"),
            ("generator_predictions.dense.bias",        "dense.bias"),
            ("generator_predictions.LayerNorm.weight",  "norm.weight"),
            ("generator_predictions.LayerNorm.bias",    "norm.bias"),
            ("generator_lm_head.weight",                "decoder.weight"),
            ("generator_lm_head.bias",                  "decoder.bias"),
        ),
    ),
    Head(
        "text-classification",
        classes=("ElectraForSequenceClassification",),
        build=_text_classifier,
        layout=Layout(
            ("classifier.dense.weight",     "pooler.dense.weight"),
            ("classifier.dense.bias",       "pooler.dense.bias"),
            ("classifier.out_proj.weight",  "classifier.weight"),
            ("classifier.out_proj.bias",    "classifier.bias"),
        ),
        output="classifier",
    ),
    Head(
        "token-classification",
        classes=("ElectraForTokenClassification",),
        build=_token_classifier,
        layout=Layout(("classifier.weight", "classifier.weight"), ("classifier.bias", "classifier.bias")),
        output="classifier",
    ),
    Head(
        "question-answering",
        classes=("ElectraForQuestionAnswering",),
        build=_span_classifier,
        layout=Layout(("qa_outputs.weight", "classifier.weight"), ("qa_outputs.bias", "classifier.bias")),
        output="classifier",
    ),
)  # fmt: skip


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """ELECTRA under its one name."""
    return [
        Architecture(
            name="electra",
            spec=ElectraSpec,
            build=build,
            layout=LAYOUT,
            heads=HEADS,
            paper="ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators "
            "(https://arxiv.org/abs/2003.10555)",
            # Unusual values, so that one that is not heeded shows.
            toy_sizes={"embedding_size": 14, "hidden_act": "relu", "layer_norm_eps": 1e-3, "type_vocab_size": 3},
        )
    ]
