"""Architecture: the one value that a plugin hands over."""

from typing import Any

import pytest
from torch import nn

import zoo
from zoo.architecture import FEATURES, Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.errors import InvalidConfig, InvalidPlugin, UnknownTask
from zoo_encoder_only.bert import BertSpec


def architecture(*heads: Head) -> Architecture:
    return Architecture(
        name="toy", spec=BertSpec, build=lambda spec: nn.Identity(), layout=Layout(), heads=heads, paper="none"
    )


FEATURES_HEAD = Head(FEATURES, classes=("ToyModel",))
MASK_HEAD = Head("fill-mask", classes=("ToyForMaskedLM", "ToyForPreTraining"))


def test_every_backbone_needs_a_head_for_features() -> None:
    with pytest.raises(InvalidPlugin) as caught:
        architecture(MASK_HEAD)
    assert str(caught.value) == "The architecture 'toy' has no head for 'feature-extraction'; every backbone needs one"


def test_an_architecture_knows_its_kind_and_tasks() -> None:
    toy = architecture(FEATURES_HEAD, MASK_HEAD)
    assert (toy.kind, toy.tasks) == ("encoder-only", ("feature-extraction", "fill-mask"))
    assert toy.head("fill-mask") is MASK_HEAD


def test_a_task_without_a_head_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownTask) as caught:
        architecture(FEATURES_HEAD, MASK_HEAD).head("translation")
    assert str(caught.value) == (
        "The architecture 'toy' has no head for the task 'translation'; it would be one of: feature-extraction, fill-mask"
    )


@pytest.mark.parametrize(
    ("config", "head"),
    [
        ({}, None),
        ({"architectures": None}, None),
        ({"architectures": []}, None),
        ({"architectures": ["ToyForPreTraining"]}, MASK_HEAD),
        ({"architectures": ["ToyModel"]}, FEATURES_HEAD),
        ({"architectures": ["Unheard", "ToyForMaskedLM"]}, MASK_HEAD),
        ({"architectures": ["Unheard", 5, None, []]}, None),
    ],
)
def test_a_config_says_which_head_its_checkpoint_has(config: dict[str, Any], head: Head | None) -> None:
    assert architecture(FEATURES_HEAD, MASK_HEAD).head_of(config) is head


@pytest.mark.parametrize("claimed", [5, "ToyModel", {"ToyModel": 1}])
def test_a_claim_that_is_no_list_is_refused(claimed: Any) -> None:
    with pytest.raises(InvalidConfig) as caught:
        architecture(FEATURES_HEAD).head_of({"architectures": claimed})
    assert caught.value.problems == {"architectures": f"is {claimed!r}; it would be a list of class names"}


def test_every_class_name_of_bert_means_one_head() -> None:
    classes = [name for head in zoo.get_architecture("bert").heads for name in head.classes]
    assert sorted(set(classes)) == sorted(classes)
    assert zoo.get_architecture("bert").tasks == (
        "feature-extraction", "fill-mask", "text-classification", "token-classification", "question-answering",
    )  # fmt: skip
