"""BART (Lewis et al., 2019, https://arxiv.org/abs/1910.13461)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.specs import Probability, TokenId
from zoo_encoder_decoder import heads
from zoo_encoder_decoder.bart_like import BartLikeSpec, build, layout


class BartSpec(BartLikeSpec):
    """The hyperparameters of BART."""

    model_type: Literal["bart"] = Field(description="The architecture's name, as in the Hub's configs")
    decoder_start_token_id: TokenId = Field(2, description="Token id that a decoder's input begins with")
    classifier_dropout: Probability = Field(0.0, description="Dropout around each layer of a classifier")
    extra_pos_embeddings: Literal[2] = Field(2, description="Pinned: positions have two rows more than are counted")
    normalize_before: Literal[False] = Field(False, description="Pinned: sublayers are added, then normalised")
    add_final_layer_norm: Literal[False] = Field(False, description="Pinned: no norm after the last layer")
    normalize_embedding: Literal[True] = Field(True, description="Pinned: embeddings are normalised")
    static_position_embeddings: Literal[False] = Field(False, description="Pinned: positions are learned")

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The family's, with BART's vocabulary."""
        return {**super().proportions(given), "vocab_size": 50265, "decoder_start_token_id": 2}


LAYOUT = layout(
    ("embed_positions.weight",      "embeddings.positions.weight"),
    ("layernorm_embedding.weight",  "embeddings.norm.weight"),
    ("layernorm_embedding.bias",    "embeddings.norm.bias"),
)  # fmt: skip

HEADS = (
    Head(FEATURES, classes=("BartModel",), prefixed=False),
    heads.language_model("BartForConditionalGeneration"),
    heads.text_classification("BartForSequenceClassification"),
    heads.question_answering("BartForQuestionAnswering", prefixed=True),
)


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """BART."""
    return [
        Architecture(
            name="bart",
            spec=BartSpec,
            build=build,
            layout=LAYOUT,
            heads=HEADS,
            paper="BART: Denoising Sequence-to-Sequence Pre-training for Natural Language Generation, Translation, "
            "and Comprehension (https://arxiv.org/abs/1910.13461)",
            summary="BART is an encoder-decoder with learned positions and normalised embeddings, pretrained to "
            "restore texts that were masked, cut and shuffled. Its norms come after the sublayers as in the first "
            "Transformer, and its feed-forward layers have GELU.",
            toy_sizes={
                "decoder_layers": 3,
                "decoder_attention_heads": 4,
                "encoder_ffn_dim": 36,
                "decoder_ffn_dim": 28,
                "activation_function": "tanh",
                "scale_embedding": True,
            },
        )
    ]
