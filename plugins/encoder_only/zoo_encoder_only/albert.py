"""ALBERT (Lan et al., 2019, https://arxiv.org/abs/1909.11942): narrow embeddings, and layers that share parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from zoo import hookimpl
from zoo.architecture import Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.specs import Activation, Count, EncoderSpec, Epsilon, Probability, Size, TokenId
from zoo_encoder_only.bert import BertSpec
from zoo_encoder_only.common import EMBEDDING_ROWS, build_layer, usual_sizes
from zoo_encoder_only.heads import (
    CLASSIFIER_ROWS,
    build_masked_language_model,
    pooled_features,
    question_answering,
    text_classification,
    token_classification,
)

if TYPE_CHECKING:
    from torch import nn

    from zoo.layers.stacks import Encoder


class AlbertSpec(EncoderSpec):
    """The hyperparameters of an ALBERT encoder."""

    ignored_config_keys: ClassVar[frozenset[str]] = BertSpec.ignored_config_keys | {"eos_token_ids"}

    model_type: Literal["albert"] = Field("albert", description="The architecture's name, as in the Hub's configs")
    embedding_size: Size = Field(128, description="Width of the embeddings, which are projected to hidden_size")
    num_hidden_groups: Count = Field(1, description="Groups of layers; those of a group share their parameters")
    inner_group_num: Count = Field(1, description="Attention and feed-forward layers that make one layer of a group")
    type_vocab_size: Size = Field(2, description="Number of token types (segments)")
    hidden_act: Activation = Field("gelu_new", description="Activation of the feed-forward layers and fill-mask head")
    hidden_dropout_prob: Probability = Field(0.0, description="Dropout of embeddings and sublayer outputs")
    attention_probs_dropout_prob: Probability = Field(0.0, description="Dropout of attention weights")
    classifier_dropout_prob: Probability = Field(0.1, description="Dropout before a classifier")
    layer_norm_eps: Epsilon = Field(1e-12, description="Added to the variance in layer norms")
    pad_token_id: int | None = Field(0, ge=0, description="Token id of padding")
    bos_token_id: TokenId | None = Field(2, description="Token id that begins a text")
    eos_token_id: TokenId | list[TokenId] | None = Field(3, description="Token id or ids that end a text")
    position_embedding_type: Literal["absolute"] = Field("absolute", description="Pinned: learned absolute positions")
    net_structure_type: Literal[0] = Field(0, description="Pinned: the published structure; no other was released")
    gap_size: Literal[0] = Field(0, description="Pinned: the published structure")
    num_memory_blocks: Literal[0] = Field(0, description="Pinned: the published structure")
    down_scale_factor: Literal[1] = Field(1, description="Pinned: the published structure")
    layers_to_keep: list[int] = Field([], max_length=0, description="Pinned: no layer is left out")

    @model_validator(mode="after")
    def _few_enough(self) -> Self:
        if self.num_hidden_groups * self.inner_group_num > 1024:
            raise ValueError(
                f"{self.num_hidden_groups} num_hidden_groups of {self.inner_group_num} inner_group_num are more than "
                "1024 layers"
            )
        return self

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As BERT's, with ALBERT's vocabulary; the embeddings are of one width at every size (Lan et al., table 1)."""
        return usual_sizes(given.get("hidden_size", 768)) | {"vocab_size": 30000}


GROUP = "encoder.albert_layer_groups.{}.albert_layers.{}"
LAYOUT = Layout(
    *EMBEDDING_ROWS,
    ("encoder.embedding_hidden_mapping_in.weight",    "embeddings.projection.weight"),
    ("encoder.embedding_hidden_mapping_in.bias",      "embeddings.projection.bias"),
    (f"{GROUP}.attention.query.weight",               "layers.{}.{}.attention.query.weight"),
    (f"{GROUP}.attention.query.bias",                 "layers.{}.{}.attention.query.bias"),
    (f"{GROUP}.attention.key.weight",                 "layers.{}.{}.attention.key.weight"),
    (f"{GROUP}.attention.key.bias",                   "layers.{}.{}.attention.key.bias"),
    (f"{GROUP}.attention.value.weight",               "layers.{}.{}.attention.value.weight"),
    (f"{GROUP}.attention.value.bias",                 "layers.{}.{}.attention.value.bias"),
    (f"{GROUP}.attention.dense.weight",               "layers.{}.{}.attention.output.weight"),
    (f"{GROUP}.attention.dense.bias",                 "layers.{}.{}.attention.output.bias"),
    (f"{GROUP}.attention.LayerNorm.weight",           "layers.{}.{}.attention_norm.weight"),
    (f"{GROUP}.attention.LayerNorm.bias",             "layers.{}.{}.attention_norm.bias"),
    (f"{GROUP}.ffn.weight",                           "layers.{}.{}.feedforward.up.weight"),
    (f"{GROUP}.ffn.bias",                             "layers.{}.{}.feedforward.up.bias"),
    (f"{GROUP}.ffn_output.weight",                    "layers.{}.{}.feedforward.down.weight"),
    (f"{GROUP}.ffn_output.bias",                      "layers.{}.{}.feedforward.down.bias"),
    (f"{GROUP}.full_layer_layer_norm.weight",         "layers.{}.{}.feedforward_norm.weight"),
    (f"{GROUP}.full_layer_layer_norm.bias",           "layers.{}.{}.feedforward_norm.bias"),
    ignored=["embeddings.position_ids"],  # 0, 1, 2, …
    prefix="albert.",
)  # fmt: skip
POOLER_ROWS = (("albert.pooler.weight", "pooler.dense.weight"), ("albert.pooler.bias", "pooler.dense.bias"))
POOLER = tuple(name for name, _ in POOLER_ROWS)  # older checkpoints carry it where their head makes no use of it


def build(spec: AlbertSpec) -> Encoder:
    """Give the backbone."""
    from torch import nn

    from zoo.layers.blocks import LayerGroup, PostNormLayer
    from zoo.layers.embeddings import LearnedEmbeddings
    from zoo.layers.stacks import Encoder

    def layer() -> PostNormLayer:
        return build_layer(
            spec,
            activation=spec.hidden_act,
            dropout=spec.hidden_dropout_prob,
            attention_dropout=spec.attention_probs_dropout_prob,
            layer_norm_eps=spec.layer_norm_eps,
        )

    embeddings = LearnedEmbeddings(
        vocab_size=spec.vocab_size,
        max_position_embeddings=spec.max_position_embeddings,
        type_vocab_size=spec.type_vocab_size,
        embedding_size=spec.embedding_size,
        norm=nn.LayerNorm(spec.embedding_size, spec.layer_norm_eps),
        dropout=spec.hidden_dropout_prob,
        hidden_size=spec.hidden_size,  # projected even where both widths are the same
    )
    groups = [LayerGroup(layer() for _ in range(spec.inner_group_num)) for _ in range(spec.num_hidden_groups)]
    # The groups take turns of one length. With this rounding, since checkpoints were trained with it.
    turn = spec.num_hidden_layers / spec.num_hidden_groups
    return Encoder(embeddings=embeddings, layers=groups, order=[int(i / turn) for i in range(spec.num_hidden_layers)])


def _masked_language_model(spec: AlbertSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    return build_masked_language_model(spec, backbone, activation=spec.hidden_act, layer_norm_eps=spec.layer_norm_eps)


HEADS = (
    pooled_features("Albert", ("pooler.weight", "dense.weight"), ("pooler.bias", "dense.bias")),
    Head(
        "fill-mask",
        classes=("AlbertForMaskedLM", "AlbertForPreTraining"),
        build=_masked_language_model,
        layout=Layout(
            ("predictions.bias",              "bias"),
            ("predictions.dense.weight",      "dense.weight"),
            ("predictions.dense.bias",        "dense.bias"),
            ("predictions.LayerNorm.weight",  "norm.weight"),
            ("predictions.LayerNorm.bias",    "norm.bias"),
            ("predictions.decoder.weight",    "decoder.weight"),
            ("predictions.decoder.bias",      "decoder.bias"),
            # AlbertForPreTraining: the order of two sentences, which no task here asks for.
            ignored=["sop_classifier.classifier.weight", "sop_classifier.classifier.bias", *POOLER],
        ),
    ),
    text_classification("Albert", Layout(*POOLER_ROWS, *CLASSIFIER_ROWS), dropout="classifier_dropout_prob"),
    token_classification("Albert", dropout="classifier_dropout_prob", ignored=POOLER),
    question_answering("Albert", ignored=POOLER),
)  # fmt: skip


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """ALBERT under its one name."""
    return [
        Architecture(
            name="albert",
            spec=AlbertSpec,
            build=build,
            layout=LAYOUT,
            heads=HEADS,
            paper="ALBERT: A Lite BERT for Self-supervised Learning of Language Representations "
            "(https://arxiv.org/abs/1909.11942)",
            summary="ALBERT is a BERT whose layers share one set of parameters, and whose narrow token embeddings "
            "are projected to the width of the hidden states. It has far fewer parameters than a BERT of its width, "
            "and takes as long to run.",
            # Unusual values, so that one that is not heeded shows; layers of both kinds of sharing.
            toy_sizes={
                "embedding_size": 14,
                "hidden_act": "relu",
                "layer_norm_eps": 1e-3,
                "type_vocab_size": 3,
                "num_hidden_layers": 5,
                "num_hidden_groups": 2,
                "inner_group_num": 2,
            },
        )
    ]
