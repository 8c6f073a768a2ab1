"""mBART (Liu et al., 2020, https://arxiv.org/abs/2001.08210) and mBART-50 (Tang et al., 2020, arXiv 2008.00401)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.specs import Probability, TokenId
from zoo_encoder_decoder import bart_like, heads

if TYPE_CHECKING:
    from zoo.layers.stacks import EncoderDecoder


class MBartSpec(bart_like.BartLikeSpec):
    """The hyperparameters of mBART and mBART-50."""

    model_type: Literal["mbart"] = Field(description="The architecture's name, as in the Hub's configs")
    decoder_start_token_id: TokenId | None = Field(
        None, description="Token id that a written text begins with; None: a language's code, of the caller's choice"
    )
    classifier_dropout: Probability = Field(0.0, description="Dropout around each layer of a classifier")
    extra_pos_embeddings: Literal[2] = Field(2, description="Pinned: positions have two rows more than are counted")
    normalize_before: Literal[True] = Field(True, description="Pinned: sublayers read their normalised input")
    add_final_layer_norm: Literal[True] = Field(True, description="Pinned: each stack ends with a norm")
    normalize_embedding: Literal[True] = Field(True, description="Pinned: embeddings are normalised")
    static_position_embeddings: Literal[False] = Field(False, description="Pinned: positions are learned")

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The family's, with mBART's vocabulary."""
        return {**super().proportions(given), "vocab_size": 250027, "scale_embedding": True}


LAYOUT = bart_like.layout(
    ("embed_positions.weight",      "embeddings.positions.weight"),
    ("layernorm_embedding.weight",  "embeddings.norm.weight"),
    ("layernorm_embedding.bias",    "embeddings.norm.bias"),
    ("layer_norm.weight",           "norm.weight"),
    ("layer_norm.bias",             "norm.bias"),
)  # fmt: skip

HEADS = (
    Head(FEATURES, classes=("MBartModel",), prefixed=False),
    heads.language_model("MBartForConditionalGeneration"),
    heads.text_classification("MBartForSequenceClassification"),
    heads.question_answering("MBartForQuestionAnswering", prefixed=True),
)


def build(spec: MBartSpec) -> EncoderDecoder:
    """Give the backbone. A text given to it ends with its language's code or end token: its decoder's input wraps round."""
    return bart_like.build(spec, wraps=True)


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """mBART."""
    return [
        Architecture(
            name="mbart",
            spec=MBartSpec,
            build=build,
            layout=LAYOUT,
            heads=HEADS,
            paper="Multilingual Denoising Pre-training for Neural Machine Translation "
            "(https://arxiv.org/abs/2001.08210)",
            summary="mBART is BART with a norm before each sublayer and one after each stack, pretrained on 25 "
            "languages or on 50. What it writes begins with the code of the language to write in.",
            toy_sizes={
                "decoder_layers": 3,
                "decoder_attention_heads": 4,
                "encoder_ffn_dim": 36,
                "decoder_ffn_dim": 28,
                "activation_function": "relu",
                "decoder_start_token_id": 5,
            },
        )
    ]
