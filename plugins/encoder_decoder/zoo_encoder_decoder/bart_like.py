"""What BART, mBART and Marian share: one spec, one table of names, one builder; the spec's pinned fields tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, model_validator

from zoo.checkpoint.layout import Layout
from zoo.specs import Activation, Count, EncoderDecoderSpec, Probability, Size, TokenId, usual_heads

if TYPE_CHECKING:
    from torch import nn

    from zoo.layers.stacks import Decoder, Encoder, EncoderDecoder

S = TypeVar("S", "Encoder", "Decoder")
NoDrop = Annotated[float, Field(ge=0, le=0)]
FIRST_POSITION = 2  # row of the first token in a learned table; the two before it stood for padding in fairseq


class BartLikeSpec(EncoderDecoderSpec):
    """The hyperparameters that the family shares; where its members differ, each pins its own value."""

    ignored_config_keys: ClassVar[frozenset[str]] = frozenset(
        {
            "classif_dropout",  # classifier_dropout's old name; where both stand they differ, and the new one is meant
            "force_bos_token_to_be_generated",  # of generation, which generation_config.json says as forced_bos_token_id
            "save_step",  # of the training that made the file, as are the next four
            "replacing_rate",
            "student_encoder_layers",
            "student_decoder_layers",
            "kobart_version",
            "author",
        }
    )

    num_hidden_layers: Count = Field(alias="encoder_layers", description="Number of the encoder's layers")
    num_attention_heads: Count = Field(
        alias="encoder_attention_heads", description="Attention heads in each of the encoder's layers"
    )
    encoder_ffn_dim: Size = Field(description="Width inside the encoder's feed-forward layers")
    decoder_layers: Count = Field(description="Number of the decoder's layers")
    decoder_attention_heads: Count = Field(description="Attention heads in each of the decoder's layers")
    decoder_ffn_dim: Size = Field(description="Width inside the decoder's feed-forward layers")
    max_position_embeddings: Size = Field(description="Longest input and longest output, in tokens")
    activation_function: Activation = Field(description="Activation inside the feed-forward layers")
    scale_embedding: bool = Field(description="Whether token embeddings are multiplied by sqrt(d_model)")
    dropout: Probability = Field(description="Dropout of embeddings and sublayers")
    attention_dropout: Probability = Field(description="Dropout of attention weights")
    activation_dropout: Probability = Field(description="Dropout inside the feed-forward layers")
    encoder_layerdrop: NoDrop = Field(0.0, description="Pinned: no layer of the encoder is left out in training")
    decoder_layerdrop: NoDrop = Field(0.0, description="Pinned: no layer of the decoder is left out in training")
    initializer_range: float = Field(0.02, gt=0, alias="init_std", description="Standard deviation of fresh weights")
    pad_token_id: TokenId = Field(description="Token id of padding")
    eos_token_id: TokenId = Field(description="Token id that ends a text")
    is_encoder_decoder: Literal[True] = Field(True, description="Pinned: it has both")
    tie_word_embeddings: Literal[True] = Field(True, description="Pinned: one embedding for both stacks and the output")
    add_bias_logits: Literal[False] = Field(False, description="Pinned: no bias of logits but final_logits_bias")
    do_blenderbot_90_layernorm: Literal[False] = Field(False, description="Pinned: tokens and positions, then the norm")
    normalize_before: bool = Field(
        description="Whether sublayers read their input normalised, rather than normalise the sum"
    )
    add_final_layer_norm: bool = Field(description="Whether each stack ends with a norm")
    normalize_embedding: bool = Field(description="Whether embeddings are normalised")
    static_position_embeddings: bool = Field(description="Whether positions are computed rather than learned")

    @property
    def longest_input(self) -> int | None:
        """As many as there are positions."""
        return self.max_position_embeddings

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As Lewis et al. scale it: heads of 64, feed-forward four times the width, both stacks alike."""
        d_model = given.get("d_model", given.get("hidden_size", 768))
        layers = given.get("encoder_layers", given.get("num_hidden_layers", 6))
        known = type(d_model) is int and d_model > 0
        sizes = {
            "layers": layers,
            "attention_heads": usual_heads(d_model),
            "ffn_dim": 4 * d_model if known else 1,
        }
        return {
            "d_model": d_model,
            **{f"{stack}_{key}": size for stack in ("encoder", "decoder") for key, size in sizes.items()},
            "max_position_embeddings": 1024,
            "activation_function": "gelu",
            "scale_embedding": False,
            "dropout": 0.1,
            "attention_dropout": 0.0,
            "activation_dropout": 0.0,
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
        }

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> Self:
        for stack, heads in (("encoder", self.num_attention_heads), ("decoder", self.decoder_attention_heads)):
            if self.hidden_size % heads:
                raise ValueError(f"d_model {self.hidden_size} is not a multiple of {stack}_attention_heads {heads}")
        return self


def layout(*of_stacks: tuple[str, str], ignored: Sequence[str] = ()) -> Layout:
    """Give the table of a backbone. of_stacks: rows that encoder and decoder have beside their layers and tokens."""
    in_layers = [
        ("self_attn.q_proj",         "attention.query"),
        ("self_attn.k_proj",         "attention.key"),
        ("self_attn.v_proj",         "attention.value"),
        ("self_attn.out_proj",       "attention.output"),
        ("self_attn_layer_norm",     "attention_norm"),
        ("encoder_attn.q_proj",      "cross_attention.query"),
        ("encoder_attn.k_proj",      "cross_attention.key"),
        ("encoder_attn.v_proj",      "cross_attention.value"),
        ("encoder_attn.out_proj",    "cross_attention.output"),
        ("encoder_attn_layer_norm",  "cross_attention_norm"),
        ("fc1",                      "feedforward.up"),
        ("fc2",                      "feedforward.down"),
        ("final_layer_norm",         "feedforward_norm"),
    ]  # fmt: skip
    rows = [("shared.weight", "tokens.weight")]
    for stack in ("encoder", "decoder"):
        rows += [(f"{stack}.{hub}", f"{stack}.{zoo}") for hub, zoo in of_stacks]
        rows += [(f"{stack}.embed_tokens.weight", f"{stack}.embeddings.tokens.weight")]
        rows += [
            (f"{stack}.layers.{{}}.{hub}.{part}", f"{stack}.layers.{{}}.{zoo}.{part}")
            for hub, zoo in in_layers
            for part in ("weight", "bias")
            if stack == "decoder" or not hub.startswith("encoder_attn")
        ]
    versions = ("encoder.version", "decoder.version")  # of fairseq's file format
    return Layout(*rows, ignored=(*versions, *ignored), prefix="model.")


def build(spec: BartLikeSpec, wraps: bool = False) -> EncoderDecoder:
    """Give the backbone. wraps: see zoo.layers.stacks.EncoderDecoder."""
    from torch import nn

    from zoo.layers.stacks import Decoder, Encoder, EncoderDecoder

    tokens = nn.Embedding(spec.vocab_size, spec.hidden_size)
    encoder = [
        _layer(spec, spec.num_attention_heads, spec.encoder_ffn_dim, decodes=False)
        for _ in range(spec.num_hidden_layers)
    ]
    decoder = [
        _layer(spec, spec.decoder_attention_heads, spec.decoder_ffn_dim, decodes=True)
        for _ in range(spec.decoder_layers)
    ]
    return EncoderDecoder(
        encoder=_stack(Encoder, spec, tokens, encoder),
        decoder=_stack(Decoder, spec, tokens, decoder),
        start_token_id=spec.decoder_start_token_id,
        tokens=tokens,
        wraps=wraps,
    )


def _stack(kind: type[S], spec: BartLikeSpec, tokens: nn.Embedding, layers: list[nn.Module]) -> S:
    """Give a stack with positions of its own."""
    from torch import nn

    from zoo.layers.embeddings import TokenEmbeddings
    from zoo.layers.positions import SinusoidalPositions

    computed = spec.static_position_embeddings
    embeddings = TokenEmbeddings(
        tokens,
        positions=SinusoidalPositions(spec.hidden_size, interleaved=False)
        if computed
        else nn.Embedding(FIRST_POSITION + spec.max_position_embeddings, spec.hidden_size),
        first_position=0 if computed else FIRST_POSITION,
        norm=nn.LayerNorm(spec.hidden_size) if spec.normalize_embedding else None,
        dropout=spec.dropout,
        scale=spec.hidden_size**0.5 if spec.scale_embedding else 1.0,
        round_scale=False,
    )
    norm = nn.LayerNorm(spec.hidden_size) if spec.add_final_layer_norm else None
    return kind(embeddings=embeddings, layers=layers, norm=norm)


def _layer(spec: BartLikeSpec, num_heads: int, intermediate_size: int, decodes: bool) -> nn.Module:
    """Give a layer. decodes: whether it looks back only, and reads a source too."""
    from torch import nn

    from zoo.layers.attention import Attention
    from zoo.layers.blocks import PostNormLayer, PreNormLayer
    from zoo.layers.feedforward import FeedForward

    def attention(cross: bool = False) -> Attention:
        return Attention(
            hidden_size=spec.hidden_size,
            num_attention_heads=num_heads,
            dropout=spec.attention_dropout,
            causal=decodes and not cross,
            cross=cross,
        )

    return (PreNormLayer if spec.normalize_before else PostNormLayer)(
        attention=attention(),
        attention_norm=nn.LayerNorm(spec.hidden_size),
        cross_attention=attention(cross=True) if decodes else None,
        cross_attention_norm=nn.LayerNorm(spec.hidden_size) if decodes else None,
        feedforward=FeedForward(
            hidden_size=spec.hidden_size,
            intermediate_size=intermediate_size,
            activation=spec.activation_function,
            dropout=spec.activation_dropout,
        ),
        feedforward_norm=nn.LayerNorm(spec.hidden_size),
        dropout=spec.dropout,
    )
