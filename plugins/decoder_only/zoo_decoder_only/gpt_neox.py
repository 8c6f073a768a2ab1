"""GPT-NeoX (Black et al., 2022, https://arxiv.org/abs/2204.06745), Pythia included (Biderman et al., 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.rope import RotaryFields
from zoo.specs import Activation, DecoderSpec, Epsilon, Probability, Size, TokenId, usual_heads
from zoo_decoder_only import heads

if TYPE_CHECKING:
    from torch import Size as Shape
    from torch import Tensor, nn

    from zoo.layers.stacks import Decoder


class GptNeoXSpec(RotaryFields, DecoderSpec):
    """The hyperparameters of GPT-NeoX."""

    # Code that other programs may run on the model's answers; when in training it was saved.
    ignored_config_keys: ClassVar[frozenset[str]] = frozenset({"custom_pipelines", "num_steps"})
    repeated_config_keys: ClassVar[Mapping[str, str]] = {
        "attention_probs_dropout_prob": "attention_dropout",
        "hidden_dropout_prob": "hidden_dropout",
    }

    model_type: Literal["gpt_neox"] = Field("gpt_neox", description="The architecture's name, as in the Hub's configs")
    intermediate_size: Size = Field(description="Width inside the feed-forward layers")
    hidden_act: Activation = Field("gelu", description="Activation of the feed-forward layers")
    rope_theta: float | None = Field(
        None, gt=1, alias="rotary_emb_base", description="Base of the rotary frequencies; 10000 where none is named"
    )
    partial_rotary_factor: float | None = Field(
        None, gt=0, le=1, alias="rotary_pct", description="Share of a head's dimensions that turn; None: a quarter"
    )
    attention_bias: bool = Field(True, description="Whether attention's projections have biases")
    use_parallel_residual: bool = Field(True, description="Whether both sublayers read the same state")
    attention_dropout: Probability = Field(0.0, description="Dropout of attention weights")
    hidden_dropout: Probability = Field(0.0, description="Dropout of sublayer outputs and embeddings")
    classifier_dropout: Probability = Field(0.1, description="Dropout before a token classifier")
    layer_norm_eps: Epsilon = Field(1e-5, description="Added to the variance in layer norms")
    tie_word_embeddings: bool = Field(False, description="Whether the output layer shares the token embedding")
    bos_token_id: TokenId | None = Field(0, description="Token id that begins a text")
    eos_token_id: TokenId | list[TokenId] | None = Field(2, description="Token id or ids that end a text")

    @property
    def longest_input(self) -> int | None:
        """As many as there are positions, stretched ones included."""
        return self.longest_text(self.max_position_embeddings)

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As Biderman et al. scale it: heads of 64, of which a quarter turns, and a feed-forward four times the width."""
        hidden_size = given.get("hidden_size", 512)
        return {
            "vocab_size": 50304,
            "hidden_size": hidden_size,
            "num_hidden_layers": 6,
            "num_attention_heads": usual_heads(hidden_size),
            "intermediate_size": 4 * hidden_size if type(hidden_size) is int and hidden_size > 0 else 1,
            "max_position_embeddings": 2048,
            "rotary_pct": 0.25,
        }

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        self.check_turning(
            int(self.hidden_size // self.num_attention_heads * (self.rope.partial_rotary_factor or 0.25))
        )
        return self


class HeadByHead:
    """Query, key and value of one head stand together on the Hub: (heads, 3, head_dim, …) along the first axis."""

    def __init__(self, num_attention_heads: int = 1) -> None:
        self.num_attention_heads = num_attention_heads

    def for_spec(self, spec: GptNeoXSpec) -> HeadByHead:
        """Learn the number of heads, which no shape tells."""
        return HeadByHead(spec.num_attention_heads)

    def read(self, tensors: list[Tensor], shapes: list[Shape]) -> list[Tensor]:
        """Give query, key and value apart."""
        parts = tensors[0].unflatten(0, (self.num_attention_heads, 3, -1))  # type: ignore[no-untyped-call]
        return [parts[:, part].flatten(0, 1) for part in range(3)]

    def write(self, tensors: list[Tensor]) -> list[Tensor]:
        """Put them together again."""
        import torch

        heads = [tensor.unflatten(0, (self.num_attention_heads, -1)) for tensor in tensors]  # type: ignore[no-untyped-call]
        return [torch.stack(heads, 1).flatten(0, 2)]


LAYOUT = Layout(
    ("embed_in.weight",                                "embeddings.tokens.weight"),
    ("layers.{}.input_layernorm.weight",               "layers.{}.attention_norm.weight"),
    ("layers.{}.input_layernorm.bias",                 "layers.{}.attention_norm.bias"),
    ("layers.{}.attention.query_key_value.weight",     heads.QUERY_KEY_VALUE_WEIGHTS,  HeadByHead()),
    ("layers.{}.attention.query_key_value.bias",       heads.QUERY_KEY_VALUE_BIASES,   HeadByHead()),
    ("layers.{}.attention.dense.weight",               "layers.{}.attention.output.weight"),
    ("layers.{}.attention.dense.bias",                 "layers.{}.attention.output.bias"),
    ("layers.{}.post_attention_layernorm.weight",      "layers.{}.feedforward_norm.weight"),
    ("layers.{}.post_attention_layernorm.bias",        "layers.{}.feedforward_norm.bias"),
    ("layers.{}.mlp.dense_h_to_4h.weight",             "layers.{}.feedforward.up.weight"),
    ("layers.{}.mlp.dense_h_to_4h.bias",               "layers.{}.feedforward.up.bias"),
    ("layers.{}.mlp.dense_4h_to_h.weight",             "layers.{}.feedforward.down.weight"),
    ("layers.{}.mlp.dense_4h_to_h.bias",               "layers.{}.feedforward.down.bias"),
    ("final_layer_norm.weight",                        "norm.weight"),
    ("final_layer_norm.bias",                          "norm.bias"),
    # The causal triangle, minus infinity, and what the rotary base gives: in old checkpoints; computed.
    ignored=["layers.{}.attention.bias", "layers.{}.attention.masked_bias",
             "layers.{}.attention.rotary_emb.inv_freq"],
    prefix="gpt_neox.",
)  # fmt: skip


def build(spec: GptNeoXSpec) -> Decoder:
    """Give the backbone."""
    from torch import nn

    from zoo.layers.attention import Attention
    from zoo.layers.blocks import ParallelLayer, PreNormLayer
    from zoo.layers.embeddings import TokenEmbeddings
    from zoo.layers.feedforward import FeedForward
    from zoo.layers.stacks import Decoder, Reach

    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(spec.hidden_size, spec.layer_norm_eps)

    layer = ParallelLayer if spec.use_parallel_residual else PreNormLayer
    layers = [
        layer(
            attention=Attention(
                hidden_size=spec.hidden_size,
                num_attention_heads=spec.num_attention_heads,
                dropout=spec.attention_dropout,
                bias=spec.attention_bias,
                causal=True,
            ),
            attention_norm=norm(),
            feedforward=FeedForward(
                hidden_size=spec.hidden_size,
                intermediate_size=spec.intermediate_size,
                activation=spec.hidden_act,
            ),
            feedforward_norm=norm(),
            dropout=spec.hidden_dropout,
        )
        for _ in range(spec.num_hidden_layers)
    ]
    return Decoder(
        embeddings=TokenEmbeddings(nn.Embedding(spec.vocab_size, spec.hidden_size), dropout=spec.hidden_dropout),
        layers=layers,
        norm=norm(),
        reaches=Reach(
            rotary=spec.rotary(spec.hidden_size // spec.num_attention_heads, spec.max_position_embeddings, partial=0.25)
        ),
    )


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """GPT-NeoX under its one name."""
    return [
        Architecture(
            name="gpt_neox",
            spec=GptNeoXSpec,
            build=build,
            layout=LAYOUT,
            heads=(
                Head(FEATURES, classes=("GPTNeoXModel",), prefixed=False),
                heads.text_generation("GPTNeoXForCausalLM", name="embed_out"),
                heads.text_classification("GPTNeoXForSequenceClassification"),
                heads.token_classification("GPTNeoXForTokenClassification", name="classifier"),
                heads.question_answering("GPTNeoXForQuestionAnswering"),
            ),
            paper="GPT-NeoX-20B: An Open-Source Autoregressive Language Model (https://arxiv.org/abs/2204.06745)",
            summary="GPT-NeoX adds attention and feed-forward to the hidden state side by side, each behind a norm "
            "of its own, where GPT-2 runs one after the other. Its positions are rotary, and turn a part of each "
            "head's dimensions only: a quarter in GPT-NeoX-20B and Pythia.",
            toy_sizes={
                "hidden_act": "relu",
                "layer_norm_eps": 1e-3,
                "rotary_emb_base": 50.0,
                "rotary_pct": 0.5,
                "pad_token_id": 1,
            },
        )
    ]
