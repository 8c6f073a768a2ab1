"""ELECTRA (Clark et al., 2020, https://arxiv.org/abs/2003.10555): discriminators, and the generators beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.specs import Activation, EncoderSpec, Epsilon, Probability, Size
from zoo_encoder_only.common import EMBEDDING_ROWS, LAYER_ROWS, build_layer, usual_sizes
from zoo_encoder_only.heads import (
    DENSE_CLASSIFIER_ROWS,
    build_masked_language_model,
    question_answering,
    text_classification,
    token_classification,
)

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
        sizes = usual_sizes(given.get("hidden_size", 768))
        width = sizes["hidden_size"]
        return sizes | {"embedding_size": width if width >= 768 else max(1, width // 2)}


LAYOUT = Layout(
    *EMBEDDING_ROWS,
    ("embeddings_project.weight",  "embeddings.projection.weight"),
    ("embeddings_project.bias",    "embeddings.projection.bias"),
    *LAYER_ROWS,
    ignored=["embeddings.position_ids"],  # 0, 1, 2, …
    spare=["embeddings_project.weight", "embeddings_project.bias"],  # in Google's base and large discriminators
    prefix="electra.",
)  # fmt: skip


def build(spec: ElectraSpec) -> Encoder:
    """Give the backbone."""
    from torch import nn

    from zoo.layers.embeddings import LearnedEmbeddings
    from zoo.layers.stacks import Encoder

    embeddings = LearnedEmbeddings(
        vocab_size=spec.vocab_size,
        max_position_embeddings=spec.max_position_embeddings,
        type_vocab_size=spec.type_vocab_size,
        embedding_size=spec.embedding_size,
        norm=nn.LayerNorm(spec.embedding_size, spec.layer_norm_eps),
        dropout=spec.hidden_dropout_prob,
        hidden_size=None if spec.embedding_size == spec.hidden_size else spec.hidden_size,
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


def _masked_language_model(spec: ElectraSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    # gelu, whatever the layers use
    return build_masked_language_model(
        spec, backbone, activation="gelu", layer_norm_eps=spec.layer_norm_eps, bias_twice=False
    )


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
    text_classification(
        "Electra",
        Layout(*DENSE_CLASSIFIER_ROWS),
        dropout="classifier_dropout",
        activation="gelu",
        drop_twice=True,
    ),
    token_classification("Electra", dropout="classifier_dropout"),
    question_answering("Electra"),
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
            summary="ELECTRA is a BERT trained to tell which tokens of a text another model has put there, so that "
            "it learns from every token and not from the masked ones alone. Its embeddings may be narrower than its "
            "hidden states, and it has no pooler.",
            # Unusual values, so that one that is not heeded shows.
            toy_sizes={"embedding_size": 14, "hidden_act": "relu", "layer_norm_eps": 1e-3, "type_vocab_size": 3},
        )
    ]
