"""What several encoders of this distribution take from BERT: its tensor names, its sizes, its layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.specs import EncoderSpec

if TYPE_CHECKING:
    from zoo.layers.blocks import PostNormLayer

EMBEDDING_ROWS = (
    ("embeddings.word_embeddings.weight",                   "embeddings.tokens.weight"),
    ("embeddings.position_embeddings.weight",               "embeddings.positions.weight"),
    ("embeddings.token_type_embeddings.weight",             "embeddings.token_types.weight"),
    ("embeddings.LayerNorm.weight",                         "embeddings.norm.weight"),
    ("embeddings.LayerNorm.bias",                           "embeddings.norm.bias"),
)  # fmt: skip
LAYER_ROWS = (
    ("encoder.layer.{}.attention.self.query.weight",        "layers.{}.attention.query.weight"),
    ("encoder.layer.{}.attention.self.query.bias",          "layers.{}.attention.query.bias"),
    ("encoder.layer.{}.attention.self.key.weight",          "layers.{}.attention.key.weight"),
    ("encoder.layer.{}.attention.self.key.bias",            "layers.{}.attention.key.bias"),
    ("encoder.layer.{}.attention.self.value.weight",        "layers.{}.attention.value.weight"),
    ("encoder.layer.{}.attention.self.value.bias",          "layers.{}.attention.value.bias"),
    ("encoder.layer.{}.attention.output.dense.weight",      "layers.{}.attention.output.weight"),
    ("encoder.layer.{}.attention.output.dense.bias",        "layers.{}.attention.output.bias"),
    ("encoder.layer.{}.attention.output.LayerNorm.weight",  "layers.{}.attention_norm.weight"),
    ("encoder.layer.{}.attention.output.LayerNorm.bias",    "layers.{}.attention_norm.bias"),
    ("encoder.layer.{}.intermediate.dense.weight",          "layers.{}.feedforward.up.weight"),
    ("encoder.layer.{}.intermediate.dense.bias",            "layers.{}.feedforward.up.bias"),
    ("encoder.layer.{}.output.dense.weight",                "layers.{}.feedforward.down.weight"),
    ("encoder.layer.{}.output.dense.bias",                  "layers.{}.feedforward.down.bias"),
    ("encoder.layer.{}.output.LayerNorm.weight",            "layers.{}.feedforward_norm.weight"),
    ("encoder.layer.{}.output.LayerNorm.bias",              "layers.{}.feedforward_norm.bias"),
)  # fmt: skip


def usual_sizes(hidden_size: Any) -> dict[str, Any]:
    """Give BERT's sizes at a width: heads of 64 or the next size that divides it, feed-forward four times the width.

    hidden_size: as the user gave it; 768 takes the place of what is no size, since validation says what is wrong.
    """
    if type(hidden_size) is not int or hidden_size < 1:
        hidden_size = 768
    heads = min(max(1, hidden_size // 64), 2**10)
    return {
        "vocab_size": 30522,
        "hidden_size": hidden_size,
        "num_hidden_layers": 12,
        "num_attention_heads": next(count for count in range(heads, 0, -1) if hidden_size % count == 0),
        "intermediate_size": 4 * hidden_size,
        "max_position_embeddings": 512,
    }


def build_layer(
    spec: EncoderSpec,
    *,
    activation: str,
    dropout: float,
    attention_dropout: float,
    layer_norm_eps: float,
    drop_attention: bool = True,
) -> PostNormLayer:
    """Give one layer. dropout, drop_attention: see PostNormLayer; attention_dropout: of the attention weights."""
    from torch import nn

    from zoo.layers.attention import Attention
    from zoo.layers.blocks import PostNormLayer
    from zoo.layers.feedforward import FeedForward

    width, heads, inner = spec.hidden_size, spec.num_attention_heads, spec.intermediate_size
    return PostNormLayer(
        attention=Attention(hidden_size=width, num_attention_heads=heads, dropout=attention_dropout),
        attention_norm=nn.LayerNorm(width, layer_norm_eps),
        feedforward=FeedForward(hidden_size=width, intermediate_size=inner, activation=activation),
        feedforward_norm=nn.LayerNorm(width, layer_norm_eps),
        dropout=dropout,
        drop_attention=drop_attention,
    )
