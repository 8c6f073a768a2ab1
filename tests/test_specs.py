"""Specs: every key of a config is read, pinned or ignored by name, and the config comes back as it was."""

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import Field, ValidationError
from transformers import BertConfig

import zoo
from zoo.errors import InvalidConfig, UnknownConfigKey
from zoo.specs import EncoderSpec, Size, Spec
from zoo_encoder_only.bert import BertSpec

TOY: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 11,
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 12,
    "max_position_embeddings": 7,
}

# config.json as it lies beside the weights that Google published in 2018, converted in 2019
BERT_2018: dict[str, Any] = {
    "architectures": ["BertForMaskedLM"],
    "attention_probs_dropout_prob": 0.1,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "transformers_version": "4.6.0.dev0",
    "type_vocab_size": 2,
    "use_cache": True,
    "vocab_size": 30522,
}
BERT_CHINESE = BERT_2018 | {
    "directionality": "bidi",
    "pooler_fc_size": 768,
    "pooler_num_attention_heads": 12,
    "pooler_num_fc_layers": 3,
    "pooler_size_per_head": 128,
    "pooler_type": "first_token_transform",
    "vocab_size": 21128,
}
BERT_2019 = {
    "attention_probs_dropout_prob": 0.1,
    "finetuning_task": None,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0,
    "hidden_size": 1024,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "initializer_range": 0.02,
    "intermediate_size": 4096,
    "is_decoder": False,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "max_position_embeddings": 512,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "num_labels": 2,
    "output_attentions": False,
    "output_hidden_states": False,
    "output_past": True,
    "pruned_heads": {},
    "torchscript": False,
    "type_vocab_size": 2,
    "use_bfloat16": False,
    "vocab_size": 28996,
}


def refusal(config: dict[str, Any], spec: type[Spec] = BertSpec) -> str:
    """The lines that say what is wrong, the frame around them asserted."""
    with pytest.raises(InvalidConfig) as caught:
        spec.from_config(config)
    name = config["model_type"]
    first, *problems, last = str(caught.value).splitlines()
    assert first == f"The settings do not describe a '{name}' that this version of Zoo implements:"
    assert last == f"See what it accepts with: zoo arch show {name}"
    return "\n".join(problems)


def test_a_config_becomes_its_fields() -> None:
    spec = BertSpec.from_config(TOY | {"hidden_act": "relu", "layer_norm_eps": 1e-5, "architectures": ["BertModel"]})
    assert spec == BertSpec(**{**TOY, "hidden_act": "relu", "layer_norm_eps": 1e-5})
    assert (spec.vocab_size, spec.hidden_size, spec.num_hidden_layers, spec.num_attention_heads) == (11, 8, 3, 4)
    assert (spec.intermediate_size, spec.max_position_embeddings, spec.hidden_act, spec.type_vocab_size) == (
        12, 7, "relu", 2,
    )  # fmt: skip
    assert spec.kind == "encoder-only"


def test_a_spec_is_frozen() -> None:
    spec = BertSpec.from_config(TOY)
    with pytest.raises(ValidationError, match="Instance is frozen"):
        spec.hidden_size = 16  # type: ignore[misc]


def test_one_unknown_key_stops_the_reading() -> None:
    with pytest.raises(UnknownConfigKey) as caught:
        BertSpec.from_config(TOY | {"rope_theta": 500_000.0})
    assert str(caught.value) == (
        "config.json has the key rope_theta, which the architecture 'bert' does not know; a setting that nobody reads "
        'could change the numbers. If it is known to be harmless, accept it with ignore_config_keys=["rope_theta"] (on '
        "the command line: --ignore-config-key rope_theta)"
    )


def test_all_unknown_keys_come_at_once_and_sorted() -> None:
    with pytest.raises(UnknownConfigKey) as caught:
        BertSpec.from_config(TOY | {"z": 1, "auto_map": {"AutoModel": "evil.py"}, "a": None})
    assert caught.value.keys == ("a", "auto_map", "z")
    assert str(caught.value) == (
        "config.json has the keys a, auto_map, z, which the architecture 'bert' does not know; a setting that nobody "
        'reads could change the numbers. If it is known to be harmless, accept it with ignore_config_keys=["a", '
        '"auto_map", "z"] (on the command line: --ignore-config-key a --ignore-config-key auto_map --ignore-config-key z)'
    )


def test_an_unknown_key_that_the_user_accepts_is_left_unread_and_kept() -> None:
    config = TOY | {"z": [1], "a": {}}
    spec = BertSpec.from_config(config, ["z", "a"])
    assert spec == BertSpec.from_config(TOY)
    assert spec.to_config(config) == config


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"hidden_size": "8"}, "  hidden_size: is '8'; Input should be a valid integer"),
        ({"hidden_size": 8.0}, "  hidden_size: is 8.0; Input should be a valid integer"),
        ({"hidden_size": True}, "  hidden_size: is True; Input should be a valid integer"),
        ({"hidden_size": None}, "  hidden_size: is None; Input should be a valid integer"),
        ({"hidden_size": 0}, "  hidden_size: is 0; Input should be greater than or equal to 1"),
        ({"vocab_size": -11}, "  vocab_size: is -11; Input should be greater than or equal to 1"),
        ({"vocab_size": 2**24 + 1},
         "  vocab_size: is 16777217; Input should be less than or equal to 16777216"),
        ({"num_hidden_layers": 10**9},
         "  num_hidden_layers: is 1000000000; Input should be less than or equal to 1024"),
        ({"hidden_dropout_prob": 1.0}, "  hidden_dropout_prob: is 1.0; Input should be less than 1"),
        ({"hidden_dropout_prob": -0.1}, "  hidden_dropout_prob: is -0.1; Input should be greater than or equal to 0"),
        ({"hidden_dropout_prob": float("nan")}, "  hidden_dropout_prob: is nan; Input should be a finite number"),
        ({"layer_norm_eps": 0.0}, "  layer_norm_eps: is 0.0; Input should be greater than 0"),
        ({"initializer_range": float("inf")}, "  initializer_range: is inf; Input should be a finite number"),
        ({"pad_token_id": -1}, "  pad_token_id: is -1; Input should be greater than or equal to 0"),
        ({"eos_token_id": "x"},
         "  eos_token_id: is 'x'; Input should be a valid integer, or Input should be a valid list"),
        ({"hidden_act": "mish"}, "  hidden_act: is 'mish'; Input should be 'gelu', 'gelu_new', 'gelu_fast', "
                                 "'gelu_pytorch_tanh', 'relu', 'silu', 'swish' or 'tanh'"),
        ({"position_embedding_type": "relative_key"},
         "  position_embedding_type: is 'relative_key'; Input should be 'absolute'"),
        ({"is_decoder": True}, "  is_decoder: is True; Input should be False"),
        ({"add_cross_attention": True}, "  add_cross_attention: is True; Input should be False"),
        ({"model_type": "gpt2"}, "  model_type: is 'gpt2'; Input should be 'bert'"),
        ({"pruned_heads": {"1": [0, 2]}},
         "  pruned_heads: is {'1': [0, 2]}; Dictionary should have at most 0 items after validation, not more"),
        ({"num_attention_heads": 3}, "  settings: hidden_size 8 is not a multiple of num_attention_heads 3"),
        ({"hidden_size": [1] * 50},
         "  hidden_size: is [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,...; Input should be a valid integer"),
        ({"hidden_size": -8, "is_decoder": True},
         "  hidden_size: is -8; Input should be greater than or equal to 1\n  is_decoder: is True; Input should be False"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_implemented_is_refused(changes: dict[str, Any], problems: str) -> None:
    assert refusal(TOY | changes) == problems


def test_every_missing_key_is_named() -> None:
    assert refusal({"model_type": "bert", "hidden_size": 8}) == "\n".join(
        f"  {key}: is missing" for key in TOY if key not in ("model_type", "hidden_size")
    )


class AliasedSpec(EncoderSpec):
    """A spec whose configs spell two fields in a way of their own."""

    ignored_config_keys: ClassVar[frozenset[str]] = frozenset({"summary_type"})
    model_type: Literal["toy"] = "toy"
    hidden_size: Size = Field(alias="n_embd")
    num_hidden_layers: Size = Field(2, alias="n_layer")


ALIASED: dict[str, Any] = {
    "model_type": "toy",
    "vocab_size": 11,
    "n_embd": 8,
    "n_layer": 3,
    "num_attention_heads": 4,
    "intermediate_size": 12,
    "max_position_embeddings": 7,
    "summary_type": "cls_index",
}


def test_an_alias_is_read_and_written() -> None:
    spec = AliasedSpec.from_config(ALIASED)
    assert (spec.hidden_size, spec.num_hidden_layers) == (8, 3)
    assert spec.to_config(ALIASED) == ALIASED
    written = spec.to_config()
    assert (written["n_embd"], written["n_layer"]) == (8, 3)
    assert "hidden_size" not in written
    assert AliasedSpec.from_config(written) == spec


def test_the_fields_own_name_is_read_too_and_kept() -> None:
    config = {("hidden_size" if key == "n_embd" else key): value for key, value in ALIASED.items()}
    spec = AliasedSpec.from_config(config)
    assert spec == AliasedSpec.from_config(ALIASED)
    assert spec.to_config(config) == config


def test_both_spellings_may_agree_and_are_changed_together() -> None:
    config = ALIASED | {"hidden_size": 8}
    spec = AliasedSpec.from_config(config)
    assert spec.to_config(config) == config
    wider = spec.model_copy(update={"hidden_size": 16})
    assert wider.to_config(config) == config | {"hidden_size": 16, "n_embd": 16}
    assert AliasedSpec.from_config(wider.to_config(config)) == wider


def test_both_spellings_may_not_contradict() -> None:
    assert refusal(ALIASED | {"hidden_size": 16}, AliasedSpec) == "  hidden_size: contradicts n_embd: 16 and 8"


def test_an_aliased_value_is_refused_under_the_configs_spelling() -> None:
    assert refusal(ALIASED | {"n_embd": "8"}, AliasedSpec) == "  n_embd: is '8'; Input should be a valid integer"


@pytest.mark.parametrize("key", ["hidden_size", "n_embd"])
def test_a_field_left_to_its_default_stays_unwritten_until_it_changes(key: str) -> None:
    config = {("n_embd" if name == "n_embd" else name): value for name, value in ALIASED.items() if name != "n_layer"}
    config[key] = config.pop("n_embd")
    spec = AliasedSpec.from_config(config)
    assert spec.to_config(config) == config
    assert spec.model_copy(update={"num_hidden_layers": 5}).to_config(config) == config | {"n_layer": 5}


@pytest.mark.parametrize("config", [BERT_2018, BERT_CHINESE, BERT_2019], ids=["2018", "chinese", "2019"])
def test_a_published_config_comes_back_as_it_was(config: dict[str, Any]) -> None:
    spec = BertSpec.from_config(config)
    assert json.dumps(spec.to_config(config)) == json.dumps(config)
    assert (spec.hidden_size, spec.vocab_size) == (config["hidden_size"], config["vocab_size"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5, "classifier_dropout": 0.3},
        {"type_vocab_size": 1, "tie_word_embeddings": False, "pad_token_id": None},
        {"num_labels": 3, "problem_type": "multi_label_classification"},
        {"bos_token_id": 1, "eos_token_id": [2, 3], "dtype": "bfloat16"},
        {"hidden_dropout_prob": 0.0, "use_cache": False},
        {"return_dict": False, "output_hidden_states": True, "chunk_size_feed_forward": 2},
    ],
)
def test_a_config_that_transformers_saves_comes_back_as_it_was(tmp_path: Path, changes: dict[str, Any]) -> None:
    sizes = {key: value for key, value in TOY.items() if key != "model_type"}
    BertConfig(**sizes, **changes, architectures=["BertForMaskedLM"]).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    spec = BertSpec.from_config(config)
    assert json.dumps(spec.to_config(config)) == json.dumps(config)
    assert {key: getattr(spec, key) for key in sizes} == sizes


def test_a_whole_config_dictionary_of_transformers_comes_back_as_it_was() -> None:
    config = json.loads(json.dumps(BertConfig(**{k: v for k, v in TOY.items() if k != "model_type"}).to_dict()))
    assert json.dumps(BertSpec.from_config(config).to_config(config)) == json.dumps(config)


def test_a_spec_without_an_original_is_written_whole_and_read_again() -> None:
    spec = zoo.make_spec("bert", hidden_size=128)
    config = json.loads(json.dumps(spec.to_config()))
    assert set(config) == {name for name, value in spec if value is not None}
    assert BertSpec.from_config(config) == spec


def test_a_size_alone_makes_a_spec_in_the_familys_proportions() -> None:
    spec = zoo.make_spec("bert", hidden_size=128)
    assert isinstance(spec, BertSpec)
    assert (spec.hidden_size, spec.num_attention_heads, spec.intermediate_size) == (128, 2, 512)
    assert (spec.num_hidden_layers, spec.vocab_size, spec.max_position_embeddings) == (12, 30522, 512)


def test_without_sizes_bert_is_bert_base() -> None:
    spec = zoo.make_spec("bert")
    assert spec == BertSpec.from_config(BERT_2018)


@pytest.mark.parametrize(
    ("hidden_size", "heads"), [(1, 1), (63, 1), (64, 1), (200, 2), (768, 12), (769, 1), (1000, 10)]
)
def test_the_heads_always_divide_the_width(hidden_size: int, heads: int) -> None:
    spec = zoo.make_spec("bert", hidden_size=hidden_size)
    assert isinstance(spec, BertSpec)
    assert (spec.num_attention_heads, spec.intermediate_size) == (heads, 4 * hidden_size)


@pytest.mark.parametrize(
    ("hidden_size", "problem"),
    [
        ("128", "is '128'; Input should be a valid integer"),
        (None, "is None; Input should be a valid integer"),
        (0, "is 0; Input should be greater than or equal to 1"),
        (-64, "is -64; Input should be greater than or equal to 1"),
        (128.0, "is 128.0; Input should be a valid integer"),
    ],
)
def test_a_size_that_cannot_be_is_the_only_one_blamed(hidden_size: Any, problem: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        zoo.make_spec("bert", hidden_size=hidden_size)
    assert caught.value.problems == {"hidden_size": problem}


def test_a_setting_that_a_spec_does_not_have_is_refused() -> None:
    with pytest.raises(UnknownConfigKey) as caught:
        zoo.make_spec("bert", hidden_sizes=128)
    assert caught.value.keys == ("hidden_sizes",)


def test_every_field_of_bert_says_what_it_means() -> None:
    assert [name for name, field in BertSpec.model_fields.items() if not field.description] == []
