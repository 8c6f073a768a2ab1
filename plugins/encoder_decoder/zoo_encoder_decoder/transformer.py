"""The original Transformer (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.specs import Count, EncoderDecoderSpec, Epsilon, Probability, Size, TokenId, usual_heads
from zoo_encoder_decoder import heads
from zoo_encoder_decoder.bart_like import layout

if TYPE_CHECKING:
    from torch import nn

    from zoo.layers.stacks import EncoderDecoder


class TransformerSpec(EncoderDecoderSpec):
    """The hyperparameters of the Transformer: the columns of the paper's table 3, and what the text around it fixes."""

    model_type: Literal["transformer"] = Field(description="The architecture's name")
    num_hidden_layers: Count = Field(
        alias="encoder_layers", description="Number of the encoder's layers; N in the paper"
    )
    decoder_layers: Count = Field(description="Number of the decoder's layers; N in the paper")
    num_attention_heads: Count = Field(description="Attention heads per layer; h in the paper")
    intermediate_size: Size = Field(alias="d_ff", description="Width inside the feed-forward layers")
    dropout: Probability = Field(0.1, description="Dropout of each sublayer's output and of the sums of embeddings")
    # The paper names no epsilon. This is that of its authors' code, tensor2tensor.
    layer_norm_epsilon: Epsilon = Field(1e-6, description="Added to the variance in norms")
    pad_token_id: TokenId = Field(description="Token id of padding")
    eos_token_id: TokenId = Field(description="Token id that ends a text")
    decoder_start_token_id: TokenId = Field(description="Token id that a decoder's input begins with")
    is_encoder_decoder: Literal[True] = Field(True, description="Pinned: it has both")
    tie_word_embeddings: Literal[True] = Field(True, description="Pinned: one embedding for both stacks and the output")

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The base model's: heads of 64, feed-forward four times the width, 37000 tokens (section 5.1)."""
        d_model = given.get("d_model", given.get("hidden_size", 512))
        layers = given.get("encoder_layers", given.get("num_hidden_layers", 6))
        padding = given.get("pad_token_id", 0)
        return {
            "vocab_size": 37000,
            "d_model": d_model,
            "encoder_layers": layers,
            "decoder_layers": layers,
            "num_attention_heads": usual_heads(d_model),
            "d_ff": 4 * d_model if type(d_model) is int and d_model > 0 else 1,
            "pad_token_id": padding,
            "eos_token_id": 1,
            "decoder_start_token_id": padding,
        }

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"d_model {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        return self


# The names are those of BART and Marian, which descend from it. Projections of attention have no biases here.
LAYOUT = layout()

HEADS = (
    Head(FEATURES, classes=("TransformerModel",), prefixed=False),
    heads.language_model("TransformerForConditionalGeneration", fixed_bias=False),
)


def build(spec: TransformerSpec) -> EncoderDecoder:
    """Give the backbone: figure 1 of the paper, up to the last linear layer."""
    from torch import nn

    from zoo.layers.embeddings import TokenEmbeddings
    from zoo.layers.positions import SinusoidalPositions
    from zoo.layers.stacks import Decoder, Encoder, EncoderDecoder

    tokens = nn.Embedding(spec.vocab_size, spec.hidden_size)

    def embeddings() -> TokenEmbeddings:
        return TokenEmbeddings(
            tokens,
            positions=SinusoidalPositions(spec.hidden_size),
            scale=spec.hidden_size**0.5,
            round_scale=False,
            dropout=spec.dropout,
        )

    return EncoderDecoder(
        encoder=Encoder(
            embeddings=embeddings(),
            layers=[_layer(spec, decodes=False) for _ in range(spec.num_hidden_layers)],
        ),
        decoder=Decoder(
            embeddings=embeddings(),
            layers=[_layer(spec, decodes=True) for _ in range(spec.decoder_layers)],
        ),
        start_token_id=spec.decoder_start_token_id,
        tokens=tokens,
    )


def _layer(spec: TransformerSpec, decodes: bool) -> nn.Module:
    """Give a layer (section 3.1). decodes: whether it looks back only, and reads a source too."""
    from torch import nn

    from zoo.layers.attention import Attention
    from zoo.layers.blocks import PostNormLayer
    from zoo.layers.feedforward import FeedForward

    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(spec.hidden_size, spec.layer_norm_epsilon)

    def attention(cross: bool = False) -> Attention:
        return Attention(
            hidden_size=spec.hidden_size,
            num_attention_heads=spec.num_attention_heads,
            bias=False,  # section 3.2.2 has matrices alone, and tensor2tensor too
            causal=decodes and not cross,
            cross=cross,
        )

    return PostNormLayer(
        attention=attention(),
        attention_norm=norm(),
        cross_attention=attention(cross=True) if decodes else None,
        cross_attention_norm=norm() if decodes else None,
        feedforward=FeedForward(
            hidden_size=spec.hidden_size, intermediate_size=spec.intermediate_size, activation="relu"
        ),
        feedforward_norm=norm(),
        dropout=spec.dropout,
    )


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """The Transformer."""
    return [
        Architecture(
            name="transformer",
            spec=TransformerSpec,
            build=build,
            layout=LAYOUT,
            heads=HEADS,
            paper="Attention Is All You Need (https://arxiv.org/abs/1706.03762)",
            summary="This is the Transformer as its paper has it: sinusoidal positions, ReLU, and a norm after each "
            "sublayer of encoder and decoder. Unlike in BART and Marian, which descend from it, the projections of "
            "attention have no biases.",
            toy_sizes={"decoder_layers": 3, "layer_norm_epsilon": 1e-3},
        )
    ]
