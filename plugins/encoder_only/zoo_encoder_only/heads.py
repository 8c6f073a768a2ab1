"""Heads that most encoders have: pooled features, a masked language model, classifiers of texts, tokens and spans.

family: what the Hub's class names begin with. dropout: the spec's field for it; None there means as in the layers.
ignored: the Hub's names of tensors that some checkpoints carry although the head makes no use of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from zoo.architecture import FEATURES, Head
from zoo.checkpoint.layout import Layout
from zoo.specs import EncoderSpec

if TYPE_CHECKING:
    from torch import nn

CLASSIFIER_ROWS = (("classifier.weight", "classifier.weight"), ("classifier.bias", "classifier.bias"))
DENSE_CLASSIFIER_ROWS = (
    ("classifier.dense.weight",     "pooler.dense.weight"),
    ("classifier.dense.bias",       "pooler.dense.bias"),
    ("classifier.out_proj.weight",  "classifier.weight"),
    ("classifier.out_proj.bias",    "classifier.bias"),
)  # fmt: skip
SPAN_ROWS = (("qa_outputs.weight", "classifier.weight"), ("qa_outputs.bias", "classifier.bias"))


def pooled_features(family: str, *rows: tuple[str, str]) -> Head:
    """The hidden states, and the pooler's output where a checkpoint has one. rows: the pooler's, without prefix."""
    return Head(
        FEATURES,
        classes=(f"{family}Model",),
        build=_pooler,
        layout=Layout(*rows),
        optional=True,
        prefixed=False,
    )


def text_classification(
    family: str, layout: Layout, *, dropout: str, activation: str = "tanh", drop_twice: bool = False
) -> Head:
    """Scores of the first token's state. activation: the pooler's; drop_twice: before the pooler as well as after it."""
    return Head(
        "text-classification",
        classes=(f"{family}ForSequenceClassification",),
        build=partial(_text_classifier, dropout=dropout, activation=activation, drop_twice=drop_twice),
        layout=layout,
        output="classifier",
    )


def token_classification(family: str, *, dropout: str, ignored: Sequence[str] = ()) -> Head:
    """Scores of every token's state."""
    return Head(
        "token-classification",
        classes=(f"{family}ForTokenClassification",),
        build=partial(_token_classifier, dropout=dropout),
        layout=Layout(*CLASSIFIER_ROWS, ignored=ignored),
        output="classifier",
    )


def question_answering(family: str, *, dropout: str | None = None, ignored: Sequence[str] = ()) -> Head:
    """Scores of every token as an answer's start and as its end. dropout: None for no dropout."""
    return Head(
        "question-answering",
        classes=(f"{family}ForQuestionAnswering",),
        build=partial(_token_classifier, dropout=dropout),
        layout=Layout(*SPAN_ROWS, ignored=ignored),
        output="classifier",
    )


def build_masked_language_model(
    spec: EncoderSpec, backbone: nn.Module, *, activation: str, layer_norm_eps: float, bias_twice: bool = True
) -> nn.Module:
    """Give the fill-mask head over the backbone's token embedding. bias_twice: see MaskedLanguageModel."""
    from torch import nn

    from zoo.layers.heads import MaskedLanguageModel

    tokens = backbone.get_submodule("embeddings.tokens")
    assert isinstance(tokens, nn.Embedding)
    return MaskedLanguageModel(
        hidden_size=spec.hidden_size,
        tokens=tokens,
        activation=activation,
        norm=nn.LayerNorm(tokens.embedding_dim, layer_norm_eps),
        tied=spec.tie_word_embeddings,
        bias_twice=bias_twice,
    )


# Functions of the module rather than closures, so that a model can be pickled for a worker process.


def _pooler(spec: EncoderSpec, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import Pooler

    return Pooler(spec.hidden_size)


def _text_classifier(
    spec: EncoderSpec, backbone: nn.Module, num_labels: int, *, dropout: str, activation: str, drop_twice: bool
) -> nn.Module:
    from zoo.layers.heads import PooledClassifier

    probability = _probability(spec, dropout)
    return PooledClassifier(
        hidden_size=spec.hidden_size,
        num_labels=num_labels,
        dropout=probability,
        activation=activation,
        dropout_before=probability if drop_twice else 0.0,
    )


def _token_classifier(spec: EncoderSpec, backbone: nn.Module, num_labels: int, *, dropout: str | None) -> nn.Module:
    from zoo.layers.heads import TokenClassifier

    probability = 0.0 if dropout is None else _probability(spec, dropout)
    return TokenClassifier(hidden_size=spec.hidden_size, num_labels=num_labels, dropout=probability)


def _probability(spec: Any, field: str) -> float:
    own: float | None = getattr(spec, field)
    probability: float = spec.hidden_dropout_prob if own is None else own
    return probability
