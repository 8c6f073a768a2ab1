"""GPT (Radford et al., 2018, "Improving Language Understanding by Generative Pre-Training")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.specs import Count, DecoderSpec, Epsilon, Probability, Size, usual_heads
from zoo_decoder_only import heads

if TYPE_CHECKING:
    from zoo.layers.stacks import Decoder


class OpenAIGptSpec(DecoderSpec):
    """The hyperparameters of the first GPT."""

    ignored_config_keys: ClassVar[frozenset[str]] = frozenset(
        # Of a head with two outputs that no task here asks for; of the tokens its training added, which vocab_size counts.
        {"summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout"}
        | {"n_special", "predict_special_tokens"}
    )
    repeated_config_keys: ClassVar[Mapping[str, str]] = {"n_ctx": "max_position_embeddings"}

    model_type: Literal["openai-gpt"] = Field(
        "openai-gpt", description="The architecture's name, as in the Hub's configs"
    )
    hidden_size: Size = Field(
        alias="n_embd", description="Width of the hidden states; feed-forwards have four times it"
    )
    num_hidden_layers: Count = Field(alias="n_layer", description="Number of layers")
    num_attention_heads: Count = Field(alias="n_head", description="Attention heads per layer")
    max_position_embeddings: Size = Field(alias="n_positions", description="Longest input, in tokens")
    afn: Literal["gelu", "relu", "silu", "swish"] = Field(
        "gelu", description='Activation of the feed-forward layers; "gelu" means its tanh approximation here'
    )
    hidden_dropout: Probability = Field(0.1, alias="resid_pdrop", description="Dropout of sublayer outputs")
    embedding_dropout: Probability = Field(0.1, alias="embd_pdrop", description="Dropout of embeddings")
    attention_dropout: Probability = Field(0.1, alias="attn_pdrop", description="Dropout of attention weights")
    layer_norm_eps: Epsilon = Field(
        1e-5, alias="layer_norm_epsilon", description="Added to the variance in layer norms"
    )

    @property
    def activation(self) -> str:
        """The name in zoo.layers.activations."""
        return "gelu_new" if self.afn == "gelu" else self.afn

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As Radford et al. choose them: heads of 64."""
        hidden_size = given.get("n_embd", given.get("hidden_size", 768))
        return {
            "vocab_size": 40478,
            "n_embd": hidden_size,
            "n_layer": 12,
            "n_head": usual_heads(hidden_size),
            "n_positions": 512,
        }

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"n_embd {self.hidden_size} is not a multiple of n_head {self.num_attention_heads}")
        return self


# The Hub's matrices are (in, out), and one of them is query, key and value side by side.
LAYOUT = Layout(
    ("tokens_embed.weight",       "embeddings.tokens.weight"),
    ("positions_embed.weight",    "embeddings.positions.weight"),
    ("h.{}.attn.c_attn.weight",   heads.QUERY_KEY_VALUE_WEIGHTS,          "transpose split"),
    ("h.{}.attn.c_attn.bias",     heads.QUERY_KEY_VALUE_BIASES,           "split"),
    ("h.{}.attn.c_proj.weight",   "layers.{}.attention.output.weight",    "transpose"),
    ("h.{}.attn.c_proj.bias",     "layers.{}.attention.output.bias"),
    ("h.{}.ln_1.weight",          "layers.{}.attention_norm.weight"),
    ("h.{}.ln_1.bias",            "layers.{}.attention_norm.bias"),
    ("h.{}.mlp.c_fc.weight",      "layers.{}.feedforward.up.weight",      "transpose"),
    ("h.{}.mlp.c_fc.bias",        "layers.{}.feedforward.up.bias"),
    ("h.{}.mlp.c_proj.weight",    "layers.{}.feedforward.down.weight",    "transpose"),
    ("h.{}.mlp.c_proj.bias",      "layers.{}.feedforward.down.bias"),
    ("h.{}.ln_2.weight",          "layers.{}.feedforward_norm.weight"),
    ("h.{}.ln_2.bias",            "layers.{}.feedforward_norm.bias"),
    ignored=["h.{}.attn.bias", "position_ids"],  # the causal triangle; 0, 1, 2, …
    prefix="transformer.",
)  # fmt: skip


def build(spec: OpenAIGptSpec) -> Decoder:
    """Give the backbone: norms after each sublayer, as in the original Transformer, and none at the end."""
    from torch import nn

    from zoo.layers.attention import Attention
    from zoo.layers.blocks import PostNormLayer
    from zoo.layers.embeddings import TokenEmbeddings
    from zoo.layers.feedforward import FeedForward
    from zoo.layers.stacks import Decoder

    layers = [
        PostNormLayer(
            attention=Attention(
                hidden_size=spec.hidden_size,
                num_attention_heads=spec.num_attention_heads,
                dropout=spec.attention_dropout,
                causal=True,
            ),
            attention_norm=nn.LayerNorm(spec.hidden_size, spec.layer_norm_eps),
            feedforward=FeedForward(
                hidden_size=spec.hidden_size,
                intermediate_size=4 * spec.hidden_size,
                activation=spec.activation,
            ),
            feedforward_norm=nn.LayerNorm(spec.hidden_size, spec.layer_norm_eps),
            dropout=spec.hidden_dropout,
        )
        for _ in range(spec.num_hidden_layers)
    ]
    embeddings = TokenEmbeddings(
        nn.Embedding(spec.vocab_size, spec.hidden_size),
        positions=nn.Embedding(spec.max_position_embeddings, spec.hidden_size),
        dropout=spec.embedding_dropout,
    )
    return Decoder(embeddings=embeddings, layers=layers)


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """GPT under its one name."""
    return [
        Architecture(
            name="openai-gpt",
            spec=OpenAIGptSpec,
            build=build,
            layout=LAYOUT,
            heads=(
                Head(FEATURES, classes=("OpenAIGPTModel",), prefixed=False),
                heads.text_generation("OpenAIGPTLMHeadModel"),
                heads.text_classification("OpenAIGPTForSequenceClassification"),
            ),
            paper="Improving Language Understanding by Generative Pre-Training "
            "(https://openai.com/index/language-unsupervised/)",
            summary="The first GPT is the Transformer's decoder without its cross-attention: learned positions, and "
            "a norm after each sublayer. It reads lower-cased English of at most 512 tokens.",
            toy_sizes={"afn": "silu", "layer_norm_epsilon": 1e-3, "pad_token_id": 0, "eos_token_id": 1},
        )
    ]
