"""T5's two stacks of layers, which differ only in what they look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

    from zoo.layers.stacks import Decoder, Encoder, EncoderAlone, EncoderDecoder
    from zoo_encoder_decoder.t5 import T5Spec

S = TypeVar("S", "Encoder", "Decoder")


def build(spec: T5Spec) -> EncoderDecoder:
    """Give the backbone."""
    from torch import nn

    from zoo.layers.stacks import Decoder, EncoderDecoder

    tokens = nn.Embedding(spec.vocab_size, spec.hidden_size)
    decoder = _stack(Decoder, spec, tokens, spec.num_decoder_layers or spec.num_layers)
    start = spec.pad_token_id if spec.decoder_start_token_id is None else spec.decoder_start_token_id
    return EncoderDecoder(encoder=_encoder(spec, tokens), decoder=decoder, start_token_id=start, tokens=tokens)


def build_encoder(spec: T5Spec) -> EncoderAlone:
    """Give the encoder by itself."""
    from torch import nn

    from zoo.layers.stacks import EncoderAlone

    tokens = nn.Embedding(spec.vocab_size, spec.hidden_size)
    return EncoderAlone(encoder=_encoder(spec, tokens), tokens=tokens)


def _encoder(spec: T5Spec, tokens: nn.Embedding) -> Encoder:
    from zoo.layers.stacks import Encoder

    return _stack(Encoder, spec, tokens, spec.num_layers)


def _stack(kind: type[S], spec: T5Spec, tokens: nn.Embedding, num_layers: int) -> S:
    """Give a stack: no scaling of scores, no biases, one table of distances for all layers."""
    from zoo.layers.attention import Attention
    from zoo.layers.blocks import PreNormLayer
    from zoo.layers.embeddings import TokenEmbeddings
    from zoo.layers.feedforward import FeedForward, GatedFeedForward
    from zoo.layers.norms import RMSNorm
    from zoo.layers.positions import RelativeBias

    dense = GatedFeedForward if spec.is_gated else FeedForward

    def norm() -> RMSNorm:
        return RMSNorm(spec.hidden_size, spec.layer_norm_epsilon)

    def attention(cross: bool) -> Attention:
        return Attention(
            hidden_size=spec.hidden_size,
            num_attention_heads=spec.num_heads,
            head_dim=spec.d_kv,
            dropout=spec.dropout_rate,
            bias=False,
            scale=1.0,
            causal=kind.causal and not cross,
            cross=cross,
        )

    layers = [
        PreNormLayer(
            attention=attention(cross=False),
            attention_norm=norm(),
            cross_attention=attention(cross=True) if kind.causal else None,
            cross_attention_norm=norm() if kind.causal else None,
            feedforward=dense(
                hidden_size=spec.hidden_size,
                intermediate_size=spec.d_ff,
                activation=spec.activation,
                bias=False,
                dropout=spec.dropout_rate,
            ),
            feedforward_norm=norm(),
            dropout=spec.dropout_rate,
        )
        for _ in range(num_layers)
    ]
    return kind(
        embeddings=TokenEmbeddings(tokens, dropout=spec.dropout_rate),
        layers=layers,
        norm=norm(),
        dropout=spec.dropout_rate,
        relative_bias=RelativeBias(
            num_buckets=spec.relative_attention_num_buckets,
            max_distance=spec.relative_attention_max_distance,
            num_attention_heads=spec.num_heads,
            causal=kind.causal,
        ),
    )
