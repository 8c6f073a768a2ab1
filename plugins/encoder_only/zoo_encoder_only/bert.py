"""BERT (Devlin et al., 2018, https://arxiv.org/abs/1810.04805)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.specs import Activation, EncoderSpec, Epsilon, Probability, Size

if TYPE_CHECKING:
    from torch import nn

    from zoo.layers.stacks import Encoder


class BertSpec(EncoderSpec):
    """The hyperparameters of a BERT encoder."""

    ignored_config_keys: ClassVar[frozenset[str]] = frozenset(
        # Written by the original TensorFlow code for multilingual and Chinese checkpoints; nothing ever read them.
        {"directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers"}
        | {"pooler_size_per_head", "pooler_type"}
    )

    model_type: Literal["bert"] = Field("bert", description="The architecture's name, as in the Hub's configs")
    type_vocab_size: Size = Field(2, description="Number of token types (segments)")
    hidden_act: Activation = Field("gelu", description="Activation of the feed-forward layers and the fill-mask head")
    hidden_dropout_prob: Probability = Field(0.1, description="Dropout of embeddings and sublayer outputs")
    attention_probs_dropout_prob: Probability = Field(0.1, description="Dropout of attention weights")
    classifier_dropout: Probability | None = Field(None, description="Dropout before a classifier; None: as hidden")
    layer_norm_eps: Epsilon = Field(1e-12, description="Added to the variance in layer norms")
    pad_token_id: int | None = Field(0, ge=0, description="Token id of padding")
    position_embedding_type: Literal["absolute"] = Field("absolute", description="Pinned: learned absolute positions")

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As Devlin et al. scale it: heads of 64 or the next size that divides it, feed-forward four times the width."""
        hidden_size = given.get("hidden_size", 768)
        if type(hidden_size) is not int or hidden_size < 1:
            hidden_size = 768  # validation says what is wrong with the one given
        heads = min(max(1, hidden_size // 64), 2**10)
        return {
            "vocab_size": 30522,
            "hidden_size": hidden_size,
            "num_hidden_layers": 12,
            "num_attention_heads": next(count for count in range(heads, 0, -1) if hidden_size % count == 0),
            "intermediate_size": 4 * hidden_size,
            "max_position_embeddings": 512,
        }


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
    old_spellings=[("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")],
    prefix="bert.",
)  # fmt: skip
POOLER_ROWS = (("bert.pooler.dense.weight", "pooler.dense.weight"), ("bert.pooler.dense.bias", "pooler.dense.bias"))
POOLER = tuple(name for name, _ in POOLER_ROWS)  # older checkpoints carry it where their head makes no use of it
CLASSIFIER_ROWS = (("classifier.weight", "classifier.weight"), ("classifier.bias", "classifier.bias"))


def build(spec: BertSpec) -> Encoder:
    """Give the backbone."""
    from torch import nn

    from zoo.layers.attention import Attention
    from zoo.layers.embeddings import LearnedEmbeddings
    from zoo.layers.feedforward import FeedForward
    from zoo.layers.stacks import Encoder, PostNormLayer

    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(spec.hidden_size, spec.layer_norm_eps)

    embeddings = LearnedEmbeddings(
        vocab_size=spec.vocab_size,
        max_position_embeddings=spec.max_position_embeddings,
        type_vocab_size=spec.type_vocab_size,
        embedding_size=spec.hidden_size,
        norm=norm(),
        dropout=spec.hidden_dropout_prob,
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


def _pooler(spec: BertSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import Pooler

    return Pooler(spec.hidden_size)


def _masked_language_model(spec: BertSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from torch import nn

    from zoo.layers.heads import MaskedLanguageModel

    norm = nn.LayerNorm(spec.hidden_size, spec.layer_norm_eps)
    tokens = backbone.get_submodule("embeddings.tokens")
    assert isinstance(tokens, nn.Embedding)
    return MaskedLanguageModel(
        hidden_size=spec.hidden_size,
        tokens=tokens,
        activation=spec.hidden_act,
        norm=norm,
        tied=spec.tie_word_embeddings,
    )


def _text_classifier(spec: BertSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import PooledClassifier

    return PooledClassifier(hidden_size=spec.hidden_size, num_labels=num_labels, dropout=_classifier_dropout(spec))


def _token_classifier(spec: BertSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import TokenClassifier

    return TokenClassifier(hidden_size=spec.hidden_size, num_labels=num_labels, dropout=_classifier_dropout(spec))


def _span_classifier(spec: BertSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import TokenClassifier

    return TokenClassifier(hidden_size=spec.hidden_size, num_labels=num_labels, dropout=0.0)


def _classifier_dropout(spec: BertSpec) -> float:
    return spec.hidden_dropout_prob if spec.classifier_dropout is None else spec.classifier_dropout


HEADS = (
    Head(
        FEATURES,
        classes=("BertModel",),
        build=_pooler,
        layout=Layout(("pooler.dense.weight", "dense.weight"), ("pooler.dense.bias", "dense.bias")),
        optional=True,
        prefixed=False,
    ),
    Head(
        "fill-mask",
        classes=("BertForMaskedLM", "BertForPreTraining"),
        build=_masked_language_model,
        layout=Layout(
            ("cls.predictions.bias",                        "bias"),
            ("cls.predictions.transform.dense.weight",      "dense.weight"),
            ("cls.predictions.transform.dense.bias",        "dense.bias"),
            ("cls.predictions.transform.LayerNorm.weight",  "norm.weight"),
            ("cls.predictions.transform.LayerNorm.bias",    "norm.bias"),
            ("cls.predictions.decoder.weight",              "decoder.weight"),
            ("cls.predictions.decoder.bias",                "decoder.bias"),
            # BertForPreTraining: next-sentence prediction, which no task here asks for.
            ignored=["cls.seq_relationship.weight", "cls.seq_relationship.bias",
                     "bert.pooler.dense.weight", "bert.pooler.dense.bias"],
        ),
    ),
    Head(
        "text-classification",
        classes=("BertForSequenceClassification",),
        build=_text_classifier,
        layout=Layout(*POOLER_ROWS, *CLASSIFIER_ROWS),
        output="classifier",
    ),
    Head(
        "token-classification",
        classes=("BertForTokenClassification",),
        build=_token_classifier,
        layout=Layout(*CLASSIFIER_ROWS, ignored=POOLER),
        output="classifier",
    ),
    Head(
        "question-answering",
        classes=("BertForQuestionAnswering",),
        build=_span_classifier,
        layout=Layout(
            ("qa_outputs.weight", "classifier.weight"), ("qa_outputs.bias", "classifier.bias"), ignored=POOLER
        ),
        output="classifier",
    ),
)  # fmt: skip


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """BERT under its one name."""
    return [
        Architecture(
            name="bert",
            spec=BertSpec,
            build=build,
            layout=LAYOUT,
            heads=HEADS,
            paper="BERT: Pre-training of Deep Bidirectional Transformers (https://arxiv.org/abs/1810.04805)",
            # Unusual values, so that one that is not heeded shows.
            toy_sizes={"hidden_act": "gelu_new", "layer_norm_eps": 1e-3, "type_vocab_size": 3},
        )
    ]
