"""Specs of encoders: what their configs say, what is filled in, what is refused; and the catalogue's counts."""

from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.checkpoints import change_config, read_config
from tests.interop import oracles
from tests.interop.cases import encoder_only
from tests.interop.oracles import subject_of
from zoo.architecture import Architecture
from zoo.errors import InvalidConfig, UnknownConfigKey
from zoo.hub.catalogue import list_checkpoints
from zoo.loading import assemble
from zoo.tasks.base import HeadSettings

CASES = {case.architecture: case for case in encoder_only.CASES}
ROBERTAS = ("roberta", "camembert", "xlm-roberta")


def write(folder: Path, name: str, task: str = "feature-extraction") -> None:
    oracles.write(folder, subject_of(CASES[name], task))


# Configs as they are published, and what they are read as.
SST2 = {
    "activation": "gelu", "architectures": ["DistilBertForSequenceClassification"], "attention_dropout": 0.1,
    "dim": 768, "dropout": 0.1, "finetuning_task": "sst-2", "hidden_dim": 3072,
    "id2label": {"0": "NEGATIVE", "1": "POSITIVE"}, "initializer_range": 0.02,
    "label2id": {"NEGATIVE": 0, "POSITIVE": 1}, "max_position_embeddings": 512, "model_type": "distilbert",
    "n_heads": 12, "n_layers": 6, "output_past": True, "pad_token_id": 0, "qa_dropout": 0.1,
    "seq_classif_dropout": 0.2, "sinusoidal_pos_embds": False, "tie_weights_": True, "vocab_size": 30522,
}  # fmt: skip
SQUAD2 = {
    "architectures": ["RobertaForQuestionAnswering"], "attention_probs_dropout_prob": 0.1, "bos_token_id": 0,
    "eos_token_id": 2, "gradient_checkpointing": False, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072, "language": "english",
    "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "model_type": "roberta", "name": "Roberta",
    "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1, "position_embedding_type": "absolute",
    "transformers_version": "4.8.2", "type_vocab_size": 1, "use_cache": True, "vocab_size": 50265,
}  # fmt: skip


@pytest.mark.parametrize("config", [SST2, SQUAD2], ids=["distilbert", "roberta"])
def test_published_configs_are_read_and_written_back_whole(config: dict[str, Any]) -> None:
    spec = zoo.get_architecture(config["model_type"]).spec.from_config(config)
    assert spec.to_config(config) == config
    assert spec == zoo.make_spec(config["model_type"])  # the proportions that make_spec fills in are the base model's


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("electra", {"summary_type": "first", "summary_use_proj": "true", "generator_size": "0.25"}),
        ("albert", {"down_scale_factor": 1, "gap_size": 0, "net_structure_type": 0, "num_memory_blocks": 0}),
        ("albert", {"layers_to_keep": [], "eos_token_ids": None, "pooler_type": "first_token_transform"}),
    ],
    ids=str,
)
def test_keys_of_published_configs_are_accounted_for(tmp_path: Path, name: str, extra: dict[str, Any]) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write(source, name, "fill-mask")
    change_config(source, **extra)
    zoo.load(str(source)).save(target)
    assert read_config(target) == read_config(source)


@pytest.mark.parametrize(
    ("name", "sizes", "expected"),
    [
        ("electra", {}, (768, 768, 12, 3072)),
        ("electra", {"hidden_size": 256}, (128, 256, 4, 1024)),
        ("electra", {"hidden_size": 1024}, (1024, 1024, 16, 4096)),
        ("electra", {"hidden_size": 256, "embedding_size": 99}, (99, 256, 4, 1024)),
        ("electra", {"hidden_size": 1}, (1, 1, 1, 4)),
        ("albert", {}, (128, 768, 12, 3072)),
        ("albert", {"hidden_size": 4096}, (128, 4096, 64, 16384)),
    ],
    ids=str,
)
def test_a_spec_is_filled_in_by_the_papers_proportions(
    name: str, sizes: dict[str, int], expected: tuple[int, ...]
) -> None:
    spec: Any = zoo.make_spec(name, **sizes)
    assert (spec.embedding_size, spec.hidden_size, spec.num_attention_heads, spec.intermediate_size) == expected


def test_sizes_left_out_take_the_familys_proportions_under_either_spelling() -> None:
    small = zoo.make_spec("distilbert", dim=128)
    assert small == zoo.make_spec("distilbert", hidden_size=128)
    assert small.to_config() | {"n_heads": 2, "n_layers": 6, "dim": 128, "hidden_dim": 512} == small.to_config()
    vocabularies = {name: zoo.make_spec(name, hidden_size=96).vocab_size for name in ROBERTAS}
    assert vocabularies == {"roberta": 50265, "camembert": 32005, "xlm-roberta": 250002}
    assert zoo.make_spec("camembert", hidden_size=96).to_config()["model_type"] == "camembert"


ACTIVATIONS = "'gelu', 'gelu_new', 'gelu_fast', 'gelu_pytorch_tanh', 'relu', 'silu', 'swish' or 'tanh'"
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("distilbert", {"activation": "mish"}, f"activation: is 'mish'; Input should be {ACTIVATIONS}"),
    ("distilbert", {"hidden_size": 32}, "hidden_size: contradicts dim: 32 and 24"),
    ("distilbert", {"n_heads": 5}, "settings: hidden_size 24 is not a multiple of num_attention_heads 5"),
    ("distilbert", {"sinusoidal_pos_embds": "yes"}, "sinusoidal_pos_embds: is 'yes'; Input should be a valid boolean"),
    (
        "distilbert",
        {"pruned_heads": {"0": [1]}},
        "pruned_heads: is {'0': [1]}; Dictionary should have at most 0 items after validation, not more",
    ),
    (
        "roberta",
        {"position_embedding_type": "relative_key"},
        "position_embedding_type: is 'relative_key'; Input should be 'absolute'",
    ),
    ("roberta", {"is_decoder": True}, "is_decoder: is True; Input should be False"),
    ("xlm-roberta", {"add_cross_attention": True}, "add_cross_attention: is True; Input should be False"),
    ("camembert", {"hidden_act": "mish"}, f"hidden_act: is 'mish'; Input should be {ACTIVATIONS}"),
    ("roberta", {"pad_token_id": None}, "pad_token_id: is None; Input should be a valid integer"),
    (
        "xlm-roberta",
        {"pad_token_id": 20},
        "settings: max_position_embeddings 21 leaves no position for a token; "
        "the first 21 are for padding (pad_token_id 20)",
    ),
    ("electra", {"embedding_size": 0}, "embedding_size: is 0; Input should be greater than or equal to 1"),
    (
        "electra",
        {"position_embedding_type": "relative_key"},
        "position_embedding_type: is 'relative_key'; Input should be 'absolute'",
    ),
    ("electra", {"is_decoder": True}, "is_decoder: is True; Input should be False"),
    (
        "albert",
        {"position_embedding_type": "rotary"},
        "position_embedding_type: is 'rotary'; Input should be 'absolute'",
    ),
    ("albert", {"num_hidden_groups": 0}, "num_hidden_groups: is 0; Input should be greater than or equal to 1"),
    ("albert", {"inner_group_num": 1.5}, "inner_group_num: is 1.5; Input should be a valid integer"),
    ("albert", {"gap_size": 1}, "gap_size: is 1; Input should be 0"),
    ("albert", {"net_structure_type": 2}, "net_structure_type: is 2; Input should be 0"),
    ("albert", {"num_memory_blocks": 1}, "num_memory_blocks: is 1; Input should be 0"),
    ("albert", {"down_scale_factor": 2}, "down_scale_factor: is 2; Input should be 1"),
    (
        "albert",
        {"layers_to_keep": [1]},
        "layers_to_keep: is [1]; List should have at most 0 items after validation, not 1",
    ),
    ("albert", {"num_attention_heads": 5}, "settings: hidden_size 24 is not a multiple of num_attention_heads 5"),
]


def refusal(name: str, problem: str) -> str:
    return (
        f"The settings do not describe a '{name}' that this version of Zoo implements:\n  {problem}\n"
        f"See what it accepts with: zoo arch show {name}"
    )


@pytest.mark.parametrize(("name", "changes", "problem"), REFUSED, ids=lambda value: str(value)[:40])
def test_values_that_are_not_implemented_are_refused(
    tmp_path: Path, name: str, changes: dict[str, Any], problem: str
) -> None:
    write(tmp_path, name)
    change_config(tmp_path, **changes)
    with pytest.raises(InvalidConfig) as refused:
        zoo.load(str(tmp_path))
    assert str(refused.value) == refusal(name, problem)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("distilbert", "dim"),
        ("roberta", "layer_norm_eps"),
        ("camembert", "type_vocab_size"),
        ("electra", "embedding_size"),
        ("electra", "hidden_size"),
        ("albert", "hidden_size"),
    ],
)
def test_what_published_checkpoints_differ_in_has_to_be_said(tmp_path: Path, name: str, key: str) -> None:
    write(tmp_path, name)
    change_config(tmp_path, remove=[key])
    with pytest.raises(InvalidConfig) as refused:
        zoo.load(str(tmp_path))
    assert str(refused.value) == refusal(name, f"{key}: is missing")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("distilbert", "hidden_act"),
        ("distilbert", "type_vocab_size"),
        ("roberta", "adapters"),
        ("electra", "net_structure_type"),
        ("albert", "hidden_act_gated"),
    ],
)
def test_a_key_that_nobody_reads_is_refused_by_name(tmp_path: Path, name: str, key: str) -> None:
    write(tmp_path, name)
    change_config(tmp_path, [], **{key: 2})
    with pytest.raises(UnknownConfigKey) as refused:
        zoo.load(str(tmp_path))
    assert str(refused.value) == (
        f"config.json has the key {key}, which the architecture '{name}' does not know; a setting that nobody reads "
        f'could change the numbers. If it is known to be harmless, accept it with ignore_config_keys=["{key}"] '
        f"(on the command line: --ignore-config-key {key})"
    )


LARGE = {"hidden_size": 1024, "num_hidden_layers": 24}
CATALOGUE: dict[str, tuple[int, dict[str, Any]]] = {  # short name: labels, and what differs from the usual sizes
    "distilbert-base-uncased": (0, {}),
    "distilbert-base-cased": (0, {"vocab_size": 28996}),
    "distilbert-base-multilingual-cased": (0, {"vocab_size": 119547}),
    "distilbert-sst2": (2, {}),
    "distilbert-base-uncased-squad": (2, {}),
    "distilbert-base-cased-squad": (2, {"vocab_size": 28996}),
    "roberta-base": (0, {}),
    "roberta-large": (0, LARGE),
    "distilroberta-base": (0, {"num_hidden_layers": 6}),
    "roberta-large-mnli": (3, LARGE),
    "roberta-base-squad2": (2, {}),
    "all-distilroberta-v1": (0, {"num_hidden_layers": 6}),
    "camembert-base": (0, {}),
    "xlm-roberta-base": (0, {}),
    "xlm-roberta-large": (0, LARGE),
    "xlm-roberta-base-language-detection": (20, {}),
    "multilingual-e5-base": (0, {}),
    "multilingual-e5-large": (0, LARGE),
    "paraphrase-multilingual-mpnet-base-v2": (0, {}),
    "bge-reranker-v2-m3": (1, LARGE | {"max_position_embeddings": 8194}),
}


def test_the_catalogue_counts_parameters_exactly() -> None:
    entries = {entry.name: entry for entry in list_checkpoints() if entry.architecture in ("distilbert", *ROBERTAS)}
    assert {name: entry.plugin for name, entry in entries.items()} == dict.fromkeys(CATALOGUE, "zoo-encoder-only")
    assert {name: entry.parameters for name, entry in entries.items()} == {
        name: count_parameters(zoo.get_architecture(entry.architecture), entry.task, *CATALOGUE[name])
        for name, entry in entries.items()
    }


def count_parameters(architecture: Architecture, task: str, labels: int, sizes: dict[str, Any]) -> int:
    head = architecture.head(task)
    settings = HeadSettings(tuple(map(str, range(labels))))
    model = assemble(architecture, zoo.make_spec(architecture.name, **sizes), head, settings)
    return sum(parameter.numel() for parameter in model.parameters())
