"""Qwen3 (Yang et al., 2025, https://arxiv.org/abs/2505.09388)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from zoo import hookimpl
from zoo.architecture import Architecture
from zoo.checkpoint.layout import Layout
from zoo.specs import Size
from zoo_decoder_only import heads
from zoo_decoder_only.llama_like import (
    OUTPUT_BIAS_ROW,
    QUERY_KEY_VALUE_BIAS_ROWS,
    ROTARY_FREQUENCIES,
    ROWS,
    SECOND_NORM,
    WindowedSpec,
    build_decoder,
    family_heads,
)

if TYPE_CHECKING:
    from zoo.layers.stacks import Decoder


class Qwen3Spec(WindowedSpec):
    """The hyperparameters of Qwen3."""

    model_type: Literal["qwen3"] = Field("qwen3", description="The architecture's name, as in the Hub's configs")
    head_dim: Size = Field(128, description="Width of a head, whatever the hidden states' is")
    attention_bias: bool = Field(False, description="Whether attention's projections have biases")


LAYOUT = Layout(
    *ROWS,
    SECOND_NORM,
    *QUERY_KEY_VALUE_BIAS_ROWS,
    OUTPUT_BIAS_ROW,
    ("layers.{}.self_attn.q_norm.weight", "layers.{}.attention.query_norm.weight"),
    ("layers.{}.self_attn.k_norm.weight", "layers.{}.attention.key_norm.weight"),
    ignored=[ROTARY_FREQUENCIES],
    prefix="model.",
    other_prefixes=["transformer."],  # under the question-answering head
)


def build(spec: Qwen3Spec) -> Decoder:
    """Give the backbone: each query and key head is normalised before it turns."""
    return build_decoder(
        spec, bias=spec.attention_bias, output_bias=spec.attention_bias, norm_heads=True, windows=spec.windows
    )


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """Qwen3 under its one name."""
    return [
        Architecture(
            name="qwen3",
            spec=Qwen3Spec,
            build=build,
            layout=LAYOUT,
            heads=(
                *family_heads("Qwen3"),
                heads.question_answering("Qwen3ForQuestionAnswering", prefix="transformer."),
            ),
            paper="Qwen3 Technical Report (https://arxiv.org/abs/2505.09388)",
            summary="Qwen3 is Qwen2 without biases: each head's queries and keys are normalised instead, before "
            "positions turn them. The width of a head is a setting of its own, and need not be the hidden width "
            "divided by the number of heads.",
            toy_sizes={
                "num_hidden_layers": 3,
                "num_attention_heads": 6,
                "num_key_value_heads": 2,
                "head_dim": 10,
                "rms_norm_eps": 1e-3,
                "rope_theta": 300.0,
                "attention_bias": True,
                "use_sliding_window": True,
                "sliding_window": 4,
                "layer_types": ["full_attention", "sliding_attention", "full_attention"],
                "pad_token_id": 0,
            },
        )
    ]
