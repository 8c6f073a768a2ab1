"""Model.save: what is written is what was read, and transformers loads it."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import zoo
from tests.checkpoints import (
    LABELS,
    SIZES,
    assert_same_bytes,
    change_config,
    label_keys,
    make_oracle,
    read_config,
    read_tensors,
    write_checkpoint,
    write_tensors,
    write_tokenizer,
)
from zoo.errors import InvalidInput

IDS = torch.tensor([[2, 7, 31, 52, 11, 3, 9], [2, 8, 8, 5, 44, 17, 3]])
TYPES = torch.tensor([[0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 1, 2, 0]])
HEADS: list[tuple[str, dict[str, Any]]] = [
    ("BertModel", {}),
    ("BertModel", {"pooler": False}),
    ("BertForMaskedLM", {}),
    ("BertForMaskedLM", {"tie_word_embeddings": False}),
    ("BertForPreTraining", {}),
    ("BertForSequenceClassification", label_keys()),
    ("BertForSequenceClassification", {"num_labels": 1}),
    ("BertForTokenClassification", label_keys() | {"problem_type": "single_label_classification"}),
    ("BertForQuestionAnswering", {}),
]


def reload(folder: Path, class_name: str, **options: Any) -> Any:
    """Let transformers load a folder: every tensor used, none missing."""
    model, report = getattr(transformers, class_name).from_pretrained(folder, output_loading_info=True, **options)
    assert {key: set(names) for key, names in report.items() if names} == {}
    return model.eval()


def outputs(model: Any) -> dict[str, Tensor]:
    with torch.no_grad():
        return {name: value for name, value in model(IDS, token_type_ids=TYPES).items() if isinstance(value, Tensor)}


@pytest.mark.parametrize(("class_name", "changes"), HEADS, ids=lambda value: str(value)[:40])
def test_load_and_save_gives_back_every_byte_and_the_same_config(
    tmp_path: Path, class_name: str, changes: dict[str, Any]
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    oracle = write_checkpoint(source, class_name, **changes)
    zoo.load(str(source)).save(target)
    assert_same_bytes(read_tensors(target), read_tensors(source))
    assert read_config(target) == read_config(source)
    pooler = {"add_pooling_layer": False} if changes.get("pooler") is False else {}
    found = outputs(reload(target, class_name, **pooler))
    for name, expected in outputs(oracle).items():
        torch.testing.assert_close(found[name], expected, atol=1e-6, rtol=0)  # kernels differ with the alignment


def test_a_sharded_save_has_an_index_and_the_same_bytes(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_checkpoint(source, "BertForMaskedLM")
    zoo.load(str(source)).save(target, max_shard_size="12KB")
    shards = sorted(path.name for path in target.glob("*.safetensors"))
    assert shards == [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    assert len(shards) > 2
    assert (target / "model.safetensors.index.json").is_file()
    assert_same_bytes(read_tensors(target), read_tensors(source))
    reload(target, "BertForMaskedLM")


def test_a_shard_size_that_cannot_be_read_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "source")
    with pytest.raises(InvalidInput) as refused:
        zoo.load(str(tmp_path / "source")).save(tmp_path / "target", max_shard_size="five")
    assert str(refused.value) == "'five' is not a size; write a number and a unit, such as 5GB or 300MB"
    assert list((tmp_path / "target").iterdir()) == []


def test_saving_over_its_own_source_folder_keeps_everything(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForSequenceClassification", **label_keys())
    write_tokenizer(tmp_path)
    tensors, config = read_tensors(tmp_path), read_config(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    model = zoo.load(str(tmp_path))
    model.save(tmp_path)
    assert_same_bytes(read_tensors(tmp_path), tensors)
    assert read_config(tmp_path) == config
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == names
    assert len(model.predict(["the cat sat"])) == 1


def test_saving_over_shards_of_another_model_leaves_none_of_them(tmp_path: Path) -> None:
    target = tmp_path / "target"
    write_checkpoint(target, "BertForMaskedLM", seed=1, max_shard_size="12KB")
    write_checkpoint(tmp_path / "source")
    zoo.load(str(tmp_path / "source")).save(target)
    assert sorted(path.name for path in target.glob("*safetensors*")) == ["model.safetensors"]
    assert_same_bytes(read_tensors(target), read_tensors(tmp_path / "source"))


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_a_cast_is_written_with_its_dtype(tmp_path: Path, key: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_checkpoint(source, "BertForPreTraining")
    change_config(source, remove=["dtype"])
    change_config(source, **{key: "float32"})
    expected = {name: tensor.to(torch.bfloat16) for name, tensor in read_tensors(source).items()}
    zoo.load(str(source), dtype="bfloat16").save(target)
    assert_same_bytes(read_tensors(target), expected)
    assert read_config(target) == read_config(source) | {key: "bfloat16"}


@pytest.mark.parametrize(
    ("task", "labels", "class_name"),
    [
        (None, None, "BertModel"),
        ("fill-mask", None, "BertForMaskedLM"),
        ("text-classification", LABELS, "BertForSequenceClassification"),
        ("text-classification", None, "BertForSequenceClassification"),
        ("token-classification", LABELS, "BertForTokenClassification"),
        ("question-answering", None, "BertForQuestionAnswering"),
    ],
)
def test_a_model_built_from_a_spec_is_one_for_transformers(
    tmp_path: Path, task: str | None, labels: tuple[str, ...] | None, class_name: str
) -> None:
    model = zoo.build(zoo.make_spec("bert", **SIZES), task, labels=labels, seed=3)
    model.save(tmp_path)
    expected, found = outputs_of_zoo(model), outputs(reload(tmp_path, class_name))
    assert read_config(tmp_path)["architectures"] == [class_name]
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=0)
    again = zoo.load(str(tmp_path))
    assert again.task == model.task
    assert again.labels == model.labels
    assert again.fresh_parameters == ()


def outputs_of_zoo(model: zoo.Model) -> dict[str, Tensor]:
    with torch.no_grad():
        found = {name: value for name, value in vars(model(IDS, token_type_ids=TYPES)).items() if value is not None}
    if model.task != "feature-extraction":  # the hidden state is Zoo's addition to a head's output
        del found["last_hidden_state"]
    return found


@pytest.mark.parametrize("name", ["embeddings.position_ids", "bert.embeddings.position_ids"])
def test_ignored_tensors_are_written_back(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_checkpoint(source)
    write_tensors(source, read_tensors(source) | {name: torch.arange(19)[None]})
    zoo.load(str(source)).save(target)
    assert_same_bytes(read_tensors(target), read_tensors(source))
    zoo.load(str(source), dtype="bfloat16").save(target)
    assert read_tensors(target)[name].equal(torch.arange(19)[None])


@pytest.mark.parametrize("class_name", ["BertForTokenClassification", "BertForQuestionAnswering"])
def test_a_pooler_that_the_head_does_not_use_is_written_back(tmp_path: Path, class_name: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_checkpoint(source, class_name)
    pooler = {"bert.pooler.dense.weight": torch.randn(24, 24), "bert.pooler.dense.bias": torch.randn(24)}
    write_tensors(source, read_tensors(source) | pooler)
    zoo.load(str(source)).save(target)
    assert_same_bytes(read_tensors(target), read_tensors(source))


def test_a_decoder_that_is_stored_beside_its_tied_embedding_is_written_back(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_checkpoint(source, "BertForMaskedLM")
    tensors = read_tensors(source)
    twice = {
        "cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"],
        "cls.predictions.decoder.bias": tensors["cls.predictions.bias"],
    }
    write_tensors(source, tensors | twice)
    model = zoo.load(str(source))
    assert model.head.get_parameter("decoder.weight") is model.backbone.get_parameter("embeddings.tokens.weight")
    model.save(target)
    assert_same_bytes(read_tensors(target), tensors | twice)


def test_the_old_spelling_is_written_in_the_new_one(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_checkpoint(source)
    tensors = read_tensors(source)
    old = {n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): t for n, t in tensors.items()}
    write_tensors(source, old)
    zoo.load(str(source)).save(target)
    assert_same_bytes(read_tensors(target), tensors)


def test_a_new_head_is_written_with_its_labels_and_without_the_old_ones(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_checkpoint(
        source, "BertForMaskedLM", **label_keys(("old", "older", "oldest")), problem_type="multi_label_classification"
    )
    change_config(source, finetuning_task="mrpc")
    model = zoo.load(str(source), "text-classification", labels=LABELS)
    model.save(target)
    config = read_config(target)
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "O", "1": "B-PER", "2": "I-PER", "3": "B-LOC", "4": "I-LOC"}
    assert config["label2id"] == {"O": 0, "B-PER": 1, "I-PER": 2, "B-LOC": 3, "I-LOC": 4}
    assert {"problem_type", "finetuning_task", "num_labels"}.isdisjoint(config)
    expected = outputs_of_zoo(model)["logits"]
    torch.testing.assert_close(
        outputs(reload(target, "BertForSequenceClassification"))["logits"], expected, atol=1e-6, rtol=0
    )
    assert zoo.load(str(target)).fresh_parameters == ()


@pytest.mark.parametrize(
    ("task", "class_name"), [("question-answering", "BertForQuestionAnswering"), ("fill-mask", "BertForMaskedLM")]
)
def test_a_new_head_without_labels_of_its_own_drops_those_of_the_old_one(
    tmp_path: Path, task: str, class_name: str
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_checkpoint(source, "BertForTokenClassification", **label_keys())
    zoo.load(str(source), task, labels=[]).save(target)
    assert {"id2label", "label2id"}.isdisjoint(read_config(target))
    reload(target, class_name)


def test_the_backbone_of_a_classifier_is_written_as_a_backbone(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    oracle = write_checkpoint(source, "BertForSequenceClassification", **label_keys())
    zoo.load(str(source), "feature-extraction").save(target)
    assert read_config(target)["architectures"] == ["BertModel"]
    found, expected = outputs(reload(target, "BertModel")), outputs(oracle.bert)
    assert found["last_hidden_state"].equal(expected["last_hidden_state"])
    assert found["pooler_output"].equal(expected["pooler_output"])


def test_position_ids_of_a_backbone_do_not_disturb_transformers_under_a_new_head(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_checkpoint(source)
    write_tensors(source, read_tensors(source) | {"embeddings.position_ids": torch.arange(19)[None]})
    zoo.load(str(source), "token-classification", labels=LABELS).save(target)
    reload(target, "BertForTokenClassification")


def test_tokenizer_files_are_copied_byte_for_byte(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_checkpoint(source)
    write_tokenizer(source, model_max_length=13)
    (source / "vocab.txt").write_text("[PAD]\r\n[UNK]\n", encoding="utf-8")
    (source / "special_tokens_map.json").write_text('{"unk_token":   "[UNK]"}', encoding="utf-8")
    (source / "pytorch_model.bin").write_bytes(b"a pickle")
    (source / "modeling.py").write_text("raise SystemExit", encoding="utf-8")
    zoo.load(str(source)).save(target)
    expected = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")
    assert sorted(path.name for path in target.iterdir()) == sorted([*expected, "config.json", "model.safetensors"])
    for name in expected:
        assert (target / name).read_bytes() == (source / name).read_bytes()


def test_pooling_files_go_with_the_backbone_and_not_with_another_head(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_checkpoint(source)
    write_tokenizer(source)
    (source / "1_Pooling").mkdir()
    modules = '[{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]'
    (source / "modules.json").write_text(modules, encoding="utf-8")
    (source / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}', encoding="utf-8")
    model = zoo.load(str(source))
    model.save(tmp_path / "backbone")
    again = zoo.load(str(tmp_path / "backbone"))
    assert again.embed(["the cat sat"]).equal(model.embed(["the cat sat"], pooling="cls"))
    zoo.load(str(source), "text-classification", labels=["a", "b"]).save(tmp_path / "classifier")
    assert not (tmp_path / "classifier" / "modules.json").exists()
    assert not (tmp_path / "classifier" / "1_Pooling").exists()


@settings(max_examples=8, deadline=None)
@given(
    layers=st.integers(1, 3),
    heads=st.sampled_from([1, 2, 3, 4]),
    vocab=st.integers(5, 60),
    head=st.sampled_from(HEADS[:6]),
    seed=st.integers(0, 99),
)
def test_save_then_load_is_the_identity(
    tmp_path_factory: pytest.TempPathFactory,
    layers: int,
    heads: int,
    vocab: int,
    head: tuple[str, dict[str, Any]],
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("identity")
    class_name, changes = head
    sizes = {"num_hidden_layers": layers, "num_attention_heads": heads, "vocab_size": vocab}
    oracle = make_oracle(class_name, seed, **sizes, **changes)
    oracle.save_pretrained(folder / "0")
    zoo.load(str(folder / "0")).save(folder / "1")
    first, second = zoo.load(str(folder / "0")), zoo.load(str(folder / "1"))
    assert_same_bytes(read_tensors(folder / "1"), read_tensors(folder / "0"))
    assert_same_bytes(dict(second.named_parameters()), dict(first.named_parameters()))
    assert second.spec == first.spec
    assert second.settings == first.settings
