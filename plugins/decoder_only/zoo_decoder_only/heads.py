"""The heads that decoder-only architectures share, and the names that several layouts have in common."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from zoo.architecture import Head
from zoo.checkpoint.layout import Layout

if TYPE_CHECKING:
    from torch import nn

QUERY_KEY_VALUE_WEIGHTS = tuple(f"layers.{{}}.attention.{name}.weight" for name in ("query", "key", "value"))
QUERY_KEY_VALUE_BIASES = tuple(f"layers.{{}}.attention.{name}.bias" for name in ("query", "key", "value"))


def text_generation(*classes: str, name: str = "lm_head", softcap: str | None = None) -> Head:
    """Every state scored against the vocabulary. name: of the layer on the Hub. softcap: the spec's field for it."""
    build = partial(_language_model, softcap)
    return Head("text-generation", classes, build=build, layout=Layout((f"{name}.weight", "output.weight")))


def text_classification(*classes: str) -> Head:
    """The last token's state through one layer without bias."""
    layout = Layout(("score.weight", "classifier.weight"))
    return Head("text-classification", classes, build=_text_classifier, layout=layout, output="classifier")


def token_classification(*classes: str, name: str = "score") -> Head:
    """Every state through one layer. name: of the layer on the Hub."""
    layout = Layout((f"{name}.weight", "classifier.weight"), (f"{name}.bias", "classifier.bias"))
    build = partial(_token_classifier, "classifier_dropout")
    return Head("token-classification", classes, build=build, layout=layout, output="classifier")


def question_answering(*classes: str, prefix: str | None = None) -> Head:
    """Every state through one layer with two outputs. prefix: of the backbone's tensors beside it, if not the usual."""
    layout = Layout(("qa_outputs.weight", "classifier.weight"), ("qa_outputs.bias", "classifier.bias"))
    build = partial(_token_classifier, None)
    return Head("question-answering", classes, build=build, layout=layout, output="classifier", prefix=prefix)


# Functions of their own, not closures: a model that holds them can be pickled.


def _language_model(softcap: str | None, spec: Any, backbone: nn.Module, num_labels: int) -> nn.Module:
    from torch import nn

    from zoo.layers.heads import LanguageModel

    tokens = backbone.get_submodule("embeddings.tokens")
    assert isinstance(tokens, nn.Embedding)
    return LanguageModel(
        tokens=tokens, tied=spec.tie_word_embeddings, softcap=getattr(spec, softcap) if softcap else None
    )


def _text_classifier(spec: Any, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import LastTokenClassifier

    return LastTokenClassifier(hidden_size=spec.hidden_size, num_labels=num_labels)


def _token_classifier(dropout: str | None, spec: Any, backbone: nn.Module, num_labels: int) -> nn.Module:
    """dropout: the spec's field for it, None for none."""
    from zoo.layers.heads import TokenClassifier

    rate = getattr(spec, dropout) if dropout else 0.0
    return TokenClassifier(hidden_size=spec.hidden_size, num_labels=num_labels, dropout=rate)
