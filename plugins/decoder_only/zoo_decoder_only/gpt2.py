"""GPT-2 (Radford et al., 2019, "Language Models are Unsupervised Multitask Learners")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.specs import Activation, Count, DecoderSpec, Epsilon, Probability, Size, TokenId, usual_heads
from zoo_decoder_only import heads

if TYPE_CHECKING:
    from torch import nn

    from zoo.layers.stacks import Decoder


class Gpt2Spec(DecoderSpec):
    """The hyperparameters of GPT-2."""

    ignored_config_keys: ClassVar[frozenset[str]] = frozenset(
        # Of a head with two outputs that no task here asks for; of tokens that vocab_size counts already.
        {"summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout"}
        | {"n_special", "predict_special_tokens"}
    )
    repeated_config_keys: ClassVar[Mapping[str, str]] = {"n_ctx": "max_position_embeddings"}

    model_type: Literal["gpt2"] = Field("gpt2", description="The architecture's name, as in the Hub's configs")
    hidden_size: Size = Field(alias="n_embd", description="Width of the hidden states")
    num_hidden_layers: Count = Field(alias="n_layer", description="Number of layers")
    num_attention_heads: Count = Field(alias="n_head", description="Attention heads per layer")
    intermediate_size: Size | None = Field(
        None, alias="n_inner", description="Width inside the feed-forward layers; None: four times n_embd"
    )
    max_position_embeddings: Size = Field(alias="n_positions", description="Longest input, in tokens")
    hidden_act: Activation = Field(
        "gelu_new", alias="activation_function", description="Activation of the feed-forward layers"
    )
    hidden_dropout: Probability = Field(0.1, alias="resid_pdrop", description="Dropout of sublayer outputs")
    embedding_dropout: Probability = Field(0.1, alias="embd_pdrop", description="Dropout of embeddings")
    attention_dropout: Probability = Field(0.1, alias="attn_pdrop", description="Dropout of attention weights")
    classifier_dropout: Probability = Field(0.1, description="Dropout before a token classifier")
    layer_norm_eps: Epsilon = Field(
        1e-5, alias="layer_norm_epsilon", description="Added to the variance in layer norms"
    )
    scale_attn_weights: bool = Field(True, description="Whether scores are divided by sqrt(head_dim)")
    scale_attn_by_inverse_layer_idx: bool = Field(
        False, description="Whether scores are also divided by the layer's number, counted from 1"
    )
    reorder_and_upcast_attn: bool = Field(False, description="Whether scores are taken in float32 in any dtype")
    bos_token_id: TokenId | None = Field(50256, description="Token id that begins a text")
    eos_token_id: TokenId | list[TokenId] | None = Field(50256, description="Token id or ids that end a text")

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As Radford et al. scale it: heads of 64."""
        hidden_size = given.get("n_embd", given.get("hidden_size", 768))
        return {
            "vocab_size": 50257,
            "n_embd": hidden_size,
            "n_layer": 12,
            "n_head": usual_heads(hidden_size),
            "n_positions": 1024,
        }

    def initial_deviations(self) -> Mapping[str, float]:
        """What is added to the residual stream begins smaller, the more layers add to it (section 2.3 of the paper)."""
        residual = self.initializer_range * (2 * self.num_hidden_layers) ** -0.5
        return {"*.attention.output.weight": residual, "*.feedforward.down.weight": residual}

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> Gpt2Spec:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"n_embd {self.hidden_size} is not a multiple of n_head {self.num_attention_heads}")
        return self


# The Hub's matrices are (in, out), and one of them is query, key and value side by side.
LAYOUT = Layout(
    ("wte.weight",                "embeddings.tokens.weight"),
    ("wpe.weight",                "embeddings.positions.weight"),
    ("h.{}.ln_1.weight",          "layers.{}.attention_norm.weight"),
    ("h.{}.ln_1.bias",            "layers.{}.attention_norm.bias"),
    ("h.{}.attn.c_attn.weight",   heads.QUERY_KEY_VALUE_WEIGHTS,          "transpose split"),
    ("h.{}.attn.c_attn.bias",     heads.QUERY_KEY_VALUE_BIASES,           "split"),
    ("h.{}.attn.c_proj.weight",   "layers.{}.attention.output.weight",    "transpose"),
    ("h.{}.attn.c_proj.bias",     "layers.{}.attention.output.bias"),
    ("h.{}.ln_2.weight",          "layers.{}.feedforward_norm.weight"),
    ("h.{}.ln_2.bias",            "layers.{}.feedforward_norm.bias"),
    ("h.{}.mlp.c_fc.weight",      "layers.{}.feedforward.up.weight",      "transpose"),
    ("h.{}.mlp.c_fc.bias",        "layers.{}.feedforward.up.bias"),
    ("h.{}.mlp.c_proj.weight",    "layers.{}.feedforward.down.weight",    "transpose"),
    ("h.{}.mlp.c_proj.bias",      "layers.{}.feedforward.down.bias"),
    ("ln_f.weight",               "norm.weight"),
    ("ln_f.bias",                 "norm.bias"),
    ignored=["h.{}.attn.bias", "h.{}.attn.masked_bias"],  # the causal triangle, and minus infinity
    prefix="transformer.",
)  # fmt: skip


def build(spec: Gpt2Spec) -> Decoder:
    """Give the backbone."""
    from torch import nn

    from zoo.layers.attention import Attention
    from zoo.layers.blocks import PreNormLayer
    from zoo.layers.embeddings import TokenEmbeddings
    from zoo.layers.feedforward import FeedForward
    from zoo.layers.stacks import Decoder

    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(spec.hidden_size, spec.layer_norm_eps)

    def scale(layer: int) -> float:
        whole = (spec.hidden_size // spec.num_attention_heads) ** -0.5 if spec.scale_attn_weights else 1.0
        return whole / (layer + 1) if spec.scale_attn_by_inverse_layer_idx else whole

    layers = [
        PreNormLayer(
            attention=Attention(
                hidden_size=spec.hidden_size,
                num_attention_heads=spec.num_attention_heads,
                dropout=spec.attention_dropout,
                causal=True,
                scale=scale(layer),
                upcast=spec.reorder_and_upcast_attn,
            ),
            attention_norm=norm(),
            feedforward=FeedForward(
                hidden_size=spec.hidden_size,
                intermediate_size=spec.intermediate_size or 4 * spec.hidden_size,
                activation=spec.hidden_act,
            ),
            feedforward_norm=norm(),
            dropout=spec.hidden_dropout,
        )
        for layer in range(spec.num_hidden_layers)
    ]
    embeddings = TokenEmbeddings(
        nn.Embedding(spec.vocab_size, spec.hidden_size),
        positions=nn.Embedding(spec.max_position_embeddings, spec.hidden_size),
        dropout=spec.embedding_dropout,
    )
    return Decoder(embeddings=embeddings, layers=layers, norm=norm())


HEADS = (
    Head(FEATURES, classes=("GPT2Model",), prefixed=False),
    heads.text_generation("GPT2LMHeadModel"),
    heads.text_classification("GPT2ForSequenceClassification"),
    heads.token_classification("GPT2ForTokenClassification", name="classifier"),
    heads.question_answering("GPT2ForQuestionAnswering"),
)


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """GPT-2 under its one name."""
    return [
        Architecture(
            name="gpt2",
            spec=Gpt2Spec,
            build=build,
            layout=LAYOUT,
            heads=HEADS,
            paper="Language Models are Unsupervised Multitask Learners (https://openai.com/index/better-language-models/)",
            summary="GPT-2 moves the norms of the first GPT before the sublayers, and adds one after the last layer. "
            "Its checkpoints hold query, key and value in one matrix, and all of a layer's matrices transposed.",
            toy_sizes={
                "hidden_act": "relu",
                "layer_norm_eps": 1e-3,
                "scale_attn_by_inverse_layer_idx": True,
                "bos_token_id": 1,
                "eos_token_id": 1,
                "pad_token_id": 0,
            },
        )
    ]
