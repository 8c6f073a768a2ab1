"""Llama (Touvron et al., 2023, https://arxiv.org/abs/2302.13971; Llama Team, 2024, https://arxiv.org/abs/2407.21783)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.specs import Count, TokenId
from zoo_decoder_only import heads
from zoo_decoder_only.llama_like import (
    OUTPUT_BIAS_ROW,
    QUERY_KEY_VALUE_BIAS_ROWS,
    ROTARY_FREQUENCIES,
    ROWS,
    SECOND_NORM,
    LlamaLikeSpec,
    build_decoder,
)

if TYPE_CHECKING:
    from zoo.layers.stacks import Decoder


class LlamaSpec(LlamaLikeSpec):
    """The hyperparameters of Llama, of any generation."""

    ignored_config_keys: ClassVar[frozenset[str]] = frozenset(
        # How a matrix was cut up in training, which gives the same product; what other programs were told.
        {"pretraining_tp", "is_llama_config", "transformers.js_config", "max_sequence_length"}
    )

    model_type: Literal["llama"] = Field("llama", description="The architecture's name, as in the Hub's configs")
    num_key_value_heads: Count | None = Field(None, description="Key and value heads per layer; None: one a query head")
    attention_bias: bool = Field(False, description="Whether attention's projections have biases")
    mlp_bias: bool = Field(False, description="Whether the feed-forward's projections have biases")
    rope_interleaved: Literal[False] = Field(False, description="Pinned: a head turns by its halves, not by neighbours")
    bos_token_id: TokenId | None = Field(1, description="Token id that begins a text")
    eos_token_id: TokenId | list[TokenId] | None = Field(2, description="Token id or ids that end a text")


LAYOUT = Layout(
    *ROWS,
    SECOND_NORM,
    *QUERY_KEY_VALUE_BIAS_ROWS,
    OUTPUT_BIAS_ROW,
    ("layers.{}.mlp.gate_proj.bias", "layers.{}.feedforward.gate.bias"),
    ("layers.{}.mlp.up_proj.bias",   "layers.{}.feedforward.up.bias"),
    ("layers.{}.mlp.down_proj.bias", "layers.{}.feedforward.down.bias"),
    ignored=[ROTARY_FREQUENCIES],
    prefix="model.",
    other_prefixes=["transformer."],  # under the question-answering head
)  # fmt: skip


def build(spec: LlamaSpec) -> Decoder:
    """Give the backbone."""
    return build_decoder(
        spec, bias=spec.attention_bias, output_bias=spec.attention_bias, feedforward_bias=spec.mlp_bias
    )


HEADS = (
    Head(FEATURES, classes=("LlamaModel",), prefixed=False),
    heads.text_generation("LlamaForCausalLM"),
    heads.text_classification("LlamaForSequenceClassification"),
    heads.token_classification("LlamaForTokenClassification"),
    heads.question_answering("LlamaForQuestionAnswering", prefix="transformer."),
)


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """Llama under its one name."""
    return [
        Architecture(
            name="llama",
            spec=LlamaSpec,
            build=build,
            layout=LAYOUT,
            heads=HEADS,
            paper="LLaMA: Open and Efficient Foundation Language Models (https://arxiv.org/abs/2302.13971)",
            summary="Llama has rotary positions, RMS norms, gated feed-forward layers and no biases, where GPT-2 has "
            "learned positions, layer norms, plain ones and biases. In its later generations query heads share key "
            "and value heads, and positions are stretched for longer texts.",
            toy_sizes={
                "hidden_act": "gelu",
                "num_attention_heads": 6,
                "num_key_value_heads": 2,
                "head_dim": 8,
                "rms_norm_eps": 1e-3,
                "rope_theta": 100.0,
                "attention_bias": True,
                "mlp_bias": True,
                "pad_token_id": 0,
            },
        )
    ]
