"""Every architecture, head and variant against transformers: the same numbers from the same checkpoint, and it back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import zoo
from tests.checkpoints import assert_same_bytes, read_config, read_tensors
from tests.interop import oracles
from tests.interop.oracles import Subject

WITHOUT_ORACLE = {"transformer"}  # the first of them all; transformers has none like it
CASES = oracles.gather_cases()
HEADS = [subject for case in CASES for subject in oracles.heads_of(case)]
PROBLEMS = [subject for case in CASES for subject in oracles.problems_of(case)]
VARIANTS = [subject for case in CASES for subject in oracles.variants_of(case)]


def has_loss(subject: Subject) -> bool:
    """Whether transformers gives a loss for labels alone; in pretraining it is the sum of two."""
    without = ("feature-extraction", "question-answering")
    return subject.task not in without and not subject.class_name.endswith("ForPreTraining")


@dataclass(frozen=True)
class Saved:
    """A checkpoint that transformers saved, the model it saved, and Zoo's from the folder."""

    subject: Subject
    folder: Path
    oracle: Any
    model: zoo.Model


@pytest.fixture(scope="module")
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """The checkpoint of a subject, made once for all tests that ask for it."""
    subject = request.param
    folder = tmp_path_factory.mktemp("checkpoint")
    oracle = oracles.write(folder, subject)
    return Saved(subject, folder, oracle, zoo.load(str(folder), device="cpu"))


def over(subjects: list[Subject]) -> pytest.MarkDecorator:
    """Run a test over subjects."""
    return pytest.mark.parametrize("saved", subjects, ids=str, indirect=True)


@pytest.mark.parametrize("side", oracles.SIDES)
@over([*HEADS, *PROBLEMS, *VARIANTS])
def test_every_row_is_as_transformers_has_it_alone(saved: Saved, side: str) -> None:
    subject = saved.subject
    assert saved.model.task == subject.task
    assert saved.model.fresh_parameters == ()
    oracles.compare(saved.model, saved.oracle, subject, side)


@pytest.mark.parametrize("side", oracles.SIDES)
@over([subject for subject in [*HEADS, *PROBLEMS] if has_loss(subject)])
def test_the_loss_agrees_wherever_the_padding_is(saved: Saved, side: str) -> None:
    subject, config = saved.subject, saved.oracle.config
    # transformers is asked with padding on the right, where it numbers positions as it is used to.
    batch, padded = (oracles.make_batch(subject, config, at) for at in (side, "none" if side == "none" else "right"))
    labels, expected_labels = oracles.make_labels(subject, config, batch), oracles.make_labels(subject, config, padded)
    with torch.no_grad():
        expected = saved.oracle(**without_decoder(padded.inputs()), labels=expected_labels).loss
        found = saved.model(**without_decoder(batch.inputs()), labels=labels).loss
    oracles.close(found, expected)


@over([subject for subject in HEADS if subject.task == "question-answering"])
def test_the_loss_of_spans_agrees(saved: Saved) -> None:
    # Without padding: the loss counts that too, and its scores are nobody's business.
    batch = oracles.make_batch(saved.subject, saved.oracle.config, "none")
    spans = oracles.make_spans(batch)
    with torch.no_grad():
        expected = saved.oracle(**batch.inputs(), start_positions=spans[:, 0], end_positions=spans[:, 1]).loss
        found = saved.model(**batch.inputs(), labels=spans).loss
    oracles.close(found, expected)


@over([subject for subject in HEADS if subject.title == subject.case.variant_task])
def test_gradients_agree(saved: Saved) -> None:
    subject, config = saved.subject, saved.oracle.config
    batch = oracles.make_batch(subject, config, "right")
    labels = oracles.make_labels(subject, config, batch)
    expected, found = (
        gradients(model, model(**without_decoder(batch.inputs()), labels=labels).loss)
        for model in (saved.oracle, saved.model)
    )
    assert saved.model.fit is not None
    files, compared = saved.model.fit.files, 0
    for row in saved.model.fit.rows:
        if not set(row.zoo) <= found.keys():
            continue
        for name, gradient in zip(row.hub, row.write([found[name] for name in row.zoo]), strict=True):
            kept = torch.ones(len(gradient), dtype=torch.bool)
            if len(gradient) == config.vocab_size and config.pad_token_id is not None:
                kept[config.pad_token_id] = False  # transformers holds it fast
            if files[name] in expected:
                oracles.close(gradient[kept], expected[files[name]][kept])
                compared += 1
    assert compared >= len(files) - 1  # one output layer has another name in memory, one bias learns nothing there


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    """Give the gradient of every parameter that learns, by name; 0 where the loss does not depend on it."""
    named = {name: p for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    pairs = zip(named.items(), found, strict=True)
    return {name: torch.zeros_like(p) if gradient is None else gradient for (name, p), gradient in pairs}


@over(HEADS)
def test_bfloat16_agrees_within_its_precision_and_is_written_back(saved: Saved, tmp_path: Path) -> None:
    subject, source, target = saved.subject, tmp_path / "source", tmp_path / "target"
    oracles.make_oracle(subject).to(torch.bfloat16).save_pretrained(source)
    oracle = oracles.reload(source, subject, dtype=torch.bfloat16)
    model = zoo.load(str(source), device="cpu")
    inputs = oracles.make_batch(subject, oracle.config, "none").row(0)
    found, expected = oracles.ask_zoo(model, inputs), oracles.ask(oracle, subject, inputs)
    oracles.compare_fields(set(found), set(expected))
    for name, value in expected.items():
        assert found[name].dtype == value.dtype == torch.bfloat16
        oracles.close(found[name].float(), value.float(), tolerance=1e-2 * float(value.abs().max()))
    model.save(target)
    assert_same_bytes(read_tensors(target), read_tensors(source))


@over([*HEADS, *PROBLEMS, *VARIANTS])
def test_load_and_save_gives_back_every_byte_for_transformers(saved: Saved, tmp_path: Path) -> None:
    saved.model.save(tmp_path)
    assert_same_bytes(read_tensors(tmp_path), read_tensors(saved.folder))
    assert read_config(tmp_path) == read_config(saved.folder)
    again = oracles.reload(tmp_path, saved.subject)
    assert_same_bytes(dict(again.state_dict()), dict(saved.oracle.state_dict()))


@pytest.mark.parametrize("name", [info.name for info in zoo.list_architectures() if info.name not in WITHOUT_ORACLE])
def test_every_head_of_every_architecture_is_compared(name: str) -> None:
    listed = [(subject.task, subject.class_name) for subject in HEADS if subject.case.architecture == name]
    heads = zoo.get_architecture(name).heads
    known = {(head.task, kind) for head in heads for kind in head.classes if hasattr(transformers, kind)}
    assert set(listed) == known


def test_every_architecture_is_compared_once() -> None:
    assert sorted(case.architecture for case in CASES) == sorted(
        info.name for info in zoo.list_architectures() if info.name not in WITHOUT_ORACLE
    )
    assert len({str(subject) for subject in [*HEADS, *PROBLEMS, *VARIANTS]}) == len([*HEADS, *PROBLEMS, *VARIANTS])


def without_decoder(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a decoder reads comes from the labels."""
    return {name: tensor for name, tensor in inputs.items() if not name.startswith("decoder_")}
