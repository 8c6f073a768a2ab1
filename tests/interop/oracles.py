"""transformers as the oracle: small random checkpoints of every architecture, and what they answer."""

import importlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

import zoo
from tests.checkpoints import LABELS, label_keys
from tests.interop.case import Case

LENGTHS, TIME = (9, 4, 7), 11  # of rows, and what they are padded to
DECODER_LENGTHS, DECODER_TIME = (5, 8, 3), 10
SIDES = ("none", "right", "left")
FIELDS = ("last_hidden_state", "pooler_output", "logits", "start_logits", "end_logits", "encoder_last_hidden_state")
OVER_TIME = ("last_hidden_state", "start_logits", "end_logits")
LABELLED = ("text-classification", "token-classification")
PROBLEMS: Mapping[str, Mapping[str, Any]] = {  # what else a head over texts may have been made for
    "several labels": label_keys() | {"problem_type": "multi_label_classification"},
    "regression": label_keys(LABELS[:1]) | {"problem_type": "regression"},
    "regression by the number of labels": {"num_labels": 1},
}


@dataclass(frozen=True)
class Subject:
    """One checkpoint to compare: an architecture with a head and settings.

    title: says which. task: without remark. changes: of the case's config. options: see Case.
    """

    case: Case
    title: str
    task: str
    class_name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.case.architecture} {self.title}"


def gather_cases() -> list[Case]:
    """Give every case of the modules in `cases/`."""
    paths = sorted((Path(__file__).parent / "cases").glob("*.py"))
    return [case for path in paths for case in importlib.import_module(f"tests.interop.cases.{path.stem}").CASES]


def subject_of(case: Case, task: str, title: str | None = None, **changes: Any) -> Subject:
    """Give the subject of a case for a task as it is written in `classes`."""
    plain = task.partition(" (")[0]
    labels = label_keys() if plain in LABELLED else {}
    return Subject(case, title or task, plain, case.classes[task], labels | changes, case.options.get(task, {}))


def heads_of(case: Case) -> Iterator[Subject]:
    """Give a case's subjects with its own config: one for each head."""
    for task in case.classes:
        yield subject_of(case, task)


def problems_of(case: Case) -> Iterator[Subject]:
    """Give those that differ in what a classifier of texts was made for."""
    if "text-classification" in case.classes:
        for title, settings in PROBLEMS.items():
            yield Subject(case, title, "text-classification", case.classes["text-classification"], settings)


def variants_of(case: Case) -> Iterator[Subject]:
    """Give those with other settings."""
    for title, changes in case.variants.items():
        yield subject_of(case, case.variant_tasks.get(title, case.variant_task), title, **changes)


def make_config(subject: Subject) -> Any:
    """Give transformers' config."""
    settings = {**subject.case.config, **subject.changes}
    # The kernel that its users get, unless that leaves out the bound of scores, as it does there.
    kernel = {"attn_implementation": "eager"} if "attn_logit_softcapping" in settings else {}
    return getattr(transformers, subject.case.config_class)(**settings, **kernel)


def make_oracle(subject: Subject, seed: int = 0) -> Any:
    """Give transformers' model with all that it saves drawn at random: norms around 1, biases not 0."""
    config = make_config(subject)
    oracle = getattr(transformers, subject.class_name)(config, **subject.options)
    unsaved = set(oracle._keys_to_ignore_on_save or ())
    unsaved |= {name for name, parameter in oracle.named_parameters() if not parameter.requires_grad}  # computed
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in oracle.state_dict().items():
        if name not in unsaved and tensor.is_floating_point():
            centre = 1.0 if tensor.dim() == 1 and bool((tensor == 1).all()) else 0.0
            scale = tensor.shape[-1] ** -0.5 if tensor.dim() == 2 else 0.3
            tensor.copy_(centre + scale * torch.randn(tensor.shape, generator=generator))
    return oracle.eval()


def write(folder: Path, subject: Subject) -> Any:
    """Let transformers save a random checkpoint, and give the model it saved."""
    oracle = make_oracle(subject)
    oracle.save_pretrained(folder)
    return oracle


def reload(folder: Path, subject: Subject, **options: Any) -> Any:
    """Let transformers load a folder as the subject's class: no tensor is missing, left over, or of another shape."""
    kind = getattr(transformers, subject.class_name)
    oracle, report = kind.from_pretrained(folder, output_loading_info=True, **subject.options, **options)
    assert {key: sorted(names) for key, names in report.items() if names} == {}
    return oracle.eval()


@dataclass(frozen=True)
class Rows:
    """Rows of tokens, padded. ids, mask: (batch, time); places: where each row's tokens stand."""

    ids: Tensor
    mask: Tensor
    places: tuple[slice, ...]

    @classmethod
    def pad(cls, rows: list[Tensor], side: str, time: int, filler: int) -> "Rows":
        time = max(map(len, rows)) if side == "none" else time
        places = tuple(slice(time - len(row), time) if side == "left" else slice(0, len(row)) for row in rows)
        ids, mask = torch.full((len(rows), time), filler), torch.zeros(len(rows), time, dtype=torch.int64)
        for row, (place, values) in enumerate(zip(places, rows, strict=True)):
            ids[row, place], mask[row, place] = values, 1
        return cls(ids, mask, places)


@dataclass(frozen=True)
class Batch:
    """What both are asked. types: of the source's tokens; decoder: what a decoder beside an encoder reads."""

    source: Rows
    types: Tensor | None = None
    decoder: Rows | None = None

    def inputs(self) -> dict[str, Tensor]:
        """The arguments of a forward pass over all rows."""
        named = {"input_ids": self.source.ids, "attention_mask": self.source.mask}
        if self.types is not None:
            named["token_type_ids"] = self.types
        if self.decoder is not None:
            named |= {"decoder_input_ids": self.decoder.ids, "decoder_attention_mask": self.decoder.mask}
        return named

    def row(self, row: int) -> dict[str, Tensor]:
        """The arguments for one row alone, without its padding or any mask."""
        place = self.source.places[row]
        named = {"input_ids": self.source.ids[[row], place]}
        if self.types is not None:
            named["token_type_ids"] = self.types[[row], place]
        if self.decoder is not None:
            named["decoder_input_ids"] = self.decoder.ids[[row], self.decoder.places[row]]
        return named

    def cut(self, name: str, value: Tensor, row: int) -> Tensor:
        """Cut one row out of a field of an output, without its padding."""
        source, target = self.source.places[row], (self.decoder or self.source).places[row]
        if name == "encoder_last_hidden_state":
            return value[row, source]
        return value[row, target] if name in OVER_TIME or value.dim() == 3 else value[row]


def make_batch(subject: Subject, config: Any, side: str, seed: int = 5) -> Batch:
    """Give three rows of random tokens, none of a special one but the end, for a checkpoint's own config."""
    generator = torch.Generator().manual_seed(seed)
    usual = torch.tensor(sorted(set(range(config.vocab_size)) - special_ids(config)))
    filler = config.pad_token_id or 0

    def draw(length: int) -> Tensor:
        ids = usual[torch.randint(len(usual), (length,), generator=generator)]
        if isinstance(config.eos_token_id, int):
            ids[-1] = config.eos_token_id
        return ids

    lengths = LENGTHS if side != "none" else LENGTHS[:1] * 3
    source = Rows.pad([draw(length) for length in lengths], side, TIME, filler)
    types = None
    if getattr(config, "type_vocab_size", 0):
        kinds = [torch.randint(config.type_vocab_size, (length,), generator=generator) for length in lengths]
        types = Rows.pad(kinds, side, TIME, 0).ids
    if not config.is_encoder_decoder or not _decodes_what_it_is_given(subject):
        return Batch(source, types)
    lengths = DECODER_LENGTHS if side != "none" else DECODER_LENGTHS[:1] * 3
    return Batch(source, types, Rows.pad([draw(length) for length in lengths], side, DECODER_TIME, filler))


def special_ids(config: Any) -> set[int]:
    """Give the ids that have a role."""
    found: set[int] = set()
    for role in ("pad", "bos", "eos", "cls", "sep", "mask", "decoder_start", "forced_bos", "forced_eos"):
        ids = getattr(config, f"{role}_token_id", None)
        found |= set(ids if isinstance(ids, list) else [] if ids is None else [ids])
    return found


def _decodes_what_it_is_given(subject: Subject) -> bool:
    """Classifiers derive what their decoder reads from the input; an encoder alone has no decoder."""
    takes = inspect.signature(getattr(transformers, subject.class_name).forward).parameters
    return subject.task not in (*LABELLED, "question-answering") and "decoder_input_ids" in takes


def ask(oracle: Any, subject: Subject, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give transformers' answer, by the names that Zoo has for its fields."""
    asked: nn.Module = oracle.base_model if subject.task == "feature-extraction" else oracle
    with torch.no_grad():
        output = dict(asked(**inputs))
    output["logits"] = output.get("prediction_logits", output.get("logits"))
    return {name: output[name] for name in FIELDS if output.get(name) is not None}


def ask_zoo(model: zoo.Model, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give Zoo's answer, the fields that it has."""
    with torch.no_grad():
        output = model(**inputs)
    return {name: value for name in FIELDS if (value := getattr(output, name)) is not None}


def make_labels(subject: Subject, config: Any, batch: Batch) -> Tensor:
    """Give random labels as the task's loss takes them.

    Every fourth counts for nothing; of what a decoder is to write all do, since transformers has it read the others too.
    """
    generator = torch.Generator().manual_seed(7)
    outputs = config.num_labels if subject.task in LABELLED else config.vocab_size
    rows = batch.decoder or batch.source
    count = len(rows.places)
    match subject.task:
        case "text-classification" if subject.changes.get("problem_type") == "multi_label_classification":
            return torch.randint(2, (count, outputs), generator=generator).float()
        case "text-classification" if outputs == 1:
            return torch.randn(count, generator=generator)
        case "text-classification":
            return torch.randint(outputs, (count,), generator=generator)
    labels = torch.full(rows.ids.shape, -100)
    for row, place in enumerate(rows.places):
        length = place.stop - place.start
        values = torch.randint(outputs, (max(LENGTHS),), generator=generator)[:length]
        labels[row, place] = values if batch.decoder else values.masked_fill(torch.arange(length) % 4 == 0, -100)
    return labels


def make_spans(batch: Batch) -> Tensor:
    """Give the first and last place of an answer in each row: (batch, 2)."""
    return torch.tensor([[place.start + 1 + row, place.stop - 1] for row, place in enumerate(batch.source.places)])


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Compare elementwise. tolerance: at unit scale; float32 holds no more digits of larger numbers."""
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, atol=tolerance * scale, rtol=0)


def compare(model: zoo.Model, oracle: Any, subject: Subject, side: str) -> None:
    """Ask Zoo a padded batch, and compare each row with transformers' answer to that row alone."""
    batch = make_batch(subject, oracle.config, side)
    found = ask_zoo(model, batch.inputs())
    for row in range(len(batch.source.places)):
        expected = ask(oracle, subject, batch.row(row))
        compare_fields(set(found), set(expected))
        for name, value in expected.items():
            close(batch.cut(name, found[name], row), value[0])


def compare_fields(found: set[str], expected: set[str]) -> None:
    """Zoo answers what transformers does; states it gives beside scores."""
    assert expected
    assert expected <= found <= expected | {"last_hidden_state", "encoder_last_hidden_state"}
