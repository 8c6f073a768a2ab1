"""BERT (Devlin et al., 2018, https://arxiv.org/abs/1810.04805)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from zoo import hookimpl
from zoo.architecture import Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.specs import Activation, EncoderSpec, Epsilon, Probability, Size
from zoo_encoder_only.common import EMBEDDING_ROWS, LAYER_ROWS, build_layer, usual_sizes
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
        return usual_sizes(given.get("hidden_size", 768))


LAYOUT = Layout(
    *EMBEDDING_ROWS,
    *LAYER_ROWS,
    ignored=["embeddings.position_ids"],  # 0, 1, 2, …
    old_spellings=[("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")],
    prefix="bert.",
)
POOLER_ROWS = (("bert.pooler.dense.weight", "pooler.dense.weight"), ("bert.pooler.dense.bias", "pooler.dense.bias"))
POOLER = tuple(name for name, _ in POOLER_ROWS)  # older checkpoints carry it where their head makes no use of it


def build(spec: BertSpec) -> Encoder:
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


def _masked_language_model(spec: BertSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    return build_masked_language_model(spec, backbone, activation=spec.hidden_act, layer_norm_eps=spec.layer_norm_eps)


HEADS = (
    pooled_features("Bert", ("pooler.dense.weight", "dense.weight"), ("pooler.dense.bias", "dense.bias")),
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
            ignored=["cls.seq_relationship.weight", "cls.seq_relationship.bias", *POOLER],
        ),
    ),
    text_classification("Bert", Layout(*POOLER_ROWS, *CLASSIFIER_ROWS), dropout="classifier_dropout"),
    token_classification("Bert", dropout="classifier_dropout", ignored=POOLER),
    question_answering("Bert", ignored=POOLER),
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
            summary="BERT is an encoder with learned positions, token types, and a norm after each sublayer, "
            "pretrained to fill in masked words from what stands on both sides. Its relatives here change its "
            "pretraining, share its layers, leave some out, or replace its positions.",
            # Unusual values, so that one that is not heeded shows.
            toy_sizes={"hidden_act": "gelu_new", "layer_norm_eps": 1e-3, "type_vocab_size": 3},
        )
    ]
