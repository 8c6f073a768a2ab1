"""Encoders against transformers beyond their answers: masks, lengths, attention, dropout, and how losses count."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import zoo
from tests.interop import oracles
from tests.interop.cases import encoder_only
from tests.interop.oracles import make_batch, subject_of
from zoo.errors import InvalidInput
from zoo.layers.attention import Attention, recorded_attention

CASES = {case.architecture: case for case in encoder_only.CASES}
ROBERTAS = ("roberta", "camembert", "xlm-roberta")
HEADS = ("fill-mask", "text-classification", "token-classification", "question-answering")
every_encoder = pytest.mark.parametrize("name", CASES)


def write_and_load(folder: Path, name: str, task: str = "feature-extraction", **changes: Any) -> tuple[Any, zoo.Model]:
    oracle = oracles.write(folder, subject_of(CASES[name], task, **changes))
    return oracle, zoo.load(str(folder), device="cpu")


@every_encoder
@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.int64, torch.float32])
def test_any_dtype_of_mask_means_the_same(tmp_path: Path, name: str, mask_dtype: torch.dtype) -> None:
    oracle, model = write_and_load(tmp_path, name)
    inputs = make_batch(subject_of(CASES[name], "feature-extraction"), oracle.config, "left").inputs()
    expected = oracles.ask_zoo(model, inputs)
    found = oracles.ask_zoo(model, inputs | {"attention_mask": inputs["attention_mask"].to(mask_dtype)})
    for field, value in expected.items():
        assert found[field].equal(value)


@every_encoder
def test_without_mask_and_types_everything_is_attended_and_of_type_zero(tmp_path: Path, name: str) -> None:
    oracle, model = write_and_load(tmp_path, name)
    subject = subject_of(CASES[name], "feature-extraction")
    inputs = {"input_ids": make_batch(subject, oracle.config, "none").source.ids}
    found, expected = oracles.ask_zoo(model, inputs), oracles.ask(oracle, subject, inputs)
    assert found.keys() == expected.keys()
    for field, value in expected.items():
        oracles.close(found[field], value)


@pytest.mark.parametrize("name", ["distilbert", "modernbert"])
def test_an_encoder_without_types_reads_none(tmp_path: Path, name: str) -> None:
    oracle, model = write_and_load(tmp_path, name)
    inputs = make_batch(subject_of(CASES[name], "feature-extraction"), oracle.config, "right").inputs()
    found = oracles.ask_zoo(model, inputs | {"token_type_ids": torch.full_like(inputs["input_ids"], 99)})
    assert found["last_hidden_state"].equal(oracles.ask_zoo(model, inputs)["last_hidden_state"])


@every_encoder
def test_the_longest_input_agrees_and_one_more_token_is_refused(tmp_path: Path, name: str) -> None:
    oracle, model = write_and_load(tmp_path, name)
    ids = torch.arange(20).reshape(1, 20) + 30
    assert (model.max_length, model.spec.longest_input) == (19, 19)
    with torch.no_grad():
        oracles.close(model(ids[:, :19]).last_hidden_state, oracle(ids[:, :19]).last_hidden_state)
    with pytest.raises(InvalidInput) as refused:
        model(ids)
    assert str(refused.value) == "The input has 20 tokens; the model takes at most 19"


SHARED = {"num_hidden_layers": 5, "num_hidden_groups": 2, "inner_group_num": 2}


@pytest.mark.parametrize(
    ("name", "changes", "layers"),
    [*((name, {}, 4 if name == "modernbert" else 2) for name in CASES), ("albert", SHARED, 10)],
    ids=str,
)
def test_attention_is_that_of_transformers(tmp_path: Path, name: str, changes: Mapping[str, Any], layers: int) -> None:
    oracle, model = write_and_load(tmp_path, name, **changes)
    oracle.set_attn_implementation("eager")  # no other kernel tells its weights
    batch = make_batch(subject_of(CASES[name], "feature-extraction"), oracle.config, "right")
    with torch.no_grad(), recorded_attention(model.backbone) as recorded:
        model(**batch.inputs())
        expected = oracle(**batch.inputs(), output_attentions=True).attentions
    assert len(recorded) == len(expected) == layers
    attended = batch.source.mask.bool()
    for found, weights in zip(recorded, expected, strict=True):
        oracles.close(found.transpose(1, 2)[attended], weights.transpose(1, 2)[attended])


RATES: Mapping[str, Mapping[str, float]] = {
    **{
        name: {"hidden_dropout_prob": 0.25, "attention_probs_dropout_prob": 0.3, "classifier_dropout": 0.4}
        for name in CASES
    },
    "distilbert": {"dropout": 0.25, "attention_dropout": 0.3, "seq_classif_dropout": 0.4, "qa_dropout": 0.35},
    "modernbert": {"embedding_dropout": 0.25, "attention_dropout": 0.3, "mlp_dropout": 0.35, "classifier_dropout": 0.4},
}


# Not ALBERT: in transformers its feed-forward layers drop nothing, in the paper's own code they do, and so here.
@pytest.mark.parametrize("name", sorted(CASES.keys() - {"albert"}))
@pytest.mark.parametrize("task", HEADS)
def test_dropout_falls_where_it_should_in_training(tmp_path: Path, name: str, task: str) -> None:
    oracle, model = write_and_load(tmp_path, name, task, **RATES[name])
    subject = subject_of(CASES[name], task)
    inputs = make_batch(subject, oracle.config, "none").inputs()
    torch.manual_seed(3)
    expected = oracles.ask(oracle.train(), subject, inputs)
    torch.manual_seed(3)  # both drop the same if they draw as many numbers, for the same places, in the same order
    found = oracles.ask_zoo(model.train(), inputs)
    for field, value in expected.items():
        oracles.close(found[field], value)


def rates_in_head(model: zoo.Model) -> list[float]:
    """Give the rates of the dropout layers of a head, in order."""
    assert model.head is not None
    return [module.p for module in model.head.modules() if isinstance(module, nn.Dropout)]


@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
@pytest.mark.parametrize(("rate", "expected"), [(0.4, [0.4]), (0.0, []), (None, [0.25])])
def test_dropout_before_berts_classifier_is_the_configs(
    tmp_path: Path, task: str, rate: float | None, expected: list[float]
) -> None:
    model = write_and_load(tmp_path, "bert", task, classifier_dropout=rate, hidden_dropout_prob=0.25)[1]
    assert [rate for rate in rates_in_head(model) if rate] == expected


def test_dropout_inside_berts_layers_is_the_configs(tmp_path: Path) -> None:
    model = write_and_load(tmp_path, "bert", hidden_dropout_prob=0.25, attention_probs_dropout_prob=0.125)[1]
    modules = list(model.backbone.modules())
    rates = [module.p for module in modules if isinstance(module, nn.Dropout) and module.p]
    assert rates == [0.25] * 3  # embeddings, two layers
    assert [module.dropout for module in modules if isinstance(module, Attention)] == [0.125] * 2


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        *(
            (name, {"classifier_dropout": rate, "hidden_dropout_prob": 0.25}, [0.25 if rate is None else rate] * 2)
            for name in (*ROBERTAS, "electra")
            for rate in (0.4, 0.0, None)
        ),
        ("albert", {"classifier_dropout_prob": 0.4}, [0.0, 0.4]),
        ("albert", {}, [0.0, 0.1]),
    ],
    ids=str,
)
def test_dropout_around_the_pooler_is_the_configs(
    tmp_path: Path, name: str, changes: Mapping[str, Any], expected: list[float]
) -> None:
    assert rates_in_head(write_and_load(tmp_path, name, "text-classification", **changes)[1]) == expected


@pytest.mark.parametrize("name", ["bert", "albert"])
@pytest.mark.parametrize("side", oracles.SIDES)
def test_the_loss_of_a_pretraining_model_is_that_of_masked_tokens(tmp_path: Path, name: str, side: str) -> None:
    oracle, model = write_and_load(tmp_path, name, "fill-mask (pretraining)")
    subject = subject_of(CASES[name], "fill-mask (pretraining)")
    batch = make_batch(subject, oracle.config, side)
    labels = oracles.make_labels(subject, oracle.config, batch)
    scores = [oracles.ask(oracle, subject, batch.row(row))["logits"][0] for row in range(3)]
    wanted = [labels[row, place] for row, place in enumerate(batch.source.places)]
    with torch.no_grad():
        oracles.close(
            model(**batch.inputs(), labels=labels).loss, F.cross_entropy(torch.cat(scores), torch.cat(wanted))
        )


@pytest.mark.parametrize("name", ["bert", "electra"])
def test_the_loss_of_spans_counts_padding_as_transformers_does(tmp_path: Path, name: str) -> None:
    oracle, model = write_and_load(tmp_path, name, "question-answering")
    batch = make_batch(subject_of(CASES[name], "question-answering"), oracle.config, "right")
    spans = oracles.make_spans(batch)
    with torch.no_grad():
        expected = oracle(**batch.inputs(), start_positions=spans[:, 0], end_positions=spans[:, 1]).loss
        oracles.close(model(**batch.inputs(), labels=spans).loss, expected)
