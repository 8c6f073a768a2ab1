"""Packing: full rows, nothing lost, and no text in a row that knows of another."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from tests.checkpoints import SIZES, write_checkpoint, write_tokenizer
from zoo.tasks import get_task
from zoo.tasks.base import Features, collate
from zoo.tasks.packing import encode_pieces, pack

COMMON = {
    "vocab_size": 53,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert": {**SIZES},
    "roberta": {**COMMON, "max_position_embeddings": 21, "type_vocab_size": 1, "pad_token_id": 1},
    "modernbert": {**COMMON, "max_position_embeddings": 19, "local_attention": 4},
    "gpt2": {"vocab_size": 53, "n_positions": 19, "n_embd": 24, "n_layer": 2, "n_head": 4},
    "llama": {**COMMON, "num_key_value_heads": 2, "max_position_embeddings": 19},
    "mistral": {**COMMON, "num_key_value_heads": 2, "max_position_embeddings": 19, "sliding_window": 3},
    "gemma2": {**COMMON, "num_key_value_heads": 2, "head_dim": 6, "max_position_embeddings": 19, "sliding_window": 3},
}


def make_pieces(lengths: list[int], seed: int = 1) -> list[Features]:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(5, 53, (length,), generator=generator).tolist() for length in lengths]
    return [Features(row, [0] * len(row), index, label=[-100, *row[1:]]) for index, row in enumerate(rows)]


def build(name: str) -> zoo.Model:
    encoders = ("bert", "roberta", "modernbert")
    spec = zoo.make_spec(name, **ARCHITECTURES[name])
    return zoo.build(spec, "fill-mask" if name in encoders else "text-generation", seed=4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_text_in_a_packed_row_is_read_as_if_it_stood_alone(name: str) -> None:
    """Elementwise, whatever the positions, windows and masks of the architecture; padding at the end included."""
    model, pieces = build(name), make_pieces([7, 5, 6, 4])
    packed = collate(pack(pieces, 19, model), 0, torch.device("cpu"))
    assert packed["documents"].tolist() == [[1] * 7 + [2] * 6 + [3] * 5, [1] * 4 + [0] * 14]
    with torch.no_grad():
        together = model(**packed).logits
        alone = [model(**collate([piece], 0, torch.device("cpu"))).logits[0] for piece in pieces]
    for row, start, piece in ((0, 0, 0), (0, 7, 2), (0, 13, 1), (1, 0, 3)):
        end = start + len(pieces[piece].ids)
        torch.testing.assert_close(together[row, start:end], alone[piece], atol=1e-5, rtol=0)


def test_a_packed_batch_has_the_loss_and_gradient_of_its_texts() -> None:
    model, pieces, task = build("gpt2"), make_pieces([7, 5, 6, 4]), get_task("text-generation")
    rows = pack(pieces, 19, model)
    gradients = []
    for features in (pieces, rows):
        inputs = collate(features, 0, torch.device("cpu"))
        labels = task.collate_labels(features, inputs["input_ids"].shape[1], model.settings)
        assert task.weight(labels) == 7 + 5 + 6 + 4 - 4
        model.zero_grad()
        model(**inputs, labels=labels).loss.backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4)


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 19), min_size=1, max_size=60))
def test_every_token_is_packed_once_in_rows_that_are_as_full_as_they_can_be(lengths: list[int]) -> None:
    pieces = make_pieces(lengths)
    rows = pack(pieces, 19, build("gpt2"))
    assert sorted(token for row in rows for token in row.ids) == sorted(token for p in pieces for token in p.ids)
    for row in rows:
        assert len(row.ids) == len(row.type_ids) == len(row.label) == len(row.documents or []) <= 19
    assert sum(len(row.ids) <= 9 for row in rows) <= 1  # two such would have gone into one
    by_text = {tuple(piece.ids): tuple(piece.label) for piece in pieces}
    for row in rows:
        for number in range(1, max(row.documents or [0]) + 1):
            of = [index for index, document in enumerate(row.documents or []) if document == number]
            assert by_text[tuple(row.ids[i] for i in of)] == tuple(row.label[i] for i in of)


def test_long_texts_go_on_in_further_pieces_and_nothing_is_lost(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForMaskedLM")
    write_tokenizer(tmp_path)
    model = zoo.load(str(tmp_path))
    assert model.tokenizer is not None
    text = " ".join(["the cat sat in paris and anna went home"] * 5)
    pieces, length = encode_pieces([text, "", "a dog"], model, model.max_length)
    assert length == 19
    assert [(piece.source, len(piece.ids)) for piece in pieces] == [(0, 19), (0, 19), (0, 13), (1, 2), (2, 4)]
    whole = model.tokenizer.encode([text])[0].ids
    assert [token for piece in pieces[:3] for token in piece.ids[1:-1]] == whole[1:-1]
    assert all(piece.ids[0] == 2 and piece.ids[-1] == 3 for piece in pieces)
    assert encode_pieces([text], model, 11)[1] == 11


def test_rows_without_other_texts_need_no_mask_of_their_own() -> None:
    pieces = make_pieces([7, 5])
    assert "documents" not in collate(pieces, 0, torch.device("cpu"))


def test_a_backbone_that_cannot_keep_texts_apart_reads_one_a_row() -> None:
    model = build("bert")
    model._reads = frozenset({"input_ids", "attention_mask"})
    assert not model.keeps_documents_apart
    pieces = make_pieces([3, 4])
    assert pack(pieces, 19, model) == pieces


def test_an_encoder_decoder_takes_no_packed_rows() -> None:
    spec = zoo.make_spec("bart", vocab_size=53, d_model=24, encoder_layers=2, decoder_layers=2)
    assert not zoo.build(spec, "text2text-generation").keeps_documents_apart
