"""Gemma 2 (Gemma Team, 2024, https://arxiv.org/abs/2408.00118)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from zoo import hookimpl
from zoo.architecture import Architecture
from zoo.checkpoint.layout import Layout
from zoo.specs import Activation, Size
from zoo_decoder_only.gemma import GemmaLikeSpec
from zoo_decoder_only.llama_like import (
    OUTPUT_BIAS_ROW,
    QUERY_KEY_VALUE_BIAS_ROWS,
    ROTARY_FREQUENCIES,
    ROWS,
    LayerTypes,
    build_decoder,
    check_layer_types,
    family_heads,
)

if TYPE_CHECKING:
    from zoo.layers.stacks import Decoder


class Gemma2Spec(GemmaLikeSpec):
    """The hyperparameters of Gemma 2."""

    # How transformers 4 kept keys and values.
    ignored_config_keys: ClassVar[frozenset[str]] = frozenset({"cache_implementation"})
    repeated_config_keys: ClassVar[Mapping[str, str]] = {"sliding_window_size": "sliding_window"}

    model_type: Literal["gemma2"] = Field("gemma2", description="The architecture's name, as in the Hub's configs")
    hidden_act: Activation = Field(
        "gelu_pytorch_tanh", alias="hidden_activation", description="Activation of the feed-forward's gate"
    )
    sliding_window: Size = Field(4096, description="How many positions a layer with a window sees, its own included")
    layer_types: LayerTypes | None = Field(
        None, description="Each layer's way of looking; None: a window in every other"
    )
    attn_logit_softcapping: float | None = Field(50.0, gt=0, description="Bound of attention's scores; null for none")
    final_logit_softcapping: float | None = Field(30.0, gt=0, description="Bound of the logits; null for none")
    query_pre_attn_scalar: Size = Field(256, description="Scores are divided by the root of it")

    @property
    def windows(self) -> list[int | None]:
        """Each layer's window, None for the whole text: the first layer has one."""
        kinds = self.layer_types or [
            "full_attention" if n % 2 else "sliding_attention" for n in range(self.num_hidden_layers)
        ]
        return [self.sliding_window if kind == "sliding_attention" else None for kind in kinds]

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As Gemma's, with a feed-forward of four times the width, and scores divided by the root of a head's width."""
        usual = super().proportions(given)
        narrower = max(1, usual["intermediate_size"] // 2)
        return usual | {"intermediate_size": narrower, "query_pre_attn_scalar": given.get("head_dim", 256)}

    @model_validator(mode="after")
    def _a_type_for_each_layer(self) -> Self:
        check_layer_types(self.layer_types, self.num_hidden_layers)
        return self


LAYOUT = Layout(
    *ROWS,
    *QUERY_KEY_VALUE_BIAS_ROWS,
    OUTPUT_BIAS_ROW,
    ("layers.{}.post_attention_layernorm.weight",    "layers.{}.attention_output_norm.weight"),
    ("layers.{}.pre_feedforward_layernorm.weight",   "layers.{}.feedforward_norm.weight"),
    ("layers.{}.post_feedforward_layernorm.weight",  "layers.{}.feedforward_output_norm.weight"),
    ignored=[ROTARY_FREQUENCIES],
    prefix="model.",
)  # fmt: skip


def build(spec: Gemma2Spec) -> Decoder:
    """Give the backbone: as Gemma's, with norms after the sublayers too, bounded scores, and windows in turn."""
    return build_decoder(
        spec,
        bias=spec.attention_bias,
        output_bias=spec.attention_bias,
        norm_offset=1.0,
        norm_outputs=True,
        embedding_scale=spec.hidden_size**0.5,
        scale=spec.query_pre_attn_scalar**-0.5,
        softcap=spec.attn_logit_softcapping,
        windows=spec.windows,
    )


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """Gemma 2 under its one name."""
    return [
        Architecture(
            name="gemma2",
            spec=Gemma2Spec,
            build=build,
            layout=LAYOUT,
            heads=family_heads("Gemma2", softcap="final_logit_softcapping"),
            paper="Gemma 2: Improving Open Language Models at a Practical Size (https://arxiv.org/abs/2408.00118)",
            summary="Gemma 2 normalises what each of Gemma's sublayers gives as well as what it reads, and caps "
            "attention scores and logits by a tanh. Every other layer looks back over a window of tokens only.",
            toy_sizes={
                "num_hidden_layers": 3,
                "num_attention_heads": 6,
                "num_key_value_heads": 2,
                "head_dim": 10,
                "hidden_activation": "relu",
                "rms_norm_eps": 1e-3,
                "rope_theta": 100.0,
                "sliding_window": 4,
                "attn_logit_softcapping": 2.0,
                "final_logit_softcapping": 3.0,
                "query_pre_attn_scalar": 7,
            },
        )
    ]
