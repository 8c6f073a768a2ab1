"""The heads that encoder-decoder architectures share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from zoo.architecture import Head
from zoo.checkpoint.layout import Layout

if TYPE_CHECKING:
    from torch import nn


def language_model(*classes: str, fixed_bias: bool = True) -> Head:
    """The decoder's states scored by the token embedding. fixed_bias: see zoo.layers.heads.LanguageModel."""
    rows = [("lm_head.weight", "output.weight"), ("final_logits_bias", "fixed_bias")]
    build = partial(_language_model, fixed_bias)
    return Head("text2text-generation", classes, build=build, layout=Layout(*rows[: 1 + fixed_bias]))


def text_classification(*classes: str) -> Head:
    """The decoder's state at the text's last end token through two layers."""
    layout = Layout(
        ("classification_head.dense.weight",     "dense.weight"),
        ("classification_head.dense.bias",       "dense.bias"),
        ("classification_head.out_proj.weight",  "classifier.weight"),
        ("classification_head.out_proj.bias",    "classifier.bias"),
    )  # fmt: skip
    return Head("text-classification", classes, build=_text_classifier, layout=layout, output="classifier")


def token_classification(*classes: str, backbone: Callable[[Any], nn.Module]) -> Head:
    """Every state of an encoder by itself through one layer. backbone: builds that encoder."""
    layout = Layout(("classifier.weight", "classifier.weight"), ("classifier.bias", "classifier.bias"))
    build = partial(_token_classifier, "classifier_dropout")
    return Head("token-classification", classes, build=build, layout=layout, output="classifier", backbone=backbone)


def question_answering(*classes: str, prefixed: bool) -> Head:
    """Every state of the decoder through one layer with two outputs. prefixed: see Head."""
    layout = Layout(("qa_outputs.weight", "classifier.weight"), ("qa_outputs.bias", "classifier.bias"))
    build = partial(_token_classifier, None)
    return Head("question-answering", classes, build=build, layout=layout, output="classifier", prefixed=prefixed)


def tokens(backbone: nn.Module) -> nn.Embedding:
    """Give the token embedding that an output layer may share."""
    from torch import nn

    found = backbone.get_submodule("tokens")
    assert isinstance(found, nn.Embedding)
    return found


def _language_model(fixed_bias: bool, spec: Any, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import LanguageModel

    return LanguageModel(tokens=tokens(backbone), tied=spec.tie_word_embeddings, fixed_bias=fixed_bias)


def _text_classifier(spec: Any, backbone: nn.Module, num_labels: int) -> nn.Module:
    from zoo.layers.heads import EndClassifier

    return EndClassifier(
        hidden_size=spec.hidden_size,
        num_labels=num_labels,
        dropout=spec.classifier_dropout,
        end_token_id=spec.eos_token_id,
    )


def _token_classifier(dropout: str | None, spec: Any, backbone: nn.Module, num_labels: int) -> nn.Module:
    """dropout: the spec's field for it, None for none."""
    from zoo.layers.heads import TokenClassifier

    rate = getattr(spec, dropout) if dropout else 0.0
    return TokenClassifier(hidden_size=spec.hidden_size, num_labels=num_labels, dropout=rate)
