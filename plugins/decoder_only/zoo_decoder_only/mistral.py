"""Mistral (Jiang et al., 2023, https://arxiv.org/abs/2310.06825)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from zoo import hookimpl
from zoo.architecture import Architecture
from zoo.checkpoint.layout import Layout
from zoo.specs import Size, TokenId
from zoo_decoder_only import heads
from zoo_decoder_only.llama_like import (
    ROTARY_FREQUENCIES,
    ROWS,
    SECOND_NORM,
    LlamaLikeSpec,
    build_decoder,
    family_heads,
)

if TYPE_CHECKING:
    from zoo.layers.stacks import Decoder


class MistralSpec(LlamaLikeSpec):
    """The hyperparameters of Mistral."""

    model_type: Literal["mistral"] = Field("mistral", description="The architecture's name, as in the Hub's configs")
    sliding_window: Size | None = Field(
        4096, description="How many positions a token sees, its own included; null for all"
    )
    bos_token_id: TokenId | None = Field(1, description="Token id that begins a text")
    eos_token_id: TokenId | list[TokenId] | None = Field(2, description="Token id or ids that end a text")


LAYOUT = Layout(*ROWS, SECOND_NORM, ignored=[ROTARY_FREQUENCIES], prefix="model.")


def build(spec: MistralSpec) -> Decoder:
    """Give the backbone."""
    return build_decoder(spec, windows=spec.sliding_window)


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """Mistral under its one name."""
    return [
        Architecture(
            name="mistral",
            spec=MistralSpec,
            build=build,
            layout=LAYOUT,
            heads=(*family_heads("Mistral"), heads.question_answering("MistralForQuestionAnswering")),
            paper="Mistral 7B (https://arxiv.org/abs/2310.06825)",
            summary="Mistral is Llama with an attention that may look back over a window of tokens only, 4096 in its "
            "first release. Groups of query heads share a key and value head in every size.",
            toy_sizes={
                "num_attention_heads": 6,
                "num_key_value_heads": 3,
                "head_dim": 10,
                "rms_norm_eps": 1e-3,
                "rope_theta": 200.0,
                "sliding_window": 4,
                "pad_token_id": 0,
            },
        )
    ]
