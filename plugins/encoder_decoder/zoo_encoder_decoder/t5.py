"""T5 (Raffel et al., 2019, https://arxiv.org/abs/1910.10683), 1.1 and FLAN included, and mT5 (Xue et al., 2020)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.specs import Count, EncoderDecoderSpec, Epsilon, Probability, Size, TokenId, usual_heads
from zoo_encoder_decoder import heads
from zoo_encoder_decoder.t5_stacks import build, build_encoder

if TYPE_CHECKING:
    from torch import nn

GatedOrNot = Literal["relu", "gated-gelu", "gated-silu", "gated-relu", "gelu", "silu"]


class T5Spec(EncoderDecoderSpec):
    """The hyperparameters of T5 and mT5."""

    repeated_config_keys: ClassVar[Mapping[str, str]] = {"dense_act_fn": "activation", "is_gated_act": "is_gated"}

    model_type: Literal["t5", "mt5"] = Field(description="The architecture's name, as in the Hub's configs")
    num_layers: Count = Field(description="Number of the encoder's layers")
    num_decoder_layers: Count | None = Field(None, description="Number of the decoder's layers; None: as the encoder's")
    num_heads: Count = Field(description="Attention heads per layer")
    d_kv: Size = Field(description="Width of a head")
    d_ff: Size = Field(description="Width inside the feed-forward layers")
    feed_forward_proj: GatedOrNot = Field("relu", description="Activation of the feed-forward layers, gated or not")
    relative_attention_num_buckets: Size = Field(32, ge=4, description="Rows of the table of distances")
    relative_attention_max_distance: Size = Field(128, description="Distance from which all share one row")
    dropout_rate: Probability = Field(0.1, description="Dropout of embeddings, attention, sublayers and outputs")
    classifier_dropout: Probability = Field(0.0, description="Dropout around a classifier")
    layer_norm_epsilon: Epsilon = Field(1e-6, description="Added to the mean square in norms")
    initializer_factor: float = Field(1.0, gt=0, description="Factor of a fresh backbone's deviations")
    pad_token_id: TokenId = Field(0, description="Token id of padding")
    eos_token_id: TokenId = Field(1, description="Token id that ends a text")
    scale_decoder_outputs: bool | None = Field(
        None, description="Whether the output layer reads states / sqrt(d_model); None: if it is tied"
    )
    n_positions: Size | None = Field(None, description="Length of texts in pretraining; no limit")

    @property
    def activation(self) -> str:
        """The name in zoo.layers.activations; "gated-gelu" always meant the tanh approximation."""
        name = self.feed_forward_proj.removeprefix("gated-")
        return "gelu_new" if self.feed_forward_proj == "gated-gelu" else name

    @property
    def is_gated(self) -> bool:
        """Whether the feed-forward layers have a gate."""
        return self.feed_forward_proj.startswith("gated-")

    @property
    def scales_output(self) -> bool:
        """Whether the output layer reads states / sqrt(d_model): where it is tied, but never in mT5."""
        usual = self.tie_word_embeddings and self.model_type == "t5"
        return usual if self.scale_decoder_outputs is None else self.scale_decoder_outputs

    @model_validator(mode="after")
    def _distances_reach_far(self) -> Self:
        """Half of the rows, or of an encoder's half, are for one distance each; the others need farther ones."""
        if self.relative_attention_max_distance <= self.relative_attention_num_buckets // 2:
            raise ValueError(
                f"relative_attention_max_distance {self.relative_attention_max_distance} is not above half of "
                f"relative_attention_num_buckets {self.relative_attention_num_buckets}"
            )
        return self

    def initial_deviations(self) -> Mapping[str, float]:
        """Unit embeddings, and matrices that keep a unit scale; queries are small, for scores are not divided later.

        Source: the authors' code, mesh_tensorflow, as transformers repeats it.
        """
        factor, width = self.initializer_factor, self.hidden_size**-0.5
        return {
            "*attention.query.weight": factor * width * self.d_kv**-0.5,
            "*attention.output.weight": factor * (self.num_heads * self.d_kv) ** -0.5,
            "*feedforward.down.weight": factor * self.d_ff**-0.5,
            "*.layers.*.weight": factor * width,
            "*.relative_bias.weight": factor * width,
            "*tokens.weight": factor,
        }

    def for_tensors(self, names: Collection[str]) -> Self:
        """A config of transformers 5 says tied whatever is true; 1.1's output layer in the file tells otherwise."""
        has_output = any(name.endswith("lm_head.weight") for name in names)
        apart = self.tie_word_embeddings and has_output and not self.scales_output
        return self.model_copy(update={"tie_word_embeddings": False}) if apart else self

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As Raffel et al. scale it: heads of 64, feed-forward four times the width."""
        d_model = given.get("d_model", given.get("hidden_size", 512))
        known = type(d_model) is int and d_model > 0
        return {
            "vocab_size": 250112 if given.get("model_type") == "mt5" else 32128,
            "d_model": d_model,
            "num_layers": 6,
            "num_heads": usual_heads(d_model),
            "d_kv": max(1, d_model // usual_heads(d_model)) if known else 1,
            "d_ff": 4 * d_model if known else 1,
            "decoder_start_token_id": 0,
            "feed_forward_proj": "gated-gelu" if given.get("model_type") == "mt5" else "relu",
        }


def _rows(stack: str, feedforward: int) -> list[tuple[Any, ...]]:
    """Give the rows of a stack's layers. feedforward: the number of the feed-forward among a layer's sublayers."""
    hub, dense = f"{stack}.block.{{}}.layer.", f"{stack}.block.{{}}.layer.{feedforward}."
    zoo = f"{stack}.layers.{{}}."
    return [
        (hub + "0.SelfAttention.q.weight",            zoo + "attention.query.weight"),
        (hub + "0.SelfAttention.k.weight",            zoo + "attention.key.weight"),
        (hub + "0.SelfAttention.v.weight",            zoo + "attention.value.weight"),
        (hub + "0.SelfAttention.o.weight",            zoo + "attention.output.weight"),
        (hub + "0.layer_norm.weight",                 zoo + "attention_norm.weight"),
        (dense + "DenseReluDense.wi.weight",          zoo + "feedforward.up.weight"),
        ((dense + "DenseReluDense.wi_0.weight",       dense + "DenseReluDense.wi_1.weight"),
         (zoo + "feedforward.gate.weight",            zoo + "feedforward.up.weight"), "each"),
        (dense + "DenseReluDense.wo.weight",          zoo + "feedforward.down.weight"),
        (dense + "layer_norm.weight",                 zoo + "feedforward_norm.weight"),
        (f"{stack}.final_layer_norm.weight",          f"{stack}.norm.weight"),
        (f"{stack}.embed_tokens.weight",              f"{stack}.embeddings.tokens.weight"),
        (f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", f"{stack}.relative_bias.weight"),
    ]  # fmt: skip


LAYOUT = Layout(
    ("shared.weight",                                      "tokens.weight"),
    *_rows("encoder", feedforward=1),
    *_rows("decoder", feedforward=2),
    ("decoder.block.{}.layer.1.EncDecAttention.q.weight",  "decoder.layers.{}.cross_attention.query.weight"),
    ("decoder.block.{}.layer.1.EncDecAttention.k.weight",  "decoder.layers.{}.cross_attention.key.weight"),
    ("decoder.block.{}.layer.1.EncDecAttention.v.weight",  "decoder.layers.{}.cross_attention.value.weight"),
    ("decoder.block.{}.layer.1.EncDecAttention.o.weight",  "decoder.layers.{}.cross_attention.output.weight"),
    ("decoder.block.{}.layer.1.layer_norm.weight",         "decoder.layers.{}.cross_attention_norm.weight"),
    # In the first checkpoints; a source has no distance from its translation.
    ignored=["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"],
    prefix="transformer.",
)  # fmt: skip


def _language_model(spec: T5Spec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import LanguageModel

    return LanguageModel(
        tokens=heads.tokens(backbone),
        tied=spec.tie_word_embeddings,
        scale=spec.hidden_size**-0.5 if spec.scales_output else 1.0,
    )


def _architecture(name: str, family: str, paper: str, summary: str, **toy_sizes: Any) -> Architecture:
    """family: what the Hub's class names begin with."""
    return Architecture(
        name=name,
        spec=T5Spec,
        build=build,
        layout=LAYOUT,
        heads=(
            Head(FEATURES, classes=(f"{family}Model",), prefixed=False),
            Head(FEATURES, classes=(f"{family}EncoderModel",), prefixed=False, backbone=build_encoder),
            Head(
                "text2text-generation",
                classes=(f"{family}ForConditionalGeneration",),
                build=_language_model,
                layout=Layout(("lm_head.weight", "output.weight")),
                prefixed=False,
            ),
            heads.text_classification(f"{family}ForSequenceClassification"),
            heads.token_classification(f"{family}ForTokenClassification", backbone=build_encoder),
            heads.question_answering(f"{family}ForQuestionAnswering", prefixed=False),
        ),
        paper=paper,
        summary=summary,
        toy_sizes={"num_layers": 2, "num_decoder_layers": 3, "num_heads": 3, "d_kv": 10, "d_ff": 40, **toy_sizes},
    )


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """T5 under its two names."""
    return [
        _architecture(
            "t5",
            "T5",
            "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer "
            "(https://arxiv.org/abs/1910.10683)",
            "T5 has no positions in its input: a learned number for each distance is added to the scores of "
            "attention, which are not divided by anything. Every task is a text to write, named by a prefix; version "
            "1.1 and FLAN gate their feed-forward layers and have an output layer of their own.",
            layer_norm_epsilon=1e-3,
            relative_attention_num_buckets=8,
            relative_attention_max_distance=9,
        ),
        _architecture(
            "mt5",
            "MT5",
            "mT5: A massively multilingual pre-trained text-to-text transformer (https://arxiv.org/abs/2010.11934)",
            "mT5 is T5 1.1 pretrained on 101 languages, with a vocabulary of 250 thousand tokens. It has learnt "
            "from no labelled task, and is to be fine-tuned before use.",
            feed_forward_proj="gated-gelu",
        ),
    ]
