"""BERT against transformers: the same checkpoint gives the same numbers, wherever the padding is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from torch import Tensor, nn

import zoo
from tests.checkpoints import LABELS, SIZES, label_keys, read_tensors, write_checkpoint, write_tensors
from zoo.layers.attention import Attention

LENGTHS = (9, 5, 7)
TIME = 11  # longer than every row when there is padding on both sides of the comparison
SIDES = ("none", "right", "left")


@dataclass(frozen=True)
class Batch:
    """Rows of random tokens. positions: what transformers has to be told; rows: where each row's tokens stand."""

    ids: Tensor
    types: Tensor
    mask: Tensor
    positions: Tensor
    rows: tuple[slice, ...]

    def inputs(self) -> dict[str, Tensor]:
        return {"input_ids": self.ids, "attention_mask": self.mask, "token_type_ids": self.types}

    def put(self, values: list[list[int]], filler: int = -100) -> Tensor:
        """Spread one list a row over the places of the row's tokens."""
        spread = torch.full(self.ids.shape, filler)
        for row, value in enumerate(values):
            spread[row, self.rows[row]] = torch.tensor(value)
        return spread


def make_batch(side: str, types: int = SIZES["type_vocab_size"]) -> Batch:
    lengths = (9, 9, 9) if side == "none" else LENGTHS
    time = 9 if side == "none" else TIME
    generator = torch.Generator().manual_seed(5)
    ids, kinds = torch.zeros(3, time, dtype=torch.int64), torch.zeros(3, time, dtype=torch.int64)
    mask, positions = torch.zeros(3, time, dtype=torch.int64), torch.zeros(3, time, dtype=torch.int64)
    rows = []
    for row, length in enumerate(lengths):
        place = slice(time - length, time) if side == "left" else slice(0, length)
        ids[row, place] = torch.randint(1, SIZES["vocab_size"], (9,), generator=generator)[:length]
        kinds[row, place] = torch.randint(0, types, (9,), generator=generator)[:length]
        mask[row, place] = 1
        positions[row, place] = torch.arange(length)
        rows.append(place)
    return Batch(ids, kinds, mask, positions, tuple(rows))


def ask(oracle: nn.Module, batch: Batch, **labels: Tensor) -> Any:
    with torch.no_grad():
        return oracle(**batch.inputs(), position_ids=batch.positions, **labels)


def ask_zoo(folder: Path, batch: Batch, labels: Tensor | None = None, **options: Any) -> Any:
    with torch.no_grad():
        return zoo.load(str(folder), **options)(**batch.inputs(), labels=labels)


def close(found: Tensor, expected: Tensor, mask: Tensor | None = None) -> None:
    """Compare elementwise, everywhere or where a token is attended to."""
    assert found.shape == expected.shape
    where = ... if mask is None else mask.bool()
    torch.testing.assert_close(found[where], expected[where], atol=1e-5, rtol=0)


def unpadded(oracle: nn.Module, batch: Batch, name: str) -> Tensor:
    """transformers pools at index 0, so its pooled answers count row by row, each without padding."""
    answers = []
    for row, place in enumerate(batch.rows):
        with torch.no_grad():
            output = oracle(input_ids=batch.ids[row : row + 1, place], token_type_ids=batch.types[row : row + 1, place])
        answers.append(output[name][0])
    return torch.stack(answers)


@pytest.mark.parametrize("side", SIDES)
def test_the_backbone_with_a_pooler_agrees(tmp_path: Path, side: str) -> None:
    oracle, batch = write_checkpoint(tmp_path), make_batch(side)
    found = ask_zoo(tmp_path, batch)
    close(found.last_hidden_state, ask(oracle, batch).last_hidden_state, batch.mask)
    close(found.pooler_output, unpadded(oracle, batch, "pooler_output"))


@pytest.mark.parametrize("side", SIDES)
def test_the_backbone_without_a_pooler_agrees(tmp_path: Path, side: str) -> None:
    oracle, batch = write_checkpoint(tmp_path, pooler=False), make_batch(side)
    found = ask_zoo(tmp_path, batch)
    close(found.last_hidden_state, ask(oracle, batch).last_hidden_state, batch.mask)
    assert found.pooler_output is None


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("tied", [True, False])
def test_the_masked_language_model_agrees(tmp_path: Path, side: str, tied: bool) -> None:
    oracle, batch = write_checkpoint(tmp_path, "BertForMaskedLM", tie_word_embeddings=tied), make_batch(side)
    labels = batch.put([[-100, 7, -100, 31, 52, 1, 2, 3, 4][: place.stop - place.start] for place in batch.rows])
    expected, found = ask(oracle, batch, labels=labels), ask_zoo(tmp_path, batch, labels)
    assert found.logits.shape == (3, batch.ids.shape[1], 53)
    close(found.logits, expected.logits, batch.mask)
    close(found.loss, expected.loss)


@pytest.mark.parametrize("side", SIDES)
def test_the_pretraining_model_agrees_on_masked_tokens(tmp_path: Path, side: str) -> None:
    oracle, batch = write_checkpoint(tmp_path, "BertForPreTraining"), make_batch(side)
    labels = batch.put([list(range(1, place.stop - place.start + 1)) for place in batch.rows])
    expected, found = ask(oracle, batch).prediction_logits, ask_zoo(tmp_path, batch, labels)
    close(found.logits, expected, batch.mask)
    close(found.loss, F.cross_entropy(expected[batch.mask.bool()], labels[batch.mask.bool()]))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        (label_keys(), torch.tensor([4, 0, 2])),
        (
            label_keys() | {"problem_type": "multi_label_classification"},
            torch.tensor([[0.0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 0, 0, 1, 0]]),
        ),
        ({"num_labels": 1}, torch.tensor([0.5, -1.25, 3.0])),
        (label_keys(LABELS[:1]) | {"problem_type": "regression"}, torch.tensor([0.5, -1.25, 3.0])),
    ],
    ids=["single label", "several labels", "regression by number of labels", "regression by name"],
)
def test_the_text_classifier_agrees(tmp_path: Path, side: str, settings: dict[str, Any], labels: Tensor) -> None:
    oracle, batch = write_checkpoint(tmp_path, "BertForSequenceClassification", **settings), make_batch(side)
    found = ask_zoo(tmp_path, batch, labels)
    close(found.logits, unpadded(oracle, batch, "logits"))
    right = make_batch("none" if side == "none" else "right")
    close(found.loss, ask(oracle, right, labels=labels).loss)


@pytest.mark.parametrize("side", SIDES)
def test_the_token_classifier_agrees(tmp_path: Path, side: str) -> None:
    oracle, batch = write_checkpoint(tmp_path, "BertForTokenClassification", **label_keys()), make_batch(side)
    labels = batch.put([[-100, 4, 3, -100, 0, 1, 2, 3, 4][: place.stop - place.start] for place in batch.rows])
    expected, found = ask(oracle, batch, labels=labels), ask_zoo(tmp_path, batch, labels)
    assert found.logits.shape == (3, batch.ids.shape[1], 5)
    close(found.logits, expected.logits, batch.mask)
    close(found.loss, expected.loss)


@pytest.mark.parametrize("side", SIDES)
def test_the_span_classifier_agrees(tmp_path: Path, side: str) -> None:
    oracle, batch = write_checkpoint(tmp_path, "BertForQuestionAnswering"), make_batch(side)
    starts = torch.tensor([place.start + 1 for place in batch.rows])
    ends = torch.tensor([place.stop - 1 for place in batch.rows])
    expected = ask(oracle, batch)
    found = ask_zoo(tmp_path, batch, torch.stack([starts, ends], -1))
    close(found.start_logits, expected.start_logits, batch.mask)
    close(found.end_logits, expected.end_logits, batch.mask)
    if side != "left":  # the loss counts padding too, so here both number its positions as they are used to
        with torch.no_grad():
            exact = oracle(**batch.inputs(), start_positions=starts, end_positions=ends).loss
        close(found.loss, exact)


@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.int64, torch.float32])
def test_any_dtype_of_mask_means_the_same(tmp_path: Path, mask_dtype: torch.dtype) -> None:
    oracle, batch = write_checkpoint(tmp_path), make_batch("left")
    model = zoo.load(str(tmp_path))
    with torch.no_grad():
        found = model(batch.ids, batch.mask.to(mask_dtype), batch.types)
    close(found.last_hidden_state, ask(oracle, batch).last_hidden_state, batch.mask)


def test_without_mask_and_types_everything_is_attended_and_of_type_zero(tmp_path: Path) -> None:
    oracle, batch = write_checkpoint(tmp_path), make_batch("none")
    with torch.no_grad():
        found, expected = zoo.load(str(tmp_path))(batch.ids), oracle(batch.ids)
    close(found.last_hidden_state, expected.last_hidden_state)
    close(found.pooler_output, expected.pooler_output)


@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "tanh"])
def test_every_activation_agrees_in_layers_and_head(tmp_path: Path, hidden_act: str) -> None:
    oracle, batch = write_checkpoint(tmp_path, "BertForMaskedLM", hidden_act=hidden_act), make_batch("right")
    close(ask_zoo(tmp_path, batch).logits, ask(oracle, batch).logits, batch.mask)


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_norm_eps": 0.1},
        {"type_vocab_size": 1},
        {"num_attention_heads": 3},
        {"num_hidden_layers": 11},
        {"classifier_dropout": 0.4},
        {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    ],
    ids=lambda changes: ", ".join(changes),
)
def test_every_setting_agrees(tmp_path: Path, changes: dict[str, Any]) -> None:
    oracle = write_checkpoint(tmp_path, "BertForMaskedLM", **changes)
    batch = make_batch("right", types=oracle.config.type_vocab_size)
    close(ask_zoo(tmp_path, batch).logits, ask(oracle, batch).logits, batch.mask)


@pytest.mark.parametrize("class_name", ["BertForSequenceClassification", "BertForTokenClassification"])
@pytest.mark.parametrize(("classifier_dropout", "expected"), [(0.4, 0.4), (0.0, 0.0), (None, 0.25)])
def test_dropout_before_the_classifier_is_the_configs(
    tmp_path: Path, class_name: str, classifier_dropout: float | None, expected: float
) -> None:
    write_checkpoint(tmp_path, class_name, classifier_dropout=classifier_dropout, hidden_dropout_prob=0.25)
    head = zoo.load(str(tmp_path)).head
    assert head is not None
    assert [module.p for module in head.modules() if isinstance(module, nn.Dropout) and module.p] == [expected] * bool(
        expected
    )


def test_dropout_inside_the_layers_is_the_configs(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, hidden_dropout_prob=0.25, attention_probs_dropout_prob=0.125)
    modules = list(zoo.load(str(tmp_path)).backbone.modules())
    assert [module.p for module in modules if isinstance(module, nn.Dropout)] == [0.25] * 3  # embeddings, two layers
    assert [module.dropout for module in modules if isinstance(module, Attention)] == [0.125] * 2


@pytest.mark.parametrize("side", SIDES)
def test_bfloat16_agrees_within_its_precision(tmp_path: Path, side: str) -> None:
    write_checkpoint(tmp_path, "BertForMaskedLM")
    oracle = transformers.BertForMaskedLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    batch = make_batch(side)
    expected = ask(oracle, batch).logits[batch.mask.bool()]
    found = ask_zoo(tmp_path, batch, dtype="bfloat16").logits[batch.mask.bool()]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


def test_the_spelling_gamma_and_beta_is_read(tmp_path: Path) -> None:
    oracle, batch = write_checkpoint(tmp_path, "BertForMaskedLM"), make_batch("right")
    spelled = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in read_tensors(tmp_path).items()
    }
    assert sum(name.endswith(("gamma", "beta")) for name in spelled) == 12
    write_tensors(tmp_path, spelled)
    close(ask_zoo(tmp_path, batch).logits, ask(oracle, batch).logits, batch.mask)


def test_shards_written_by_transformers_are_read(tmp_path: Path) -> None:
    oracle, batch = write_checkpoint(tmp_path, "BertForMaskedLM", max_shard_size="15KB"), make_batch("right")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    assert not (tmp_path / "model.safetensors").exists()
    close(ask_zoo(tmp_path, batch).logits, ask(oracle, batch).logits, batch.mask)


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_the_backbone_is_read_with_and_without_its_prefix(tmp_path: Path, prefix: str) -> None:
    oracle, batch = write_checkpoint(tmp_path), make_batch("right")
    write_tensors(tmp_path, {prefix + name: tensor for name, tensor in read_tensors(tmp_path).items()})
    found = ask_zoo(tmp_path, batch)
    close(found.last_hidden_state, ask(oracle, batch).last_hidden_state, batch.mask)
    close(found.pooler_output, ask(oracle, batch).pooler_output)


def test_gradients_agree(tmp_path: Path) -> None:
    oracle, batch = write_checkpoint(tmp_path, "BertForMaskedLM"), make_batch("right")
    labels = batch.put([list(range(1, place.stop - place.start + 1)) for place in batch.rows])
    oracle(**batch.inputs(), labels=labels).loss.backward()
    model = zoo.load(str(tmp_path))
    model(**batch.inputs(), labels=labels).loss.backward()
    expected = oracle.bert.embeddings.word_embeddings.weight.grad
    close(model.backbone.get_parameter("embeddings.tokens.weight").grad[1:], expected[1:])  # 0 is padding there
    close(
        model.backbone.get_parameter("layers.1.attention.key.weight").grad,
        oracle.bert.encoder.layer[1].attention.self.key.weight.grad,
    )
