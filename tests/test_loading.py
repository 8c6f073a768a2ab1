"""load and build: which head, which tensors, which dtype; and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from tests.checkpoints import (
    LABELS,
    SIZES,
    assert_same_bytes,
    change_config,
    label_keys,
    listed,
    read_tensors,
    write_checkpoint,
    write_tensors,
)
from zoo.errors import (
    CorruptFile,
    HeadMissing,
    InvalidConfig,
    InvalidInput,
    NotACheckpoint,
    UnknownArchitecture,
    UnknownConfigKey,
    UnknownTask,
    WeightsMismatch,
)
from zoo.tasks.base import HeadSettings

CLASSIFIER = ("head.classifier.weight", "head.classifier.bias")


def refused(folder: Path, error: type[Exception], *arguments: Any, **options: Any) -> str:
    with pytest.raises(error) as raised:
        zoo.load(str(folder), *arguments, **options)
    return str(raised.value)


@pytest.mark.parametrize(
    ("class_name", "task", "labels"),
    [
        ("BertModel", "feature-extraction", ()),
        ("BertForMaskedLM", "fill-mask", ()),
        ("BertForPreTraining", "fill-mask", ()),
        ("BertForSequenceClassification", "text-classification", LABELS),
        ("BertForTokenClassification", "token-classification", LABELS),
        ("BertForQuestionAnswering", "question-answering", ("start", "end")),
    ],
)
def test_without_a_task_the_checkpoints_own_head_is_loaded(
    tmp_path: Path, class_name: str, task: str, labels: tuple[str, ...]
) -> None:
    write_checkpoint(tmp_path, class_name, **(label_keys() if labels == LABELS else {}))
    model = zoo.load(str(tmp_path))
    assert (model.task, model.labels, model.fresh_parameters, model.training) == (task, labels, (), False)
    assert model.spec == zoo.make_spec("bert", **SIZES)
    assert model.checkpoint == zoo.Checkpoint(tmp_path)


def test_without_a_claimed_head_the_backbone_is_loaded(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForTokenClassification")
    change_config(tmp_path, remove=["architectures"])
    model = zoo.load(str(tmp_path))
    assert model.task == "feature-extraction"
    assert model.head is None
    assert zoo.load(str(tmp_path), "token-classification").fresh_parameters == ()


@pytest.mark.parametrize(
    ("class_name", "task", "has", "asked"),
    [
        ("BertModel", "text-classification", "feature-extraction", 'labels=["negative", "positive"]'),
        ("BertModel", "fill-mask", "feature-extraction", "labels=[]"),
        ("BertModel", "question-answering", "feature-extraction", 'labels=["start", "end"]'),
        ("BertForMaskedLM", "text-classification", "feature-extraction, fill-mask", 'labels=["negative", "positive"]'),
        (
            "BertForSequenceClassification",
            "token-classification",  # its classifier has the right shape, and another meaning
            "feature-extraction, text-classification",
            'labels=["negative", "positive"]',
        ),
    ],
)
def test_a_head_that_is_missing_is_named_with_the_way_to_a_new_one(
    tmp_path: Path, class_name: str, task: str, has: str, asked: str
) -> None:
    write_checkpoint(tmp_path, class_name)
    assert refused(tmp_path, HeadMissing, task) == (
        f"The checkpoint has no head for '{task}'; it has: {has}. "
        f"To start a new head from random weights, ask for it with {asked}, then fine-tune it"
    )
    labels = json.loads(asked.removeprefix("labels="))
    assert set(zoo.load(str(tmp_path), task, labels=labels).fresh_parameters) >= {*CLASSIFIER} - {
        name for name in CLASSIFIER if task == "fill-mask"
    }


def test_a_task_that_the_architecture_lacks_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    assert refused(tmp_path, UnknownTask, "summarization") == (
        "The architecture 'bert' has no head for the task 'summarization'; it would be one of: feature-extraction, "
        "fill-mask, text-classification, token-classification, question-answering"
    )


def test_labels_make_a_new_head_and_name_what_is_new(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tensors = read_tensors(tmp_path)
    model = zoo.load(str(tmp_path), "text-classification", labels=LABELS)
    assert model.fresh_parameters == CLASSIFIER
    assert model.labels == LABELS
    assert model.head.get_parameter("classifier.weight").shape == (5, 24)
    assert model.head.get_parameter("classifier.bias").equal(torch.zeros(5))
    assert model.head.get_parameter("pooler.dense.weight").equal(tensors["pooler.dense.weight"])


def test_a_new_head_on_a_backbone_without_pooler_has_a_new_pooler_too(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForMaskedLM")
    model = zoo.load(str(tmp_path), "text-classification", labels=LABELS)
    assert model.fresh_parameters == ("head.pooler.dense.weight", "head.pooler.dense.bias", *CLASSIFIER)


def test_the_checkpoints_own_labels_load_its_own_head(tmp_path: Path) -> None:
    oracle = write_checkpoint(tmp_path, "BertForSequenceClassification", **label_keys())
    model = zoo.load(str(tmp_path), labels=list(LABELS))
    assert model.fresh_parameters == ()
    assert model.head.get_parameter("classifier.weight").equal(oracle.classifier.weight)


def test_labels_that_are_numbers_are_the_names_of_these_numbers(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForSequenceClassification", **label_keys(("0", "1", "2")))
    assert zoo.load(str(tmp_path), labels=[0, 1, 2]).fresh_parameters == ()  # type: ignore[list-item]


@pytest.mark.parametrize("labels", [("a", "b", "c"), ("a", "b", "c", "d", "e")], ids=["another number", "other names"])
def test_other_labels_make_a_new_classifier_on_the_checkpoints_pooler(tmp_path: Path, labels: tuple[str, ...]) -> None:
    oracle = write_checkpoint(tmp_path, "BertForSequenceClassification", **label_keys())
    model = zoo.load(str(tmp_path), "text-classification", labels=labels)
    assert model.fresh_parameters == CLASSIFIER
    assert model.head.get_parameter("classifier.weight").shape == (len(labels), 24)
    assert model.head.get_parameter("pooler.dense.weight").equal(oracle.bert.pooler.dense.weight)


def test_the_classifier_of_texts_is_not_taken_for_one_of_tokens_even_when_asked_for(tmp_path: Path) -> None:
    oracle = write_checkpoint(tmp_path, "BertForSequenceClassification", **label_keys())
    model = zoo.load(str(tmp_path), "token-classification", labels=LABELS)
    assert model.fresh_parameters == CLASSIFIER
    assert not model.head.get_parameter("classifier.weight").equal(oracle.classifier.weight)


@pytest.mark.parametrize("labels", [[], ["start", "end"]])
def test_asking_for_the_labels_of_a_span_classifier_keeps_the_one_that_is_there(
    tmp_path: Path, labels: list[str]
) -> None:
    write_checkpoint(tmp_path, "BertForQuestionAnswering")
    assert zoo.load(str(tmp_path), "question-answering", labels=labels).fresh_parameters == ()


@pytest.mark.parametrize(
    ("class_name", "task", "expected"),
    [
        ("BertModel", "feature-extraction", "[]"),
        ("BertForMaskedLM", "fill-mask", "[]"),
        ("BertForQuestionAnswering", "question-answering", "['start', 'end']"),
    ],
)
def test_labels_for_a_head_that_names_none_are_refused(
    tmp_path: Path, class_name: str, task: str, expected: str
) -> None:
    write_checkpoint(tmp_path, class_name)
    assert refused(tmp_path, InvalidInput, labels=["good", "bad"]) == (
        f"labels is ['good', 'bad']; for the task '{task}' it would be {expected}. "
        'Name the task that these labels are for, such as "text-classification"'
    )


@pytest.mark.parametrize("labels", [[], ["a", "a"], "ab", ["1", 1]])
def test_labels_that_name_nothing_or_one_thing_twice_are_refused(tmp_path: Path, labels: Any) -> None:
    write_checkpoint(tmp_path)
    message = refused(tmp_path, InvalidInput, "text-classification", labels=labels)
    assert message == f"labels is {labels!r}; it would be a list of different names"


def test_a_new_head_depends_on_the_seed_alone(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    first, second, other = (
        zoo.load(str(tmp_path), "text-classification", labels=LABELS, seed=seed).head.get_parameter("classifier.weight")
        for seed in (3, 3, 4)
    )
    assert first.equal(second)
    assert not (first == other).any()


# --- tensors that do not fit ------------------------------------------------------------------------------------------

ADVICE = "Check that config.json belongs to these weights, or fetch them again with: zoo rm, then zoo pull"


def test_a_missing_tensor_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tensors = read_tensors(tmp_path)
    del tensors["encoder.layer.1.attention.self.key.bias"]
    write_tensors(tmp_path, tensors)
    assert refused(tmp_path, WeightsMismatch) == (
        "The checkpoint's tensors do not fit the architecture 'bert'; nothing was loaded.\n"
        f"missing (1):\n  encoder.layer.1.attention.self.key: bias\n{ADVICE}"
    )


def test_half_a_pooler_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tensors = read_tensors(tmp_path)
    del tensors["pooler.dense.bias"]
    write_tensors(tmp_path, tensors)
    assert refused(tmp_path, WeightsMismatch) == (
        "The checkpoint's tensors do not fit the architecture 'bert'; nothing was loaded.\n"
        f"missing (1):\n  pooler.dense: bias\n{ADVICE}"
    )


@pytest.mark.parametrize("name", ["encoder.layer.2.output.dense.bias", "adapter.down.weight", "bert.adapter"])
def test_an_unexpected_tensor_is_refused(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path)
    write_tensors(tmp_path, read_tensors(tmp_path) | {name: torch.zeros(24)})
    module, _, tensor = name.rpartition(".")
    assert refused(tmp_path, WeightsMismatch) == (
        "The checkpoint's tensors do not fit the architecture 'bert'; nothing was loaded.\n"
        f"unexpected (1):\n  {module}: {tensor}\n{ADVICE}"
    )


def test_a_tensor_that_is_there_twice_under_two_spellings_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    write_tensors(tmp_path, read_tensors(tmp_path) | {"bert.pooler.dense.bias": torch.zeros(24)})
    assert "unexpected (1):" in refused(tmp_path, WeightsMismatch)


def test_misshapen_tensors_are_refused_with_both_shapes(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tensors = read_tensors(tmp_path)
    tensors["encoder.layer.0.intermediate.dense.weight"] = torch.zeros(24, 40)
    tensors["embeddings.position_embeddings.weight"] = torch.zeros(20, 24)
    write_tensors(tmp_path, tensors)
    assert refused(tmp_path, WeightsMismatch) == (
        "The checkpoint's tensors do not fit the architecture 'bert'; nothing was loaded.\n"
        "misshapen (2):\n"
        "  embeddings.position_embeddings: weight is [20, 24], expected [19, 24]\n"
        f"  encoder.layer.0.intermediate.dense: weight is [24, 40], expected [40, 24]\n{ADVICE}"
    )


def test_a_renamed_tensor_is_both_missing_and_unexpected(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tensors = read_tensors(tmp_path)
    tensors["encoder.layer.0.output.thick.bias"] = tensors.pop("encoder.layer.0.output.dense.bias")
    write_tensors(tmp_path, tensors)
    assert refused(tmp_path, WeightsMismatch) == (
        "The checkpoint's tensors do not fit the architecture 'bert'; nothing was loaded.\n"
        "missing (1):\n  encoder.layer.0.output.dense: bias\n"
        f"unexpected (1):\n  encoder.layer.0.output.thick: bias\n{ADVICE}"
    )


def test_whole_numbers_in_place_of_weights_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    write_tensors(tmp_path, read_tensors(tmp_path) | {"pooler.dense.bias": torch.zeros(24, dtype=torch.int32)})
    assert "  pooler.dense: bias has the dtype I32, expected floating point" in refused(tmp_path, WeightsMismatch)


def test_a_classifier_of_another_width_than_the_configs_labels_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForSequenceClassification", **label_keys())
    change_config(tmp_path, id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    assert "  classifier: weight is [5, 24], expected [2, 24], bias is [5], expected [2]" in refused(
        tmp_path, WeightsMismatch
    )


def test_a_tied_decoder_that_is_stored_with_other_values_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForMaskedLM")
    write_tensors(tmp_path, read_tensors(tmp_path) | {"cls.predictions.decoder.weight": torch.zeros(53, 24)})
    assert refused(tmp_path, CorruptFile) == (
        f"The file '{tmp_path / 'model.safetensors'}' is corrupt: 'cls.predictions.decoder.weight' and "
        "'bert.embeddings.word_embeddings.weight' are one parameter in this architecture, but hold different values. "
        "It was not loaded; fetch it again, or tell its author"
    )


# --- configurations ---------------------------------------------------------------------------------------------------


def test_an_unknown_key_stops_the_load_unless_it_is_accepted(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    change_config(tmp_path, rope_theta=10000.0)
    assert refused(tmp_path, UnknownConfigKey) == (
        "config.json has the key rope_theta, which the architecture 'bert' does not know; "
        "a setting that nobody reads could change the numbers. If it is known to be harmless, accept it with "
        'ignore_config_keys=["rope_theta"] (on the command line: --ignore-config-key rope_theta)'
    )
    model = zoo.load(str(tmp_path), ignore_config_keys=["rope_theta"])
    assert model.fresh_parameters == ()
    model.save(tmp_path / "saved")
    assert refused(tmp_path / "saved", UnknownConfigKey).startswith("config.json has the key rope_theta, ")


def test_a_model_type_that_nobody_provides_names_those_that_are_installed(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    change_config(tmp_path, model_type="mamba")
    assert refused(tmp_path, UnknownArchitecture) == (
        "No installed plugin provides the architecture 'mamba'; installed: "
        f"{listed([info.name for info in zoo.list_architectures()])}. "
        "No known plugin provides it; zoo arch list shows what is installed"
    )


@pytest.mark.parametrize("model_type", [None, 7])
def test_a_config_without_a_model_type_is_no_checkpoint(tmp_path: Path, model_type: Any) -> None:
    write_checkpoint(tmp_path)
    change_config(tmp_path, model_type=model_type)
    assert refused(tmp_path, NotACheckpoint) == (
        f"'{tmp_path}' does not hold a checkpoint: its config.json names no model_type. It needs config.json and "
        "model.safetensors (or model.safetensors.index.json with its shards)"
    )


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("position_embedding_type", "relative_key", "is 'relative_key'; Input should be 'absolute'"),
        ("is_decoder", True, "is True; Input should be False"),
        ("problem_type", "ranking", "is 'ranking'"),
        ("id2label", {"0": "a", "2": "b"}, "does not number its labels from 0: [0, 2]"),
        ("id2label", ["a", "b"], "does not map numbers to names"),
    ],
)
def test_a_setting_that_is_not_implemented_is_refused(tmp_path: Path, key: str, value: Any, problem: str) -> None:
    write_checkpoint(tmp_path, "BertForSequenceClassification")
    change_config(tmp_path, **{key: value})
    assert refused(tmp_path, InvalidConfig) == (
        f"The settings do not describe a 'bert' that this version of Zoo implements:\n  {key}: {problem}\n"
        "See what it accepts with: zoo arch show bert"
    )


@pytest.mark.parametrize("number", [0, -1, "2", True])
def test_a_number_of_labels_that_is_none_is_refused(number: Any) -> None:
    with pytest.raises(InvalidConfig) as raised:
        HeadSettings.from_config({"model_type": "bert", "num_labels": number})
    assert raised.value.problems == {"num_labels": f"is {number!r}; it would be a positive number"}


@pytest.mark.parametrize("content", ["5", '"bert"', "[]"])
def test_a_config_that_is_not_an_object_is_corrupt(tmp_path: Path, content: str) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    assert refused(tmp_path, CorruptFile) == (
        f"The file '{tmp_path / 'config.json'}' is corrupt: it is not a JSON object. "
        "It was not loaded; fetch it again, or tell its author"
    )


# --- devices, dtypes, memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "Tensor", "no such", torch.int64])
def test_a_dtype_that_is_no_floating_point_is_refused(tmp_path: Path, dtype: Any) -> None:
    assert refused(tmp_path, InvalidInput, dtype=dtype) == (
        f"There is no floating-point dtype '{dtype}'; it would be float32, bfloat16 or float16"
    )


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(tmp_path: Path, device: str) -> None:
    with pytest.raises((RuntimeError, AssertionError)) as told:
        torch.empty(0, device=device)
    reason = str(told.value).splitlines()[0]
    assert refused(tmp_path, InvalidInput, device=device) == f"There is no device '{device}' ({reason})"


def test_the_device_meta_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, InvalidInput, device="meta") == (
        "The device 'meta' holds no values; it would be one such as cpu or cuda"
    )


@pytest.mark.parametrize("labels", [None, LABELS])
@pytest.mark.parametrize("dtype", [None, "bfloat16", torch.float64])
def test_every_parameter_has_a_place_the_dtype_and_a_gradient(
    tmp_path: Path, labels: tuple[str, ...] | None, dtype: Any
) -> None:
    write_checkpoint(tmp_path)
    model = zoo.load(str(tmp_path), "text-classification" if labels else None, labels=labels, dtype=dtype, device="cpu")
    wanted = {None: torch.float32, "bfloat16": torch.bfloat16}.get(dtype, dtype)
    for name, parameter in model.named_parameters():
        assert (parameter.device.type, parameter.dtype, parameter.requires_grad) == ("cpu", wanted, True), name
    assert all(buffer.device.type == "cpu" for buffer in model.buffers())
    assert (model.dtype, model.device) == (wanted, torch.device("cpu"))


def test_a_tied_head_stays_one_parameter_after_loading(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForMaskedLM")
    model = zoo.load(str(tmp_path))
    decoder, tokens = model.head.get_submodule("decoder"), model.backbone.get_submodule("embeddings.tokens")
    assert decoder.weight is tokens.weight
    assert decoder.bias is model.head.bias
    with torch.no_grad():
        tokens.weight[7, 3] = 5.5
    assert decoder.weight[7, 3] == 5.5


def test_an_untied_head_stays_two_parameters(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForMaskedLM", tie_word_embeddings=False)
    model = zoo.load(str(tmp_path))
    tokens = model.backbone.get_parameter("embeddings.tokens.weight")
    assert not model.head.get_parameter("decoder.weight").equal(tokens)


def test_training_in_place_never_reaches_the_file(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForMaskedLM")
    before = (tmp_path / "model.safetensors").read_bytes()
    model = zoo.load(str(tmp_path))
    original = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    ids = torch.tensor([[5, 9, 1, 7]])
    model(ids, labels=ids).loss.backward()
    optimizer.step()
    assert not any(parameter.equal(original[name]) for name, parameter in model.named_parameters() if "key" not in name)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert_same_bytes(dict(zoo.load(str(tmp_path)).named_parameters()), original)


# --- build ------------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), other=st.integers(0, 2**31), task=st.sampled_from([None, "fill-mask"]))
def test_the_same_seed_gives_the_same_weights_and_another_others(seed: int, other: int, task: str | None) -> None:
    spec = zoo.make_spec("bert", **SIZES)
    first, second = (dict(zoo.build(spec, task, seed=seed).named_parameters()) for _ in range(2))
    assert_same_bytes(second, first)
    third = dict(zoo.build(spec, task, seed=other).named_parameters())
    matrices = [name for name, parameter in first.items() if parameter.dim() == 2]
    assert all(first[name].equal(third[name]) == (seed == other) for name in matrices)


def test_a_built_model_starts_as_its_architecture_does() -> None:
    model = zoo.build(zoo.make_spec("bert", **{**SIZES, "hidden_size": 128, "initializer_range": 0.05}))
    assert model.fresh_parameters == tuple(name for name, _ in model.named_parameters())
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert parameter.equal(torch.zeros_like(parameter)), name
        elif "norm" in name:
            assert parameter.equal(torch.ones_like(parameter)), name
        else:
            assert 0.04 < float(parameter.detach().std()) < 0.06, name


def test_the_callers_own_random_numbers_are_left_alone() -> None:
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    zoo.build(zoo.make_spec("bert", **SIZES), seed=1)
    assert torch.rand(3).equal(expected)


def test_a_built_model_takes_dtype_and_labels() -> None:
    model = zoo.build(zoo.make_spec("bert", **SIZES), "token-classification", labels=LABELS, dtype="bfloat16")
    assert (model.labels, model.dtype, model.task) == (LABELS, torch.bfloat16, "token-classification")
    assert model(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 5)


def test_labels_for_a_built_backbone_are_refused() -> None:
    with pytest.raises(InvalidInput) as raised:
        zoo.build(zoo.make_spec("bert", **SIZES), labels=["a", "b"])
    assert str(raised.value) == (
        "labels is ['a', 'b']; for the task 'feature-extraction' it would be []. "
        'Name the task that these labels are for, such as "text-classification"'
    )
