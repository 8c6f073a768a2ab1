"""Gemma (Gemma Team, 2024, https://arxiv.org/abs/2403.08295)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from zoo import hookimpl
from zoo.architecture import Architecture
from zoo.checkpoint.layout import Layout
from zoo.specs import Activation, Size, TokenId
from zoo_decoder_only.llama_like import (
    OUTPUT_BIAS_ROW,
    QUERY_KEY_VALUE_BIAS_ROWS,
    ROTARY_FREQUENCIES,
    ROWS,
    SECOND_NORM,
    LlamaLikeSpec,
    build_decoder,
    family_heads,
)

if TYPE_CHECKING:
    from zoo.layers.stacks import Decoder


class GemmaLikeSpec(LlamaLikeSpec):
    """What Gemma and Gemma 2 share."""

    head_dim: Size = Field(256, description="Width of a head, whatever the hidden states' is")
    attention_bias: bool = Field(False, description="Whether attention's projections have biases")
    tie_word_embeddings: bool = Field(True, description="Whether the output layer shares the token embedding")
    use_bidirectional_attention: Literal[False] | None = Field(None, description="Pinned: no token sees a later one")
    pad_token_id: TokenId | None = Field(0, description="Token id of padding")
    bos_token_id: TokenId | None = Field(2, description="Token id that begins a text")
    eos_token_id: TokenId | list[TokenId] | None = Field(1, description="Token id or ids that end a text")

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As the Gemma Team scales it: a wide feed-forward, and heads of 256."""
        usual = super().proportions(given)
        hidden_size = usual["hidden_size"]
        wide = 8 * hidden_size if type(hidden_size) is int and hidden_size > 0 else 1
        return usual | {"vocab_size": 256000, "intermediate_size": wide, "max_position_embeddings": 8192}


class GemmaSpec(GemmaLikeSpec):
    """The hyperparameters of Gemma."""

    model_type: Literal["gemma"] = Field("gemma", description="The architecture's name, as in the Hub's configs")
    hidden_act: Activation = Field(
        "gelu_pytorch_tanh", description='Activation of the gate; "gelu" always meant its tanh approximation here'
    )
    hidden_activation: Activation | None = Field(None, description="What hidden_act comes to, said again")

    @property
    def activation(self) -> str:
        """The name in zoo.layers.activations."""
        return "gelu_pytorch_tanh" if self.hidden_act == "gelu" else self.hidden_act

    @model_validator(mode="after")
    def _one_activation(self) -> Self:
        # Which of two counted has changed over the years, so they may not differ.
        if self.hidden_activation not in (None, self.activation):
            raise ValueError(
                f"hidden_activation '{self.hidden_activation}' is not what hidden_act means: '{self.activation}'"
            )
        return self


LAYOUT = Layout(
    *ROWS,
    SECOND_NORM,
    *QUERY_KEY_VALUE_BIAS_ROWS,
    OUTPUT_BIAS_ROW,
    ignored=[ROTARY_FREQUENCIES],
    prefix="model.",
)


def build(spec: GemmaSpec) -> Decoder:
    """Give the backbone: embeddings scaled by sqrt(hidden_size), norms that store their weight's distance from 1."""
    return build_decoder(
        spec,
        bias=spec.attention_bias,
        output_bias=spec.attention_bias,
        norm_offset=1.0,
        embedding_scale=spec.hidden_size**0.5,
        activation=spec.activation,
    )


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """Gemma under its one name."""
    return [
        Architecture(
            name="gemma",
            spec=GemmaSpec,
            build=build,
            layout=LAYOUT,
            heads=family_heads("Gemma"),
            paper="Gemma: Open Models Based on Gemini Research and Technology (https://arxiv.org/abs/2403.08295)",
            summary="Gemma is Llama with a GELU in its gates, and with token embeddings that are multiplied by the "
            "square root of their width and shared with the output. Its norms hold the distance of their weights "
            "from 1.",
            toy_sizes={
                "num_attention_heads": 6,
                "num_key_value_heads": 1,
                "head_dim": 10,
                "hidden_act": "gelu",
                "rms_norm_eps": 1e-3,
                "rope_theta": 100.0,
                "attention_bias": True,
            },
        )
    ]
