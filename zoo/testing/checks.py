"""The checks themselves: pytest collects them, with `zoo_arch` and `zoo_task` set by zoo.testing.plugin.

What holds for every architecture: its config round-trips, its layout names every parameter once and both ways, it is
built without memory and saved and loaded without loss, padding and neighbours change nothing, and every parameter learns.
"""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.architecture import FEATURES, Architecture
from zoo.checkpoint.fitting import written
from zoo.checkpoint.reader import open_weights
from zoo.errors import UnknownConfigKey
from zoo.host import get_architecture
from zoo.layers.attention import recorded_attention
from zoo.loading import assemble, choose_settings, load
from zoo.model import Model
from zoo.tasks import get_task
from zoo.testing.models import LENGTHS, answers, decode, row_answers, toy_batch, toy_model, toy_spec

TOLERANCE = 1e-5


@pytest.fixture
def architecture(zoo_arch: str) -> Architecture:
    """The architecture under test."""
    return get_architecture(zoo_arch)


@pytest.fixture
def model(zoo_arch: str, zoo_task: str) -> Model:
    """A small model of it, for one of its tasks."""
    return toy_model(zoo_arch, zoo_task)


@pytest.fixture
def writer(model: Model) -> Model:
    """A small model that writes: checks that ask for it are not run on those that only read."""
    return model


def close(found: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    """Compare elementwise."""
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def test_a_spec_reads_back_what_it_writes(zoo_arch: str, architecture: Architecture) -> None:
    spec = toy_spec(zoo_arch)
    assert architecture.spec.from_config(spec.to_config()) == spec
    assert architecture.spec.from_config(spec.to_config(spec.to_config())) == spec


def test_a_spec_knows_every_key_or_refuses_it(zoo_arch: str, architecture: Architecture) -> None:
    with pytest.raises(UnknownConfigKey):
        architecture.spec.from_config({**toy_spec(zoo_arch).to_config(), "a_key_that_nobody_reads": 1})


def test_every_field_of_a_spec_says_what_it_means(architecture: Architecture) -> None:
    silent = [name for name, field in architecture.spec.model_fields.items() if not field.description]
    assert silent == []


def test_the_module_is_built_without_memory(zoo_arch: str, zoo_task: str, architecture: Architecture) -> None:
    head = architecture.head(zoo_task)
    built = assemble(architecture, toy_spec(zoo_arch), head, choose_settings(head, {}, None))
    tensors = [*built.named_parameters(), *built.named_buffers()]
    assert [name for name, tensor in tensors if not tensor.is_meta] == []


def test_every_parameter_has_a_name_on_the_hub_and_back(model: Model) -> None:
    assert model.fit is not None
    tensors = written(model, model.fit)
    named = dict(model.named_parameters(remove_duplicate=False))
    filled = [name for row in model.fit.fresh_rows for name in row.zoo]
    assert sorted(filled) == sorted(name for name, _ in model.named_parameters())
    for row in model.fit.fresh_rows:
        back = row.read([tensors[hub] for hub in row.hub], [named[name].shape for name in row.zoo])
        for name, tensor in zip(row.zoo, back, strict=True):
            assert torch.equal(tensor, named[name])


def test_saving_and_loading_changes_nothing(model: Model, zoo_task: str, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = load(tmp_path, device="cpu")
    assert again.task == zoo_task
    assert again.fresh_parameters == ()
    pairs = zip(model.named_parameters(), again.named_parameters(), strict=True)
    assert all(name == other and torch.equal(one, two) for (name, one), (other, two) in pairs)
    batch = toy_batch(model.spec, "right").inputs()
    found, expected = answers(again, **batch), answers(model, **batch)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_is_tied_stays_one_parameter(model: Model, tmp_path: Path) -> None:
    def groups(of: Model) -> set[tuple[str, ...]]:
        found: dict[int, list[str]] = {}
        for name, parameter in of.named_parameters(remove_duplicate=False):
            found.setdefault(id(parameter), []).append(name)
        return {tuple(names) for names in found.values()}

    model.save(tmp_path)
    assert groups(load(tmp_path, device="cpu")) == groups(model)


def test_an_output_over_the_vocabulary_is_tied_as_the_spec_says(model: Model) -> None:
    named = list(model.named_parameters(remove_duplicate=False))
    shared = {id(parameter) for name, parameter in named if name.startswith("backbone.")}
    outputs = [p for name, p in named if name.startswith("head.") and p.dim() == 2 and len(p) == model.spec.vocab_size]
    assert all((id(output) in shared) is model.spec.tie_word_embeddings for output in outputs)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_and_neighbours_change_nothing(model: Model, side: str) -> None:
    batch = toy_batch(model.spec, side)
    together = answers(model, **batch.inputs())
    for row, place in enumerate(batch.places):
        alone = answers(model, input_ids=batch.ids[row : row + 1, place])
        expected = row_answers(alone, 0, slice(0, LENGTHS[row]))
        for name, value in row_answers(together, row, place).items():
            close(value, expected[name])


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_stands_in_the_padding_does_not_matter(model: Model, side: str) -> None:
    batch = toy_batch(model.spec, side)
    other = torch.where(batch.mask, batch.ids, 7)
    expected, found = answers(model, **batch.inputs()), answers(model, input_ids=other, attention_mask=batch.mask)
    for row, place in enumerate(batch.places):
        for name, value in row_answers(found, row, place).items():
            close(value, row_answers(expected, row, place)[name])


def test_a_mask_of_ones_is_no_mask(model: Model) -> None:
    ids = toy_batch(model.spec, "right").ids
    masked, unmasked = answers(model, input_ids=ids, attention_mask=torch.ones_like(ids)), answers(model, input_ids=ids)
    for name, value in masked.items():
        close(value, unmasked[name])


def test_transformers_reads_what_is_saved_and_agrees(
    model: Model, zoo_task: str, architecture: Architecture, tmp_path: Path
) -> None:
    oracles = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
    name = architecture.head(zoo_task).classes[0]
    if not hasattr(oracles, name):
        pytest.skip(f"transformers has no {name} to compare with")
    model.save(tmp_path)
    oracle, report = getattr(oracles, name).from_pretrained(tmp_path, output_loading_info=True)
    missing = [key for key in report["missing_keys"] if not architecture.layout.ignores(architecture.layout.bare(key))]
    assert {"missing_keys": sorted(missing), "unexpected_keys": sorted(report["unexpected_keys"])} == {
        "missing_keys": [],
        "unexpected_keys": [],
    }
    batch = toy_batch(model.spec, "right")
    for row, place in enumerate(batch.places):
        ids = batch.ids[row : row + 1, place]
        beside = {}
        if get_task(zoo_task).decodes_labels:
            beside = {"labels": ids}  # both shift them
        elif zoo_task == FEATURES and "decoder_input_ids" in inspect.signature(model.backbone.forward).parameters:
            beside = {"decoder_input_ids": ids}  # which some would not derive here
        with torch.no_grad():
            expected = oracle.eval()(ids, **beside)
        found = answers(model, input_ids=ids, **beside)
        compared = [field for field in found if getattr(expected, field, None) is not None]
        assert compared
        for field in compared:
            close(found[field], getattr(expected, field))


def test_transformers_saves_tensors_of_the_same_names(
    model: Model, zoo_task: str, architecture: Architecture, tmp_path: Path
) -> None:
    oracles = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
    kind = getattr(oracles, architecture.head(zoo_task).classes[0], None)
    if kind is None:
        pytest.skip("transformers has no class to compare with")
    model.save(tmp_path / "ours")
    kind(kind.config_class.from_pretrained(tmp_path / "ours")).save_pretrained(tmp_path / "theirs")
    ours, theirs = (set(open_weights(tmp_path / name).headers) for name in ("ours", "theirs"))
    assert ours == {name for name in theirs if not architecture.layout.ignores(architecture.layout.bare(name))}


def test_gradients_reach_every_parameter(model: Model) -> None:
    batch = toy_batch(model.spec, "right")
    output = model(**batch.inputs())
    values = [value for name, value in vars(output).items() if value is not None]
    sum(value.float().square().sum() for value in values).backward()
    learning = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    assert [name for name, p in learning if p.grad is None or not bool(p.grad.abs().sum() > 0)] == []


def test_bfloat16_gives_nearly_the_same(model: Model) -> None:
    batch = toy_batch(model.spec, "right")
    expected = answers(model, **batch.inputs())
    found = answers(model.to(torch.bfloat16), **batch.inputs())
    for row, place in enumerate(batch.places):
        exact = row_answers(expected, row, place)
        for name, value in row_answers(found, row, place).items():
            assert value.dtype == torch.bfloat16
            close(value.float(), exact[name], tolerance=0.15 * float(exact[name].abs().max()))


def test_it_compiles_as_one_graph(model: Model) -> None:
    batch = toy_batch(model.spec, "right").inputs()
    expected = answers(model, **batch)
    torch.compiler.reset()  # or the models before this one count as recompilations of it
    compiled: Any = torch.compile(model, fullgraph=True, backend="aot_eager")
    for name, value in answers(compiled, **batch).items():
        close(value, expected[name])


def test_attention_is_shared_out_among_what_may_be_seen(model: Model) -> None:
    batch = toy_batch(model.spec, "right")
    with torch.no_grad(), recorded_attention(model.backbone) as recorded:
        model.backbone(**batch.inputs())
    assert recorded
    for weights in recorded:
        close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        for row, place in enumerate(batch.places):
            assert bool((weights[row, :, place][..., ~batch.mask[row]] == 0).all())


def test_no_token_of_a_decoder_sees_a_later_one(writer: Model) -> None:
    model = writer
    ids = toy_batch(model.spec, "right").ids[:1, : LENGTHS[0]]
    changed = ids.clone()
    changed[0, 5:] = torch.where(ids[0, 5:] == 2, 3, 2)
    with torch.no_grad():
        found, expected = decode(model, changed), decode(model, ids)
    assert torch.equal(found[:, :5], expected[:, :5])
    assert bool((found[:, 5:] != expected[:, 5:]).any(-1).all())


@pytest.mark.parametrize("side", ["left", "none"])
def test_cached_is_as_uncached(writer: Model, side: str) -> None:
    model = writer
    batch = toy_batch(model.spec, "left")
    ids, mask = (batch.ids, batch.mask) if side == "left" else (batch.ids[:, -4:], None)
    time = ids.shape[1]
    backbone: Any = model.backbone
    cache = backbone.new_cache(time + 2)
    parts = []
    with torch.no_grad():
        for start, stop in ((0, time - 3), (time - 3, time - 1), (time - 1, time)):
            seen = None if mask is None else mask[:, :stop]
            parts.append(decode(model, ids[:, start:stop], seen, cache))
        expected = decode(model, ids, mask)
    where = torch.ones(ids.shape, dtype=torch.bool) if mask is None else mask
    close(torch.cat(parts, 1)[where], expected[where])
