"""The canary: what a checkpoint gave for a few texts when it was published, to be compared anywhere later.

`zoo.json` in the checkpoint holds texts with their token ids, and the numbers that the model's own head gave for them at
a few places, in float32 and in bfloat16. Who computes them anew learns whether this machine's tokenizer, plugin and
torch do the same with these files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zoo.errors import CorruptFile

CANARY_FILE = "zoo.json"
VERSION = 1
LIMIT_BYTES = 200_000
# How far a number may be off, as a part of the root mean square of its output's numbers. Right machines differ in the order
# of their sums, which costs roundings in every layer: from toys to 48 layers, float32 came within 1e-5 of float64, while
# another activation (gelu for its tanh form) moves numbers by 1e-3. What the same roundings cost in fewer bits depends on the
# model; the canary itself shows it, as the distance of its numbers in bfloat16 from those in float32. Two machines that round
# differently are apart by sqrt(2) of its root mean square, and among some hundred numbers one by three to four times that.
SMALLEST_TOLERANCE: Mapping[str, float] = {"float64": 2e-4, "float32": 2e-4, "float16": 5e-3, "bfloat16": 4e-2}
MANTISSA_BITS: Mapping[str, int] = {"float64": 24, "float32": 24, "float16": 11, "bfloat16": 8}
SPREAD = 6
USUAL_NOISE = 0.03  # of bfloat16, where the canary has one dtype only

Dtype = Literal["float32", "bfloat16"]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Row = Annotated[list[float | None], Field(max_length=64)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Sample(_Strict):
    """Numbers of one output. values: by dtype, a row for each position; null where it was not a finite number."""

    output: Literal["logits", "start_logits", "end_logits", "last_hidden_state", "encoder_last_hidden_state"]
    positions: list[Count] = Field(min_length=1, max_length=64)
    indices: list[Count] = Field(min_length=1, max_length=64)
    values: dict[Dtype, Annotated[list[Row], Field(max_length=64)]] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        for rows in self.values.values():
            if len(rows) != len(self.positions) or any(len(row) != len(self.indices) for row in rows):
                raise ValueError("values are not one for each position and index")
        return self


class Case(_Strict):
    """One text and what it gave. text: None where the checkpoint has no tokenizer."""

    text: Annotated[str, Field(max_length=1000)] | None
    token_ids: list[Count] = Field(max_length=1000)
    samples: list[Sample] = Field(max_length=8)


class Canary(_Strict):
    """The content of zoo.json.

    written_by: versions by distribution. task: whose head it is of. files: sha256 of the files that it was computed from.
    """

    version: Literal[1] = 1
    written_by: dict[str, Annotated[str, Field(max_length=200)]] = Field(max_length=20)
    architecture: Annotated[str, Field(max_length=200)]
    task: Annotated[str, Field(max_length=200)]
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(max_length=1000)
    cases: list[Case] = Field(min_length=1, max_length=64)

    def text(self) -> str:
        """Give the content of the file: compact, a line a case, so that a change of one can be seen."""
        whole = self.model_dump(mode="json")
        cases = ",\n    ".join(_compact(case) for case in whole.pop("cases"))
        head = "".join(f'  "{key}": {_compact(value)},\n' for key, value in whole.items())
        return f'{{\n{head}  "cases": [\n    {cases}\n  ]\n}}\n'


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def read_canary(folder: Path) -> Canary | None:
    """Give the canary of a checkpoint's folder, or None where it has none. Raises CorruptFile."""
    path = folder / CANARY_FILE
    if not path.is_file():
        return None
    if path.stat().st_size > LIMIT_BYTES:
        raise CorruptFile(path, f"it has more than {LIMIT_BYTES} bytes")
    try:
        return Canary.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise CorruptFile(path, f"it is not a canary of version {VERSION} ({place}: {first['msg']})") from None


def numbers(sample: Sample, dtype: str) -> Iterator[tuple[int, int, float | None]]:
    """Give each number of a sample with its place: those of the dtype, else the finest there are."""
    rows = sample.values.get(dtype) or sample.values.get("float32") or sample.values["bfloat16"]  # type: ignore[call-overload]
    for position, row in zip(sample.positions, rows, strict=True):
        for index, value in zip(sample.indices, row, strict=True):
            yield position, index, value


def allowances(canary: Canary, dtype: str) -> dict[str, float]:
    """Give how far a number of each output may be off in a dtype.

    Taken over all texts: one text's numbers alone may be near zero by chance.
    """
    bits = MANTISSA_BITS.get(dtype, MANTISSA_BITS["bfloat16"])
    allowed: dict[str, float] = {}
    for output in {sample.output for case in canary.cases for sample in case.samples}:
        samples = [sample for case in canary.cases for sample in case.samples if sample.output == output]
        expected = [value for sample in samples for _, _, value in numbers(sample, dtype) if value is not None]
        noise = _noise(samples)
        noise = USUAL_NOISE * _mean_root(expected) if noise is None else noise
        smallest = SMALLEST_TOLERANCE.get(dtype, SMALLEST_TOLERANCE["bfloat16"]) * _mean_root(expected)
        allowed[output] = max(smallest, SPREAD * noise * 2.0 ** (MANTISSA_BITS["bfloat16"] - bits), 1e-9)
    return allowed


def _noise(samples: list[Sample]) -> float | None:
    """Give the root mean square of what bfloat16 is off from float32, or None where one of them is not there."""
    if not all({"float32", "bfloat16"} <= sample.values.keys() for sample in samples):
        return None
    pairs = (zip(numbers(sample, "float32"), numbers(sample, "bfloat16"), strict=True) for sample in samples)
    found = [(one[2], other[2]) for pair in pairs for one, other in pair]
    return _mean_root([one - other for one, other in found if one is not None and other is not None])


def _mean_root(values: list[float]) -> float:
    return math.sqrt(sum(value * value for value in values) / max(len(values), 1))


def distance(found: float, expected: float | None) -> float:
    """Give how far two numbers are apart: not at all where neither is finite, endlessly where one is."""
    if expected is None or not math.isfinite(found):
        return 0.0 if expected is None and not math.isfinite(found) else math.inf
    return abs(found - expected)
