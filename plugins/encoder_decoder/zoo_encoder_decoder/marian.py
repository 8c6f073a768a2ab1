"""Marian (Junczys-Dowmunt et al., 2018, https://arxiv.org/abs/1804.00344): OPUS-MT's translation models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.specs import Size, TokenId
from zoo_encoder_decoder import heads
from zoo_encoder_decoder.bart_like import BartLikeSpec, build, layout


class MarianSpec(BartLikeSpec):
    """The hyperparameters of Marian."""

    ignored_config_keys: ClassVar[frozenset[str]] = BartLikeSpec.ignored_config_keys | {
        "classifier_dropout",  # there is no classifier
        "extra_pos_embeddings",  # of learned positions; these are computed
    }

    model_type: Literal["marian"] = Field(description="The architecture's name, as in the Hub's configs")
    decoder_start_token_id: TokenId = Field(description="Token id that a decoder's input begins with")
    decoder_vocab_size: Size | None = Field(None, description="Number of the decoder's token ids: those of the encoder")
    share_encoder_decoder_embeddings: Literal[True] = Field(True, description="Pinned: both stacks read one embedding")
    normalize_before: Literal[False] = Field(False, description="Pinned: sublayers are added, then normalised")
    add_final_layer_norm: Literal[False] = Field(False, description="Pinned: no norm after the last layer")
    normalize_embedding: Literal[False] = Field(False, description="Pinned: embeddings are not normalised")
    static_position_embeddings: Literal[True] = Field(True, description="Pinned: positions are computed")

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The family's, as OPUS-MT trains them: the base size of Vaswani et al. 2017; padding comes last and starts."""
        vocab_size = given.get("vocab_size", 58101)
        padding = given.get("pad_token_id", vocab_size - 1 if type(vocab_size) is int and vocab_size > 0 else 0)
        return {
            **super().proportions({"d_model": given.get("hidden_size", 512), **given}),
            "vocab_size": vocab_size,
            "max_position_embeddings": 512,
            "activation_function": "swish",
            "scale_embedding": True,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "pad_token_id": padding,
            "decoder_start_token_id": padding,
        }

    @model_validator(mode="after")
    def _one_vocabulary(self) -> Self:
        if self.decoder_vocab_size not in (None, self.vocab_size):
            raise ValueError(
                f"decoder_vocab_size {self.decoder_vocab_size} is not vocab_size {self.vocab_size}; "
                "both stacks read one embedding"
            )
        return self


# Some files hold the tables of positions. They are computed here, and written back as they were.
LAYOUT = layout(ignored=["encoder.embed_positions.weight", "decoder.embed_positions.weight"])

HEADS = (
    Head(FEATURES, classes=("MarianModel",), prefixed=False),
    heads.language_model("MarianMTModel"),
)


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """Marian."""
    return [
        Architecture(
            name="marian",
            spec=MarianSpec,
            build=build,
            layout=LAYOUT,
            heads=HEADS,
            paper="Marian: Fast Neural Machine Translation in C++ (https://arxiv.org/abs/1804.00344)",
            summary="Marian is BART with computed sinusoidal positions and without norms of the embeddings. Each of "
            "its models translates between one pair of languages, or of groups of them.",
            toy_sizes={
                "decoder_layers": 3,
                "decoder_attention_heads": 4,
                "encoder_ffn_dim": 36,
                "decoder_ffn_dim": 28,
            },
        )
    ]
