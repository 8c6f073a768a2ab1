"""What Llama and its kin share: spec fields, rows of the layout, heads, and the stack of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from zoo.architecture import FEATURES, Head
from zoo.rope import RotaryFields
from zoo.specs import Activation, Count, DecoderSpec, Epsilon, Probability, Size, usual_heads
from zoo_decoder_only import heads

if TYPE_CHECKING:
    from torch import nn

    from zoo.layers.stacks import Decoder


class LlamaLikeSpec(RotaryFields, DecoderSpec):
    """Pre-norm layers with RMS norms, rotary positions, grouped heads and a gated feed-forward."""

    intermediate_size: Size = Field(description="Width inside the feed-forward layers")
    num_key_value_heads: Count | None = Field(description="Key and value heads per layer; null: one a query head")
    head_dim: Size | None = Field(None, description="Width of a head; None: hidden_size / num_attention_heads")
    hidden_act: Activation = Field("silu", description="Activation of the feed-forward's gate")
    attention_dropout: Probability = Field(0.0, description="Dropout of attention weights")
    classifier_dropout: Probability = Field(0.1, description="Dropout before a token classifier")
    rms_norm_eps: Epsilon = Field(1e-6, description="Added to the mean square in norms")
    tie_word_embeddings: bool = Field(False, description="Whether the output layer shares the token embedding")

    @property
    def head_width(self) -> int:
        """Width of a head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def longest_input(self) -> int | None:
        """As many as there are positions, stretched ones included."""
        return self.longest_text(self.max_position_embeddings)

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Heads of 64, and a feed-forward of 8/3 the width (Touvron et al. 2023)."""
        hidden_size = given.get("hidden_size", 2048)
        known = type(hidden_size) is int and hidden_size > 0
        return {
            "vocab_size": 32000,
            "hidden_size": hidden_size,
            "num_hidden_layers": 16,
            "num_attention_heads": given.get("num_attention_heads", usual_heads(hidden_size)),
            "num_key_value_heads": given.get("num_attention_heads", usual_heads(hidden_size)),
            "intermediate_size": max(1, hidden_size * 8 // 3) if known else 1,
            "max_position_embeddings": 2048,
        }

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        if self.num_attention_heads % (self.num_key_value_heads or 1):
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        if self.rope.partial_rotary_factor not in (None, 1.0):
            raise ValueError(f"partial_rotary_factor {self.rope.partial_rotary_factor}; heads turn as a whole here: 1")
        self.check_turning(self.head_width)
        return self


LayerTypes = list[Literal["full_attention", "sliding_attention"]]


class WindowedSpec(LlamaLikeSpec):
    """Some layers look back over a window only: those that layer_types name, or those from max_window_layers on."""

    use_sliding_window: bool = Field(False, description="Whether layers look back over a window")
    sliding_window: Size | None = Field(4096, description="How many positions a layer sees then, its own included")
    max_window_layers: int = Field(28, ge=0, description="Number of the first layer with a window")
    layer_types: LayerTypes | None = Field(None, description="Each layer's way of looking; None: by max_window_layers")

    @property
    def windows(self) -> list[int | None]:
        """Each layer's window, None for the whole text."""
        if not self.use_sliding_window:
            return [None] * self.num_hidden_layers
        with_window = [number >= self.max_window_layers for number in range(self.num_hidden_layers)]
        if self.layer_types is not None:
            with_window = [kind == "sliding_attention" for kind in self.layer_types]
        return [self.sliding_window if windowed else None for windowed in with_window]

    @model_validator(mode="after")
    def _a_type_for_each_layer(self) -> Self:
        check_layer_types(self.layer_types, self.num_hidden_layers)
        if "sliding_attention" in (self.layer_types or ()) and not (self.use_sliding_window and self.sliding_window):
            raise ValueError(
                "layer_types names sliding_attention, but use_sliding_window or sliding_window rules it out"
            )
        return self


def check_layer_types(layer_types: LayerTypes | None, num_hidden_layers: int) -> None:
    """Raise ValueError unless there is one for each layer."""
    if layer_types is not None and len(layer_types) != num_hidden_layers:
        raise ValueError(f"layer_types names {len(layer_types)} layers; num_hidden_layers is {num_hidden_layers}")


# The norms and the token embedding; then attention and feed-forward.
ROWS = (
    ("embed_tokens.weight",                        "embeddings.tokens.weight"),
    ("layers.{}.self_attn.q_proj.weight",          "layers.{}.attention.query.weight"),
    ("layers.{}.self_attn.k_proj.weight",          "layers.{}.attention.key.weight"),
    ("layers.{}.self_attn.v_proj.weight",          "layers.{}.attention.value.weight"),
    ("layers.{}.self_attn.o_proj.weight",          "layers.{}.attention.output.weight"),
    ("layers.{}.mlp.gate_proj.weight",             "layers.{}.feedforward.gate.weight"),
    ("layers.{}.mlp.up_proj.weight",               "layers.{}.feedforward.up.weight"),
    ("layers.{}.mlp.down_proj.weight",             "layers.{}.feedforward.down.weight"),
    ("layers.{}.input_layernorm.weight",           "layers.{}.attention_norm.weight"),
    ("norm.weight",                                "norm.weight"),
)  # fmt: skip
SECOND_NORM = ("layers.{}.post_attention_layernorm.weight", "layers.{}.feedforward_norm.weight")
QUERY_KEY_VALUE_BIAS_ROWS = tuple(
    (f"layers.{{}}.self_attn.{short}_proj.bias", f"layers.{{}}.attention.{name}.bias")
    for short, name in (("q", "query"), ("k", "key"), ("v", "value"))
)
OUTPUT_BIAS_ROW = ("layers.{}.self_attn.o_proj.bias", "layers.{}.attention.output.bias")
ROTARY_FREQUENCIES = "layers.{}.self_attn.rotary_emb.inv_freq"  # in old checkpoints; computed


def family_heads(family: str, **output: Any) -> tuple[Head, ...]:
    """Give the usual heads under the family's class names. output: options of heads.text_generation."""
    return (
        Head(FEATURES, classes=(f"{family}Model",), prefixed=False),
        heads.text_generation(f"{family}ForCausalLM", **output),
        heads.text_classification(f"{family}ForSequenceClassification"),
        heads.token_classification(f"{family}ForTokenClassification"),
    )


def build_decoder(
    spec: LlamaLikeSpec,
    *,
    bias: bool = False,
    output_bias: bool = False,
    feedforward_bias: bool = False,
    windows: Sequence[int | None] | int | None = None,
    norm_heads: bool = False,
    norm_outputs: bool = False,
    norm_offset: float = 0.0,
    scale: float | None = None,
    softcap: float | None = None,
    embedding_scale: float = 1.0,
    activation: str | None = None,
) -> Decoder:
    """Give the backbone.

    bias: of query, key and value. windows: how far attention looks back, by layer or everywhere. norm_heads: whether
    each query and key head is normalised; norm_outputs: whether what sublayers give is; norm_offset: see
    zoo.layers.norms. scale, softcap: of attention's scores. activation: of the gate, None for the spec's.
    """
    from torch import nn

    from zoo.layers.attention import Attention
    from zoo.layers.blocks import PreNormLayer
    from zoo.layers.embeddings import TokenEmbeddings
    from zoo.layers.feedforward import GatedFeedForward
    from zoo.layers.norms import RMSNorm
    from zoo.layers.stacks import Decoder, Reach

    def norm(size: int) -> nn.Module:
        return RMSNorm(size, spec.rms_norm_eps, norm_offset)

    layers = [
        PreNormLayer(
            attention=Attention(
                hidden_size=spec.hidden_size,
                num_attention_heads=spec.num_attention_heads,
                num_key_value_heads=spec.num_key_value_heads,
                head_dim=spec.head_width,
                dropout=spec.attention_dropout,
                bias=bias,
                output_bias=output_bias,
                causal=True,
                scale=scale,
                softcap=softcap,
                query_norm=norm(spec.head_width) if norm_heads else None,
                key_norm=norm(spec.head_width) if norm_heads else None,
            ),
            attention_norm=norm(spec.hidden_size),
            attention_output_norm=norm(spec.hidden_size) if norm_outputs else None,
            feedforward=GatedFeedForward(
                hidden_size=spec.hidden_size,
                intermediate_size=spec.intermediate_size,
                activation=activation or spec.hidden_act,
                bias=feedforward_bias,
            ),
            feedforward_norm=norm(spec.hidden_size),
            feedforward_output_norm=norm(spec.hidden_size) if norm_outputs else None,
        )
        for _ in range(spec.num_hidden_layers)
    ]
    rotary = spec.rotary(spec.head_width, spec.max_position_embeddings)
    by_layer = list(windows) if isinstance(windows, Sequence) else [windows] * spec.num_hidden_layers
    tokens = nn.Embedding(spec.vocab_size, spec.hidden_size)
    return Decoder(
        embeddings=TokenEmbeddings(tokens, scale=embedding_scale),
        layers=layers,
        norm=norm(spec.hidden_size),
        reaches=[Reach(window, rotary) for window in by_layer],
    )
