"""DistilBERT (Sanh et al., 2019, https://arxiv.org/abs/1910.01108)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.specs import Activation, Count, EncoderSpec, Probability, Size
from zoo_encoder_only.common import build_layer, usual_sizes
from zoo_encoder_only.heads import (
    CLASSIFIER_ROWS,
    build_masked_language_model,
    question_answering,
    text_classification,
    token_classification,
)

if TYPE_CHECKING:
    from torch import nn

    from zoo.layers.stacks import Encoder

LAYER_NORM_EPS = 1e-12  # no config has a key for it


class DistilBertSpec(EncoderSpec):
    """The hyperparameters of a DistilBERT encoder."""

    # Written by the distillation code; nothing read it since. What is tied is said by tie_word_embeddings.
    ignored_config_keys: ClassVar[frozenset[str]] = frozenset({"tie_weights_"})

    model_type: Literal["distilbert"] = Field(
        "distilbert", description="The architecture's name, as in the Hub's configs"
    )
    hidden_size: Size = Field(alias="dim", description="Width of the hidden states")
    num_hidden_layers: Count = Field(alias="n_layers", description="Number of layers")
    num_attention_heads: Count = Field(alias="n_heads", description="Attention heads per layer")
    intermediate_size: Size = Field(alias="hidden_dim", description="Width inside the feed-forward layers")
    activation: Activation = Field("gelu", description="Activation of the feed-forward layers and the fill-mask head")
    dropout: Probability = Field(
        0.1, description="Dropout of embeddings, feed-forward outputs, and before token labels"
    )
    attention_dropout: Probability = Field(0.1, description="Dropout of attention weights")
    seq_classif_dropout: Probability = Field(0.2, description="Dropout before the text classifier")
    qa_dropout: Probability = Field(0.1, description="Dropout before the scores of question answering")
    sinusoidal_pos_embds: bool = Field(
        False, description="Whether training began from sinusoids as positions; stored anyway"
    )
    pad_token_id: int | None = Field(0, ge=0, description="Token id of padding")

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As Sanh et al. take them from BERT, with half its layers."""
        sizes = usual_sizes(given.get("dim", given.get("hidden_size", 768)))
        return {
            "vocab_size": sizes["vocab_size"],
            "dim": sizes["hidden_size"],
            "n_layers": 6,
            "n_heads": sizes["num_attention_heads"],
            "hidden_dim": sizes["intermediate_size"],
            "max_position_embeddings": sizes["max_position_embeddings"],
        }


LAYOUT = Layout(
    ("embeddings.word_embeddings.weight",                "embeddings.tokens.weight"),
    ("embeddings.position_embeddings.weight",            "embeddings.positions.weight"),
    ("embeddings.LayerNorm.weight",                      "embeddings.norm.weight"),
    ("embeddings.LayerNorm.bias",                        "embeddings.norm.bias"),
    ("transformer.layer.{}.attention.q_lin.weight",      "layers.{}.attention.query.weight"),
    ("transformer.layer.{}.attention.q_lin.bias",        "layers.{}.attention.query.bias"),
    ("transformer.layer.{}.attention.k_lin.weight",      "layers.{}.attention.key.weight"),
    ("transformer.layer.{}.attention.k_lin.bias",        "layers.{}.attention.key.bias"),
    ("transformer.layer.{}.attention.v_lin.weight",      "layers.{}.attention.value.weight"),
    ("transformer.layer.{}.attention.v_lin.bias",        "layers.{}.attention.value.bias"),
    ("transformer.layer.{}.attention.out_lin.weight",    "layers.{}.attention.output.weight"),
    ("transformer.layer.{}.attention.out_lin.bias",      "layers.{}.attention.output.bias"),
    ("transformer.layer.{}.sa_layer_norm.weight",        "layers.{}.attention_norm.weight"),
    ("transformer.layer.{}.sa_layer_norm.bias",          "layers.{}.attention_norm.bias"),
    ("transformer.layer.{}.ffn.lin1.weight",             "layers.{}.feedforward.up.weight"),
    ("transformer.layer.{}.ffn.lin1.bias",               "layers.{}.feedforward.up.bias"),
    ("transformer.layer.{}.ffn.lin2.weight",             "layers.{}.feedforward.down.weight"),
    ("transformer.layer.{}.ffn.lin2.bias",               "layers.{}.feedforward.down.bias"),
    ("transformer.layer.{}.output_layer_norm.weight",    "layers.{}.feedforward_norm.weight"),
    ("transformer.layer.{}.output_layer_norm.bias",      "layers.{}.feedforward_norm.bias"),
    ignored=["embeddings.position_ids"],  # 0, 1, 2, …
    prefix="distilbert.",
)  # fmt: skip


def build(spec: DistilBertSpec) -> Encoder:
    """Give the backbone."""
    from torch import nn

    from zoo.layers.embeddings import LearnedEmbeddings
    from zoo.layers.stacks import Encoder

    embeddings = LearnedEmbeddings(
        vocab_size=spec.vocab_size,
        max_position_embeddings=spec.max_position_embeddings,
        type_vocab_size=None,
        embedding_size=spec.hidden_size,
        norm=nn.LayerNorm(spec.hidden_size, LAYER_NORM_EPS),
        dropout=spec.dropout,
    )
    layers = [
        build_layer(
            spec,
            activation=spec.activation,
            dropout=spec.dropout,
            attention_dropout=spec.attention_dropout,
            layer_norm_eps=LAYER_NORM_EPS,
            drop_attention=False,
        )
        for _ in range(spec.num_hidden_layers)
    ]
    return Encoder(embeddings=embeddings, layers=layers)


def _masked_language_model(spec: DistilBertSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    return build_masked_language_model(
        spec, backbone, activation=spec.activation, layer_norm_eps=LAYER_NORM_EPS, bias_twice=False
    )


HEADS = (
    Head(FEATURES, classes=("DistilBertModel",), prefixed=False),
    Head(
        "fill-mask",
        classes=("DistilBertForMaskedLM",),
        build=_masked_language_model,
        layout=Layout(
            ("vocab_transform.weight",   "dense.weight"),
            ("vocab_transform.bias",     "dense.bias"),
            ("vocab_layer_norm.weight",  "norm.weight"),
            ("vocab_layer_norm.bias",    "norm.bias"),
            ("vocab_projector.weight",   "decoder.weight"),
            ("vocab_projector.bias",     "decoder.bias"),
        ),
    ),
    text_classification(
        "DistilBert",
        Layout(
            ("pre_classifier.weight",    "pooler.dense.weight"),
            ("pre_classifier.bias",      "pooler.dense.bias"),
            *CLASSIFIER_ROWS,
        ),
        dropout="seq_classif_dropout",
        activation="relu",
    ),
    token_classification("DistilBert", dropout="dropout"),
    question_answering("DistilBert", dropout="qa_dropout"),
)  # fmt: skip


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """DistilBERT under its one name."""
    return [
        Architecture(
            name="distilbert",
            spec=DistilBertSpec,
            build=build,
            layout=LAYOUT,
            heads=HEADS,
            paper="DistilBERT, a distilled version of BERT (https://arxiv.org/abs/1910.01108)",
            summary="DistilBERT is BERT with half of its layers, trained to give the answers of the whole. It has "
            "neither token types nor a pooler.",
            toy_sizes={"activation": "relu"},
        )
    ]
