"""Configs as published are understood whole: every key, the head they claim, and the same numbers as transformers reads."""

from typing import Any

import pytest
import transformers

from tests.interop.published import PUBLISHED
from zoo.host import get_architecture
from zoo.loading import assemble, choose_settings


@pytest.mark.parametrize("config", PUBLISHED.values(), ids=PUBLISHED)
def test_a_published_config_is_read_and_written_back_as_it_was(config: dict[str, Any]) -> None:
    architecture = get_architecture(config["model_type"])
    spec = architecture.spec.from_config(config)
    assert spec.to_config(config) == config
    assert architecture.head_of(config) is not None


@pytest.mark.parametrize("config", PUBLISHED.values(), ids=PUBLISHED)
def test_the_module_has_as_many_parameters_as_that_of_transformers(config: dict[str, Any]) -> None:
    import torch

    architecture = get_architecture(config["model_type"])
    head = architecture.head_of(config)
    model = assemble(architecture, architecture.spec.from_config(config), head, choose_settings(head, config, None))
    with torch.device("meta"):
        described = transformers.AutoConfig.for_model(**config)
        oracle = getattr(transformers, config["architectures"][0])(described)
    found = {id(parameter): parameter.numel() for parameter in model.parameters() if parameter.requires_grad}
    expected = {id(parameter): parameter.numel() for parameter in oracle.parameters() if parameter.requires_grad}
    apart = config["model_type"] in ("t5", "mt5") and config.get("tie_word_embeddings") is False
    # transformers 5 builds T5 1.1 tied, whatever its config says, and parts the two when a checkpoint is read.
    assert sum(found.values()) == sum(expected.values()) + (config["vocab_size"] * config["d_model"] if apart else 0)
