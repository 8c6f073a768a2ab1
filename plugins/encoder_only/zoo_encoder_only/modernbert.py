"""ModernBERT (Warner et al., 2024, https://arxiv.org/abs/2412.13663)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.rope import RopeParameters, make_rotary
from zoo.specs import Activation, EncoderSpec, Epsilon, Probability, Size, usual_heads

if TYPE_CHECKING:
    from torch import nn

    from zoo.layers.stacks import Encoder

LayerType = Literal["full_attention", "sliding_attention"]


class ModernBertSpec(EncoderSpec):
    """The hyperparameters of a ModernBERT encoder."""

    ignored_config_keys: ClassVar[frozenset[str]] = frozenset(
        # Which kernels run, and how; the numbers are the same.
        {"reference_compile", "deterministic_flash_attn", "repad_logits_with_grad"}
        # Of pretraining: where fresh weights were cut off, and labels that count for nothing.
        | {"initializer_cutoff_factor", "sparse_pred_ignore_index"}
        | {"cls_token_id"}  # the tokenizer's matter
        | {"position_embedding_type"}  # the first configs say "absolute"; positions were always rotary
    )
    repeated_config_keys: ClassVar[Mapping[str, str]] = {
        "layer_norm_eps": "norm_eps",
        "causal_mask": "is_decoder",
        "is_causal": "is_decoder",
    }

    model_type: Literal["modernbert"] = Field("modernbert", description="The architecture's name in the Hub's configs")
    hidden_activation: Activation = Field("gelu", description="Activation of the feed-forward's gate")
    norm_eps: Epsilon = Field(1e-5, description="Added to the variance in layer norms")
    norm_bias: bool = Field(False, description="Whether layer norms have biases")
    attention_bias: bool = Field(False, description="Whether attention's projections have biases")
    mlp_bias: bool = Field(False, description="Whether the feed-forward's projections have biases")
    embedding_dropout: Probability = Field(0.0, description="Dropout of embeddings")
    attention_dropout: Probability = Field(0.0, description="Dropout of attention weights and of attention's output")
    mlp_dropout: Probability = Field(0.0, description="Dropout inside the feed-forward layers")
    layer_types: list[LayerType] | None = Field(None, description="Each layer's reach; None: as the next key says")
    global_attn_every_n_layers: Size | None = Field(None, description="One in so many looks everywhere; None: three")
    local_attention: Size = Field(128, description="Width of a local layer's window, in tokens")
    rope_parameters: dict[LayerType, RopeParameters] = Field({}, description="Rotary positions by type of layer")
    global_rope_theta: float | None = Field(None, gt=1, description="Base of rotary positions; None: 160000")
    local_rope_theta: float | None = Field(None, gt=1, description="The same in local layers; None: 10000")
    rope_scaling: None = Field(None, description="Pinned: stretched positions are told by type of layer")
    decoder_bias: bool = Field(True, description="Whether the fill-mask head's output layer has a bias")
    classifier_pooling: Literal["cls", "mean"] = Field("cls", description="What a classifier of texts reads")
    classifier_dropout: Probability = Field(0.0, description="Dropout before a classifier")
    classifier_bias: bool = Field(False, description="Whether the dense layer of every head has a bias")
    classifier_activation: Activation = Field("gelu", description="Activation of every head's dense layer")
    sparse_prediction: Literal[False] = Field(False, description="Pinned: the fill-mask head scores every token")

    @property
    def reaches(self) -> tuple[LayerType, ...]:
        """Each layer's type."""
        every = self.global_attn_every_n_layers or 3
        counted = (number % every == 0 for number in range(self.num_hidden_layers))
        return tuple(self.layer_types or ("full_attention" if whole else "sliding_attention" for whole in counted))

    def rope(self, kind: LayerType) -> RopeParameters:
        """How positions turn in layers of a type."""
        found = self.rope_parameters.get(kind, RopeParameters())
        named = self.global_rope_theta if kind == "full_attention" else self.local_rope_theta
        if named and named != (found.rope_theta or named):
            raise ValueError(f"rope_parameters contradicts the base {named} of {kind}")
        usual = 160_000.0 if kind == "full_attention" else 10_000.0
        return found.model_copy(update={"rope_theta": found.rope_theta or named or usual})

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As the base size: heads of 64, gates and what they scale one and a half times the width."""
        width = given.get("hidden_size", 768)
        return {
            "vocab_size": 50368,
            "hidden_size": width,
            "num_hidden_layers": 22,
            "num_attention_heads": usual_heads(width),
            "intermediate_size": max(1, width * 3 // 2) if type(width) is int else 1,
            "max_position_embeddings": 8192,
        }

    @model_validator(mode="after")
    def _layers_fit(self) -> ModernBertSpec:
        if len(self.reaches) != self.num_hidden_layers:
            raise ValueError(
                f"layer_types names {len(self.reaches)} layers, num_hidden_layers {self.num_hidden_layers}"
            )
        if self.global_attn_every_n_layers and self.reaches != self.model_copy(update={"layer_types": None}).reaches:
            raise ValueError(f"layer_types contradicts global_attn_every_n_layers {self.global_attn_every_n_layers}")
        width = self.hidden_size // self.num_attention_heads
        least = 4 if any(self.rope(kind).scaling == "dynamic" for kind in self.reaches) else 2
        if width % 2 or width < least:
            raise ValueError(f"heads are {width} wide; all of it turns in pairs, so it would be even, from {least} on")
        if any(self.rope(kind).partial_rotary_factor not in (None, 1.0) for kind in self.reaches):
            raise ValueError("partial_rotary_factor would be 1: heads turn as a whole")
        return self


def _rows(hub: str, *zoo: str) -> list[tuple[Any, ...]]:
    """Give the rows of a module's weight and, where it has one, its bias. zoo: several that stand in one on the Hub."""
    whole = [(f"{hub}.{part}", tuple(f"{name}.{part}" for name in zoo)) for part in ("weight", "bias")]
    return [(*row, "split") if len(zoo) > 1 else row for row in whole]


LAYOUT = Layout(
    ("embeddings.tok_embeddings.weight", "embeddings.tokens.weight"),
    *_rows("embeddings.norm",            "embeddings.norm"),
    *_rows("layers.{}.attn_norm",        "layers.{}.attention_norm"),
    *_rows("layers.{}.attn.Wqkv",        *(f"layers.{{}}.attention.{name}" for name in ("query", "key", "value"))),
    *_rows("layers.{}.attn.Wo",          "layers.{}.attention.output"),
    *_rows("layers.{}.mlp_norm",         "layers.{}.feedforward_norm"),
    *_rows("layers.{}.mlp.Wi",           "layers.{}.feedforward.gate", "layers.{}.feedforward.up"),
    *_rows("layers.{}.mlp.Wo",           "layers.{}.feedforward.down"),
    *_rows("final_norm",                 "norm"),
    prefix="model.",
)  # fmt: skip


def build(spec: ModernBertSpec) -> Encoder:
    """Give the backbone."""
    from torch import nn

    from zoo.layers.attention import Attention
    from zoo.layers.blocks import PreNormLayer
    from zoo.layers.embeddings import TokenEmbeddings
    from zoo.layers.feedforward import GatedFeedForward
    from zoo.layers.stacks import Encoder, Reach

    head_dim = spec.hidden_size // spec.num_attention_heads

    def reach(kind: LayerType) -> Reach:
        rotary = make_rotary(spec.rope(kind), head_dim, 10_000.0, spec.max_position_embeddings, upcast=True)
        return Reach(spec.local_attention // 2 if kind == "sliding_attention" else None, rotary)

    layers = [
        PreNormLayer(
            attention=Attention(
                hidden_size=spec.hidden_size,
                num_attention_heads=spec.num_attention_heads,
                dropout=spec.attention_dropout,
                bias=spec.attention_bias,
            ),
            attention_norm=_norm(spec) if number else nn.Identity(),  # the embeddings were normalised just before
            feedforward=GatedFeedForward(
                hidden_size=spec.hidden_size,
                intermediate_size=spec.intermediate_size,
                activation=spec.hidden_activation,
                bias=spec.mlp_bias,
                dropout=spec.mlp_dropout,
            ),
            feedforward_norm=_norm(spec),
            dropout=spec.attention_dropout,
            drop_feedforward=False,
        )
        for number in range(spec.num_hidden_layers)
    ]
    tokens = nn.Embedding(spec.vocab_size, spec.hidden_size)
    reaches = {kind: reach(kind) for kind in set(spec.reaches)}
    return Encoder(
        embeddings=TokenEmbeddings(tokens, norm=_norm(spec), dropout=spec.embedding_dropout),
        layers=layers,
        norm=_norm(spec),
        reaches=[reaches[kind] for kind in spec.reaches],
    )


def _norm(spec: ModernBertSpec) -> nn.LayerNorm:
    from torch import nn

    return nn.LayerNorm(spec.hidden_size, spec.norm_eps, bias=spec.norm_bias)


def _masked_language_model(spec: ModernBertSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from torch import nn

    from zoo.layers.heads import MaskedLanguageModel

    tokens = backbone.get_submodule("embeddings.tokens")
    assert isinstance(tokens, nn.Embedding)
    return MaskedLanguageModel(
        hidden_size=spec.hidden_size,
        tokens=tokens,
        activation=spec.classifier_activation,
        norm=_norm(spec),
        tied=spec.tie_word_embeddings,
        bias=spec.decoder_bias,
        dense_bias=spec.classifier_bias,
        bias_twice=False,
    )


def _classifier(pools: bool, spec: ModernBertSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import TransformedClassifier

    return TransformedClassifier(
        hidden_size=spec.hidden_size,
        num_labels=num_labels,
        activation=spec.classifier_activation,
        norm=_norm(spec),
        dropout=spec.classifier_dropout,
        dense_bias=spec.classifier_bias,
        pooling=spec.classifier_pooling if pools else None,
    )


def _classifies(task: str, name: str, pools: bool = False) -> Head:
    """pools: whether it reads one state a text."""
    layout = Layout(*HEAD_ROWS, *_rows("classifier", "classifier"))
    return Head(task, classes=(name,), build=partial(_classifier, pools), layout=layout, output="classifier")


HEAD_ROWS = (*_rows("head.dense", "dense"), *_rows("head.norm", "norm"))
HEADS = (
    Head(FEATURES, classes=("ModernBertModel",), prefixed=False),
    Head(
        "fill-mask",
        classes=("ModernBertForMaskedLM",),
        build=_masked_language_model,
        layout=Layout(*HEAD_ROWS, *_rows("decoder", "decoder")),
    ),
    _classifies("text-classification", "ModernBertForSequenceClassification", pools=True),
    _classifies("token-classification", "ModernBertForTokenClassification"),
    _classifies("question-answering", "ModernBertForQuestionAnswering"),
)


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """ModernBERT under its one name."""
    return [
        Architecture(
            name="modernbert",
            spec=ModernBertSpec,
            build=build,
            layout=LAYOUT,
            heads=HEADS,
            paper="Smarter, Better, Faster, Longer: A Modern Bidirectional Encoder (https://arxiv.org/abs/2412.13663)",
            summary="ModernBERT is an encoder with what decoders have learnt since BERT: rotary positions, norms "
            "before the sublayers, gated feed-forward layers, and hardly any biases. Two layers in three look at "
            "near tokens only, so that it can read 8192 of them.",
            # Windows narrower than toy texts, two bases, and several layers of both types.
            toy_sizes={
                "num_hidden_layers": 5,
                "global_attn_every_n_layers": 3,
                "local_attention": 5,
                "pad_token_id": 0,
                "global_rope_theta": 70.0,
                "local_rope_theta": 5.0,
                "norm_eps": 1e-3,
                "classifier_pooling": "mean",
                "hidden_activation": "silu",
                "classifier_activation": "relu",
                "norm_bias": True,
                "attention_bias": True,
                "mlp_bias": True,
                "classifier_bias": True,
            },
        )
    ]
