"""feature-extraction: hidden states, and vectors pooled from them as a checkpoint's files say."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from tests.checkpoints import write_checkpoint, write_tokenizer
from zoo.errors import CorruptFile, InvalidInput
from zoo.tasks import get_task
from zoo.tasks.base import collate
from zoo.tasks.feature_extraction import Pooling, pool, read_pooling

TEXTS = ["the cat sat", "", "anna ran home , and karin went to berlin with the dog !", "a film"]
MODES = ("mean", "cls", "max", "mean_sqrt_len")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A backbone with tokenizer."""
    folder = tmp_path / "backbone"
    write_checkpoint(folder)
    write_tokenizer(folder)
    return folder


def write_pooling(folder: Path, keys: dict[str, Any], *more: str, path: str = "1_Pooling") -> None:
    """Write modules.json as sentence-transformers does, and its pooling module."""
    kinds = [("", "Transformer"), (path, "Pooling"), *((f"{i}_{name}", name) for i, name in enumerate(more, start=2))]
    modules = [{"path": place, "type": f"sentence_transformers.models.{kind}"} for place, kind in kinds]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(keys), encoding="utf-8")


def by_hand(hidden: Tensor, mode: str) -> Tensor:
    """One vector of one text's hidden states (time, hidden), written out."""
    columns = []
    for column in range(hidden.shape[1]):
        values = [float(value) for value in hidden[:, column]]
        columns.append(
            {
                "mean": sum(values) / len(values),
                "cls": values[0],
                "max": max(values),
                "mean_sqrt_len": sum(values) / math.sqrt(len(values)),
            }[mode]
        )
    return torch.tensor(columns)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_predict_gives_each_texts_hidden_states_without_padding(tmp_path: Path, batch_size: int) -> None:
    oracle = write_checkpoint(tmp_path)
    write_tokenizer(tmp_path)
    model = zoo.load(str(tmp_path))
    assert model.tokenizer is not None
    for found, encoding in zip(model.predict(TEXTS, batch_size), model.tokenizer.encode(TEXTS), strict=True):
        with torch.no_grad():
            expected = oracle(torch.tensor([encoding.ids])).last_hidden_state[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_embed_pools_as_written_out_by_hand(folder: Path, mode: Any, batch_size: int) -> None:
    model = zoo.load(str(folder))
    expected = torch.stack([by_hand(hidden, mode) for hidden in model.predict(TEXTS)])
    found = model.embed(TEXTS, pooling=mode, batch_size=batch_size)
    assert (found.shape, found.dtype, found.device.type) == ((4, 24), torch.float32, "cpu")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", MODES)
def test_pooling_sees_attended_tokens_only_on_either_side(mode: Any) -> None:
    hidden = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[0, 3:] = mask[1, :4] = True
    expected = torch.stack([by_hand(hidden[0, 3:], mode), by_hand(hidden[1, :4], mode)])
    torch.testing.assert_close(pool(hidden, mask, mode), expected, atol=1e-6, rtol=0)


def test_normalised_vectors_have_length_one_and_the_same_direction(folder: Path) -> None:
    model = zoo.load(str(folder))
    plain, found = model.embed(TEXTS), model.embed(TEXTS, normalize=True)
    lengths = torch.tensor([[math.sqrt(sum(float(value) ** 2 for value in row))] for row in plain])
    torch.testing.assert_close(found, plain / lengths, atol=1e-6, rtol=0)


def test_without_pooling_files_it_is_the_mean_not_normalised(folder: Path) -> None:
    model = zoo.load(str(folder))
    assert model.embed(TEXTS).equal(model.embed(TEXTS, pooling="mean", normalize=False))


@pytest.mark.parametrize(
    ("keys", "mode"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True, "word_embedding_dimension": 24}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len"),
        ({"pooling_mode": "max"}, "max"),
    ],
)
def test_pooling_files_decide_unless_the_call_does(folder: Path, keys: dict[str, Any], mode: Any) -> None:
    write_pooling(folder, keys)
    model = zoo.load(str(folder))
    assert model.embed(TEXTS).equal(model.embed(TEXTS, pooling=mode, normalize=False))
    assert not model.embed(TEXTS, pooling="cls" if mode != "cls" else "max").equal(model.embed(TEXTS))


def test_a_normalize_module_normalises_unless_the_call_says_no(folder: Path) -> None:
    write_pooling(folder, {"pooling_mode_mean_tokens": True}, "Normalize")
    model = zoo.load(str(folder))
    assert read_pooling(folder) == Pooling("mean", True, None)
    assert model.embed(TEXTS).equal(model.embed(TEXTS, pooling="mean", normalize=True))
    assert not model.embed(TEXTS, normalize=False).equal(model.embed(TEXTS))


def test_texts_are_cut_where_the_pooling_files_say(folder: Path) -> None:
    write_pooling(folder, {"pooling_mode_mean_tokens": True})
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 6, "do_lower_case": false}', encoding="utf-8")
    model = zoo.load(str(folder))
    long, cut = model.embed(["the cat sat in paris with anna", "the cat sat in"])
    torch.testing.assert_close(long, cut, atol=1e-6, rtol=0)
    assert len(model.predict(["the cat sat in paris with anna"])[0]) == 9


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[{", "it is not valid JSON (Expecting property name enclosed in double quotes: line 1 column 3 (char 2))"),
        ('{"type": "Pooling"}', "it is not a JSON array"),
        ('[{"type": "Pooling"}]', "it is not a list of modules with type and path"),
        ('[{"type": "x.Dense", "path": "2_Dense"}]', "it asks for Dense, which is not implemented"),
        ('[{"type": "x.Pooling", "path": "../other"}]', "its pooling module has the path '../other'"),
    ],
)
def test_pooling_files_that_cannot_be_followed_are_refused(folder: Path, content: str, reason: str) -> None:
    (folder / "modules.json").write_text(content, encoding="utf-8")
    with pytest.raises(CorruptFile) as refused:
        zoo.load(str(folder)).embed(TEXTS)
    assert str(refused.value) == (
        f"The file '{folder / 'modules.json'}' is corrupt: {reason}. "
        "It was not loaded; fetch it again, or tell its author"
    )


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({}, 0),
        ({"pooling_mode_weightedmean_tokens": True}, 0),
        ({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}, 2),
    ],
)
def test_a_pooling_module_chooses_one_way(folder: Path, keys: dict[str, Any], count: int) -> None:
    write_pooling(folder, keys)
    with pytest.raises(CorruptFile) as refused:
        read_pooling(folder)
    assert refused.value.path == folder / "1_Pooling" / "config.json"
    assert refused.value.reason == f"it chooses {count} known ways of pooling"


def test_nothing_gives_nothing(folder: Path) -> None:
    model = zoo.load(str(folder))
    assert model.predict([]) == []
    assert model.embed([]).shape == (0, 24)


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ("the cat", {}, "One text was given where a list of texts is expected; write [text]"),
        ([("a", "b")], {}, "Input 0 is ('a', 'b'); a text is expected"),
        (["a"], {"pooling": "sum"}, "There is no pooling 'sum'; it would be one of: mean, cls, max, mean_sqrt_len"),
        (["a"], {"batch_size": 0}, "batch_size is 0; it would be at least 1"),
    ],
)
def test_what_cannot_be_embedded_is_refused(folder: Path, texts: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        zoo.load(str(folder)).embed(texts, **options)
    assert str(refused.value) == message


def test_labels_that_are_of_no_pairs_are_refused(folder: Path) -> None:
    for ids, labels, shape in (([[1, 2]], [1], (1, 2)), ([[1, 2]], [[1, 1]], (1, 2)), ([[1], [2]], [1, 1], (2, 1))):
        with pytest.raises(InvalidInput) as refused:
            zoo.load(str(folder))(torch.tensor(ids), labels=torch.tensor(labels))
        assert str(refused.value) == (
            f"labels have the shape {tuple(torch.tensor(labels).shape)}; for pairs of texts it would be {shape}, an even "
            "number of rows"
        )


@pytest.mark.parametrize("mode", MODES)
def test_the_loss_tells_each_pair_from_the_others_by_the_cosine(folder: Path, mode: str) -> None:
    """By hand, text by text, with the pooling of the checkpoint's files."""
    keys = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "mean_sqrt_len": "mean_sqrt_len_tokens"}
    write_pooling(folder, {f"pooling_mode_{keys[mode]}": True})
    model, task = zoo.load(str(folder)), get_task("feature-extraction")
    model.settings = task.settings_to_train(model)
    assert model.settings.pooling == mode
    pairs = [("the cat sat", "a dog"), ("anna ran home", "karin went to berlin with the dog !"), ("good", "a film")]
    features = task.encode_examples([{"text": one, "positive": other} for one, other in pairs], model, None)
    inputs = collate(task.rows(features), 0, torch.device("cpu"))
    labels = task.collate_labels(features, inputs["input_ids"].shape[1], model.settings)
    assert task.weight(labels) == 3
    assert [task.length(feature) for feature in features] == [10, 20, 8]
    with torch.no_grad():
        found = model(**inputs, labels=labels).loss
    one, other = (model.embed(list(side), normalize=True) for side in zip(*pairs, strict=True))
    chances = (20 * one @ other.T).softmax(-1).diagonal()
    torch.testing.assert_close(found, -chances.log().mean(), atol=1e-5, rtol=0)


def test_places_of_what_belongs_together_are_measured() -> None:
    measured = get_task("feature-extraction").measure([0, 0, 3, 12])
    assert measured == {"recall@1": 0.5, "recall@10": 0.75, "mrr": pytest.approx((1 + 1 + 1 / 4 + 1 / 13) / 4)}


@pytest.mark.parametrize("class_name", ["BertForMaskedLM", "BertForTokenClassification"])
def test_every_model_embeds_whatever_its_head(tmp_path: Path, class_name: str) -> None:
    write_checkpoint(tmp_path, class_name)
    write_tokenizer(tmp_path)
    backbone = zoo.load(str(tmp_path), "feature-extraction")
    assert zoo.load(str(tmp_path)).embed(TEXTS).equal(backbone.embed(TEXTS))
