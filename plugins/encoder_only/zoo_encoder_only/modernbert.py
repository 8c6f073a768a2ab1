"""ModernBERT (Warner et al., 2024, https://arxiv.org/abs/2412.13663)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from zoo import hookimpl
from zoo.architecture import FEATURES, Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.rope import make_rotary
from zoo_encoder_only.modernbert_spec import LayerType, ModernBertSpec

if TYPE_CHECKING:
    from torch import nn

    from zoo.layers.stacks import Encoder


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
