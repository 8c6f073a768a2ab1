"""Model: the forward pass, its attention, and that padding and batching change nothing."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import zoo
from tests.checkpoints import LABELS, SIZES, label_keys, make_oracle, write_checkpoint, write_tokenizer
from zoo.errors import InvalidInput, TokenizerMissing

TEXT = "the cat sat in paris !"  # 6 tokens, and two special ones


def refused(call: Any, *arguments: Any, error: type[Exception] = InvalidInput, **options: Any) -> str:
    with pytest.raises(error) as raised:
        call(*arguments, **options)
    return str(raised.value)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> zoo.Model:
    """A token classifier with its tokenizer; no test changes it."""
    folder = tmp_path_factory.mktemp("classifier")
    write_checkpoint(folder, "BertForTokenClassification", **label_keys())
    write_tokenizer(folder)
    return zoo.load(str(folder))


def test_a_model_tells_what_it_is(classifier: zoo.Model) -> None:
    assert isinstance(classifier, torch.nn.Module)
    assert (classifier.architecture.name, classifier.task, classifier.labels) == (
        "bert",
        "token-classification",
        LABELS,
    )
    assert (classifier.hidden_size, classifier.max_length, classifier.pad_token_id) == (24, 19, 0)
    assert classifier.spec == zoo.make_spec("bert", **SIZES)


@pytest.mark.parametrize(("model_max_length", "expected"), [(None, 19), (13, 13), (512, 19), (1e30, 19)])
def test_the_longest_input_is_what_positions_and_tokenizer_allow(
    tmp_path: Path, model_max_length: Any, expected: int
) -> None:
    write_checkpoint(tmp_path)
    write_tokenizer(tmp_path, model_max_length=model_max_length)
    model = zoo.load(str(tmp_path))
    assert model.max_length == expected
    assert [hidden.shape for hidden in model.predict(["cat " * 40])] == [(expected, 24)]


def test_an_input_that_is_too_long_is_refused(classifier: zoo.Model) -> None:
    message = refused(classifier, torch.ones(2, 20, dtype=torch.int64))
    assert message == "The input has 20 tokens; the model takes at most 19"
    assert classifier(torch.ones(2, 19, dtype=torch.int64)).logits.shape == (2, 19, 5)


@pytest.mark.parametrize(
    "call",
    [lambda model: model.predict([TEXT]), lambda model: model.embed([TEXT]), lambda model: model.attention(TEXT)],
)
def test_without_a_tokenizer_texts_are_refused(tmp_path: Path, call: Any) -> None:
    write_checkpoint(tmp_path)
    assert refused(call, zoo.load(str(tmp_path)), error=TokenizerMissing) == (
        f"The checkpoint '{tmp_path}' has neither tokenizer.json nor a vocabulary, so texts cannot be turned into ids. "
        "Call the model with input_ids, or add a tokenizer.json to the checkpoint"
    )


@pytest.mark.parametrize("training", [True, False])
def test_predicting_leaves_the_mode_as_it_was_and_uses_no_dropout(classifier: zoo.Model, training: bool) -> None:
    expected = classifier.predict([TEXT])
    classifier.train(training)
    try:
        assert classifier.predict([TEXT]) == expected
        assert classifier.attention(TEXT).equal(classifier.attention(TEXT))
        assert classifier.training is training
    finally:
        classifier.eval()


# --- padding and batching ---------------------------------------------------------------------------------------------

HEADS = {
    "BertModel": ("last_hidden_state", "pooler_output"),
    "BertForMaskedLM": ("logits",),
    "BertForSequenceClassification": ("logits",),
    "BertForTokenClassification": ("logits",),
    "BertForQuestionAnswering": ("start_logits", "end_logits"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, zoo.Model]:
    """A model with each head."""
    loaded = {}
    for name in HEADS:
        folder = tmp_path_factory.mktemp(name)
        make_oracle(name).save_pretrained(folder)
        loaded[name] = zoo.load(str(folder))
    return loaded


def answers(model: zoo.Model, ids: Tensor, types: Tensor, mask: Tensor | None, place: slice, row: int) -> list[Tensor]:
    with torch.no_grad():
        output = model(ids, mask, types)
    found = [getattr(output, name)[row] for name in HEADS[model.architecture.head(model.task).classes[0]]]
    return [tensor[place] if len(tensor) == ids.shape[1] else tensor for tensor in found]


@settings(max_examples=30, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(HEADS)), left=st.integers(0, 4), right=st.integers(0, 4))
def test_padding_and_neighbours_do_not_change_a_rows_result(
    models: dict[str, zoo.Model], data: st.DataObject, name: str, left: int, right: int
) -> None:
    tokens = data.draw(st.lists(st.integers(1, 52), min_size=6, max_size=11), label="tokens")
    kinds = data.draw(st.lists(st.integers(0, 2), min_size=len(tokens), max_size=len(tokens)), label="types")
    neighbours = data.draw(st.integers(0, 3), label="neighbours")
    row = data.draw(st.integers(0, neighbours), label="row")
    seed = data.draw(st.integers(0, 99), label="what fills neighbours and padding")
    alone = answers(models[name], torch.tensor([tokens]), torch.tensor([kinds]), None, slice(None), 0)

    time, generator = left + len(tokens) + right, torch.Generator().manual_seed(seed)
    place = slice(left, left + len(tokens))
    ids = torch.randint(0, 53, (neighbours + 1, time), generator=generator)
    types = torch.randint(0, 3, (neighbours + 1, time), generator=generator)
    mask = torch.ones(neighbours + 1, time, dtype=torch.bool)
    ids[row, place], types[row, place] = torch.tensor(tokens), torch.tensor(kinds)
    mask[row] = False
    mask[row, place] = True
    together = answers(models[name], ids, types, mask, place, row)
    for found, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


# --- attention --------------------------------------------------------------------------------------------------------


@pytest.fixture
def attending(tmp_path: Path) -> tuple[zoo.Model, Tensor]:
    """A model with three layers, and transformers' own weights over TEXT: (layers, heads, time, time)."""
    oracle = write_checkpoint(tmp_path, num_hidden_layers=3, attn_implementation="eager")
    write_tokenizer(tmp_path)
    model = zoo.load(str(tmp_path))
    assert model.tokenizer is not None
    ids = torch.tensor([model.tokenizer.encode([TEXT])[0].ids])
    assert ids.shape == (1, 8)
    with torch.no_grad():
        weights = oracle(ids, output_attentions=True).attentions
    return model, torch.cat(list(weights))


def test_attention_is_that_of_transformers_and_sums_to_one(attending: tuple[zoo.Model, Tensor]) -> None:
    model, expected = attending
    found = model.attention(TEXT)
    assert found.shape == (3, 4, 8, 8)
    assert (found.dtype, found.device.type) == (torch.float32, "cpu")
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.sum(-1), torch.ones(3, 4, 8), atol=1e-6, rtol=0)


@pytest.mark.parametrize("layers", [[1], [2, 0], [-1], (0, 0), range(2), []])
def test_attention_of_chosen_layers_comes_in_the_order_asked_for(
    attending: tuple[zoo.Model, Tensor], layers: Any
) -> None:
    model, expected = attending
    torch.testing.assert_close(model.attention(TEXT, layers=layers), expected[list(layers)], atol=1e-6, rtol=0)


@pytest.mark.parametrize("layer", [3, -4])
def test_attention_of_a_layer_that_is_not_there_is_refused(attending: tuple[zoo.Model, Tensor], layer: int) -> None:
    message = refused(attending[0].attention, TEXT, layers=[0, layer])
    assert message == f"There is no layer {layer}; the model has 3, counted from 0"


def test_attention_over_no_text_is_refused(attending: tuple[zoo.Model, Tensor]) -> None:
    assert refused(attending[0].attention, [TEXT]) == f"Input 0 is ['{TEXT}']; a text is expected"


def test_watching_attention_changes_no_result_and_leaves_nothing_behind(attending: tuple[zoo.Model, Tensor]) -> None:
    model, _ = attending
    before = model.predict([TEXT])[0]
    model.attention(TEXT)
    assert model.predict([TEXT])[0].equal(before)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_attention_in_bfloat16_is_given_in_float32(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    write_tokenizer(tmp_path)
    exact = zoo.load(str(tmp_path)).attention(TEXT)
    found = zoo.load(str(tmp_path), dtype="bfloat16").attention(TEXT)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0)
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 4, 8), atol=1e-6, rtol=0)


def test_a_copy_of_a_model_predicts_the_same_and_shares_nothing(classifier: zoo.Model) -> None:
    copied = copy.deepcopy(classifier)
    assert copied.predict([TEXT]) == classifier.predict([TEXT])
    pairs = zip(copied.parameters(), classifier.parameters(), strict=True)
    assert all(ours.data_ptr() != theirs.data_ptr() for ours, theirs in pairs)
