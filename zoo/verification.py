"""Computing a model's canary, when it is published, and again wherever somebody wants to know that it still holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo import __version__, host
from zoo.checkpoint.canary import MANTISSA_BITS, Canary, Case, Dtype, Sample, allowances, distance, numbers
from zoo.errors import CanaryMismatch, InvalidInput
from zoo.tasks import get_task

if TYPE_CHECKING:
    from zoo.model import Model

LONGEST_TOKENS = 64
POSITIONS, INDICES = 3, 6
# Above so many parameters the numbers are of the checkpoint's own dtype alone: another would take memory for a copy.
SECOND_DTYPE_PARAMETERS = 2_000_000_000

# Latin with accents, Cyrillic, Chinese, Arabic, Devanagari, emoji beside what they are joined of, and code.
TEXTS = (
    "Ça alors! Zoë's naïve coöperation cost €1,234.56 at 7 o'clock.",
    "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "我能吞下玻璃而不伤身体。你呢？",
    "أنا قادر على أكل الزجاج و هذا لا يؤلمني.",
    "मैं काँच खा सकता हूँ और मुझे उससे कोई चोट नहीं पहुंचती।",
    "OK 👍🏽, 👩‍👩‍👧 went to 🇨🇦 — fine… ½ ﬁ",
    "def f(x):\n    return {'a_b': x ** 2}  # TODO",
)


def compute_canary(model: Model, files: Mapping[str, str]) -> Canary:
    """Compute a model's canary. files: sha256 of the checkpoint's files that decide it. Raises InvalidInput."""
    own = _coarsest(model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    dtypes: dict[Dtype, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if parameters > SECOND_DTYPE_PARAMETERS:
        dtypes = {name: dtype for name, dtype in dtypes.items() if name == own} or {"bfloat16": torch.bfloat16}
    cases = list(_encoded(model))
    every = [list(_samples_in(model, name, dtype, cases)) for name, dtype in dtypes.items()]
    found = [[_merged(same) for same in zip(*of_case, strict=True)] for of_case in zip(*every, strict=True)]
    return Canary(
        written_by=versions(model),
        architecture=model.architecture.name,
        task=model.task,
        files=dict(files),
        cases=[
            Case(text=text, token_ids=ids, samples=samples)
            for (text, ids, _), samples in zip(cases, found, strict=True)
        ],
    )


def _merged(same: Sequence[Sample]) -> Sample:
    """Give the samples of one place in several dtypes as one."""
    return same[0].model_copy(update={"values": {name: rows for one in same for name, rows in one.values.items()}})


@dataclass(frozen=True)
class Agreement:
    """That a canary came out as written. dtype: which numbers were compared; worst: the largest part of the tolerance used."""

    texts: int
    dtype: str
    worst: float
    written_by: Mapping[str, str]


def check_canary(model: Model, canary: Canary, where: str) -> Agreement:
    """Compute a canary with this machine's tokenizer, plugin and torch, and compare. where: what is checked, for messages.

    Raises CanaryMismatch for the first text whose token ids or numbers differ.
    """
    here = versions(model)

    def differs(text: str | None, what: str, found: object, expected: object) -> CanaryMismatch:
        return CanaryMismatch(where, text, what, found, expected, canary.written_by, here)

    task = get_task(model.task).head or model.task
    if (canary.architecture, canary.task) != (model.architecture.name, task):
        found = f"{model.architecture.name} for {task}"
        raise differs(None, "the model", found, f"{canary.architecture} for {canary.task}")
    for case in canary.cases:
        ids = case.token_ids if case.text is None else _encode(model, case.text)[0]
        if ids != case.token_ids:
            raise differs(case.text, "the token ids", ids, case.token_ids)
    dtype = _coarsest(model)
    allowed = allowances(canary, dtype)
    worst = 0.0
    for case in canary.cases:
        outputs = _outputs(model, case.token_ids, [] if case.text is None else _encode(model, case.text)[1])
        for sample in case.samples:
            tensor = outputs.get(sample.output)
            if tensor is None or max(sample.positions) >= tensor.shape[0] or max(sample.indices) >= tensor.shape[1]:
                shape = "nothing" if tensor is None else list(tensor.shape)
                raise differs(case.text, f"the shape of {sample.output}", shape, "more")
            for position, index, expected in numbers(sample, dtype):
                number = float(tensor[position, index])
                off = distance(number, expected) / allowed[sample.output]
                worst = max(worst, off)
                if off > 1:
                    most = f"{dtype}, ±{allowed[sample.output]:.2g} allowed"
                    place = f"{sample.output} at position {position}, index {index} ({most})"
                    raise differs(case.text, place, float(f"{number:.6g}"), expected)
    return Agreement(len(canary.cases), dtype, worst, canary.written_by)


def versions(model: Model) -> dict[str, str]:
    """Give the versions of what turns a checkpoint's files into numbers."""
    name = model.architecture.name
    plugin = next((info for info in host.list_architectures() if info.name == name), None)
    found = {"zoo": __version__, "torch": str(torch.__version__), "tokenizers": version("tokenizers")}
    return found | ({plugin.distribution: plugin.version} if plugin else {})


def _encoded(model: Model) -> Iterator[tuple[str | None, list[int], list[int]]]:
    """Give text, token ids and token types of each case; fixed ids where there is no tokenizer."""
    if model.tokenizer is not None:
        yield from ((text, *_encode(model, text)) for text in TEXTS)
        return
    size, longest = model.spec.vocab_size, min(model.max_length or LONGEST_TOKENS, 12)
    end = model.spec.eos_token_id
    for start, step in ((1, 1), (3, 7), (size // 2, 11)):
        ids = [(start + step * place) % size for place in range(longest)]
        yield None, [*ids[:-1], end] if isinstance(end, int) and 0 <= end < size else ids, []


def _encode(model: Model, text: str) -> tuple[list[int], list[int]]:
    if model.tokenizer is None:
        return [], []
    longest = min(model.max_length or LONGEST_TOKENS, LONGEST_TOKENS)
    encoding = model.tokenizer.encode([text], max_length=longest)[0]
    return list(encoding.ids), list(encoding.type_ids)


def _samples_in(
    model: Model, name: Dtype, dtype: torch.dtype, cases: Sequence[tuple[str | None, list[int], list[int]]]
) -> Iterator[list[Sample]]:
    """Compute each case with the parameters cast. Raises InvalidInput where all that comes out is not a number."""
    cast = {key: p.detach().to(dtype) if p.is_floating_point() else p for key, p in model.named_parameters()}
    for text, ids, types in cases:
        samples = [_sample(output, tensor, name) for output, tensor in _outputs(model, ids, types, cast).items()]
        for sample in samples:
            if all(value is None for row in sample.values[name] for value in row):
                raise InvalidInput(
                    f"The model gives no finite numbers in {name}: {sample.output} for {text or ids!r} holds none. "
                    "Check its weights"
                )
        yield samples


def _sample(output: str, tensor: Tensor, name: Dtype) -> Sample:
    time, width = tensor.shape
    positions = sorted({round(place * (time - 1) / (POSITIONS - 1)) for place in range(POSITIONS)})
    indices = sorted({round(place * (width - 1) / (INDICES - 1)) for place in range(INDICES)})
    rows = [[_rounded(float(tensor[position, index])) for index in indices] for position in positions]
    return Sample.model_validate({"output": output, "positions": positions, "indices": indices, "values": {name: rows}})


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _outputs(
    model: Model, ids: list[int], types: list[int], parameters: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Run one case: each output that counts, on CPU in float32, as (positions, width). parameters: instead of its own."""
    from torch.func import functional_call  # here, since it brings the compiler with it

    if not ids:
        return {}
    if max(ids) >= model.spec.vocab_size:
        raise InvalidInput(f"The token id {max(ids)} is none of the model's {model.spec.vocab_size}")
    inputs = {"input_ids": torch.tensor([ids], device=model.device)}
    if types:
        inputs["token_type_ids"] = torch.tensor([types], device=model.device)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            output = model(**inputs) if parameters is None else functional_call(model, dict(parameters), kwargs=inputs)
    finally:
        model.train(was_training)
    fields = {name: getattr(output, name) for name in ("logits", "start_logits", "end_logits")}
    found = {name: tensor for name, tensor in fields.items() if tensor is not None}
    found = found or {"last_hidden_state": output.last_hidden_state}
    if output.encoder_last_hidden_state is not None:
        found["encoder_last_hidden_state"] = output.encoder_last_hidden_state
    return {name: tensor.float().cpu().reshape(-1, tensor.shape[-1]) for name, tensor in found.items()}


def _coarsest(model: Model) -> str:
    """Give the name of the parameters' dtype; where they differ, of the one that rounds most."""
    names = {str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.is_floating_point()}
    return min(names, key=lambda name: MANTISSA_BITS.get(name, 0), default="float32")
