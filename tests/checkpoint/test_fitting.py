"""Fitting: each tensor of the file to one parameter, each parameter from one tensor, and all that is wrong at once."""

import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.checkpoint.fitting import Fit, fill, fit, place, written
from zoo.checkpoint.layout import Layout
from zoo.checkpoint.reader import Weights, open_weights
from zoo.errors import CorruptFile, WeightsMismatch

CPU = torch.device("cpu")
ADVICE = "Check that config.json belongs to these weights, or fetch them again with: zoo rm, then zoo pull"
LAYOUT = Layout(
    ("words.weight", "tokens.weight"),
    ("layer.{}.dense.weight", "layers.{}.weight", "transpose"),
    ("layer.{}.dense.bias", "layers.{}.bias"),
    ("decoder.weight", "output.weight"),
    ("decoder.bias", "output.bias"),
    ignored=["position_ids"],
    old_spellings=[(".offset", ".bias")],
    prefix="bert.",
)


class Toy(nn.Module):
    """Vocabulary 11, hidden 3, two layers; the output layer shares the token embedding if tied."""

    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 3)
        self.layers = nn.ModuleList([nn.Linear(3, 5), nn.Linear(5, 3)])
        self.output = nn.Linear(3, 11)
        if tied:
            self.output.weight = self.tokens.weight


def toy(tied: bool = True) -> Toy:
    with torch.device("meta"):
        return Toy(tied)


def tensors() -> dict[str, Tensor]:
    """A tied toy's tensors as on the Hub, every value different."""
    shapes = {
        "words.weight": (11, 3),
        "layer.0.dense.weight": (3, 5),
        "layer.0.dense.bias": (5,),
        "layer.1.dense.weight": (5, 3),
        "layer.1.dense.bias": (3,),
        "decoder.bias": (11,),
    }
    return {
        name: torch.arange(1.0, 1 + torch.Size(shape).numel()).reshape(shape) + 100 * index
        for index, (name, shape) in enumerate(shapes.items())
    }


def saved(content: dict[str, Tensor], folder: Path) -> Weights:
    save_file(content, folder / "model.safetensors")
    return open_weights(folder)


def planned(model: nn.Module, weights: Weights, fresh: Collection[str] = ()) -> Fit:
    return fit(model, LAYOUT, weights.headers, architecture="toy", fresh=fresh)


def loaded(content: dict[str, Tensor], folder: Path, model: nn.Module | None = None) -> tuple[nn.Module, Fit]:
    model = model or toy()
    weights = saved(content, folder)
    plan = planned(model, weights)
    fill(model, plan, weights, {}, CPU, None)
    return model, plan


def refusal(content: dict[str, Tensor], folder: Path, model: nn.Module | None = None) -> str:
    with pytest.raises(WeightsMismatch) as caught:
        planned(model or toy(), saved(content, folder))
    text = str(caught.value)
    assert text.startswith("The checkpoint's tensors do not fit the architecture 'toy'; nothing was loaded.\n")
    assert text.endswith(f"\n{ADVICE}")
    return text.split("\n", 1)[1].removesuffix(f"\n{ADVICE}")


def without(content: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in content.items() if name not in names}


def assert_equal(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert sorted(actual) == sorted(expected)
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype, name
        assert torch.equal(actual[name], tensor), name


def test_every_tensor_lands_in_its_parameter(tmp_path: Path) -> None:
    model, plan = loaded(tensors(), tmp_path)
    hub = tensors()
    assert_equal(
        dict(model.named_parameters()),
        {
            "tokens.weight": hub["words.weight"],
            "layers.0.weight": hub["layer.0.dense.weight"].t(),
            "layers.0.bias": hub["layer.0.dense.bias"],
            "layers.1.weight": hub["layer.1.dense.weight"].t(),
            "layers.1.bias": hub["layer.1.dense.bias"],
            "output.bias": hub["decoder.bias"],
        },
    )
    assert (plan.duplicates, plan.fresh, plan.kept) == ((), (), ())


def test_what_was_read_is_written_back_under_its_names(tmp_path: Path) -> None:
    model, plan = loaded(tensors(), tmp_path)
    assert_equal(written(model, plan), tensors())


def test_a_file_with_prefix_and_old_spellings_is_read_and_written_in_todays(tmp_path: Path) -> None:
    old = {f"bert.{name}".replace(".bias", ".offset"): tensor for name, tensor in tensors().items()}
    model, plan = loaded(old, tmp_path)
    assert plan.files["layer.0.dense.bias"] == "bert.layer.0.dense.offset"
    assert_equal(written(model, plan), tensors())


def test_a_spare_tensor_without_a_parameter_is_kept_or_left_behind_and_a_needed_one_is_read(tmp_path: Path) -> None:
    layout = Layout(("weight", "weight"), ("bias", "bias"), ("more.bias", "more"), spare=["bias"], prefix="bert.")
    weights = saved({"bert.weight": torch.ones(3, 5), "bert.bias": torch.ones(3)}, tmp_path)
    for keep, kept in ((True, ("bert.bias",)), (False, ())):
        plan = fit(nn.Linear(5, 3, bias=False), layout, weights.headers, architecture="toy", keep_spare=keep)
        assert (plan.kept, [row.zoo for row in plan.rows]) == (kept, [("weight",)])
    plan = fit(nn.Linear(5, 3), layout, weights.headers, architecture="toy")
    assert (plan.kept, [row.zoo for row in plan.rows]) == ((), [("weight",), ("bias",)])
    weights = saved({"weight": torch.ones(3, 5), "more.bias": torch.ones(3)}, tmp_path)
    with pytest.raises(WeightsMismatch) as refused:
        fit(nn.Linear(5, 3), layout, weights.headers, architecture="toy")
    assert (refused.value.missing, refused.value.unexpected) == (("bias",), ("more.bias",))


def test_missing_unexpected_and_misshapen_come_in_one_message_by_module(tmp_path: Path) -> None:
    content = without(tensors(), "words.weight", "layer.0.dense.weight", "layer.0.dense.bias")
    content |= {
        "layer.1.dense.weight": torch.ones(3, 5),
        "decoder.bias": torch.ones(11, dtype=torch.int32),
        "layer.2.dense.weight": torch.ones(3, 5),
        "layer.2.dense.bias": torch.ones(5),
        "pooler": torch.ones(2),
    }
    assert refusal(content, tmp_path) == (
        "missing (3):\n"
        "  words: weight\n"
        "  layer.0.dense: weight, bias\n"
        "unexpected (3):\n"
        "  (top): pooler\n"
        "  layer.2.dense: bias, weight\n"
        "misshapen (2):\n"
        "  layer.1.dense: weight is [3, 5], expected [5, 3]\n"
        "  decoder: bias has the dtype I32, expected floating point"
    )


@pytest.mark.parametrize("second", ["bert.layer.0.dense.bias", "layer.0.dense.offset", "bert.layer.0.dense.offset"])
def test_a_tensor_that_is_there_under_two_spellings_is_refused(tmp_path: Path, second: str) -> None:
    content = tensors() | {second: torch.ones(5)}
    found = refusal(content, tmp_path)
    assert found.startswith("unexpected (1):\n")
    assert found.splitlines()[1].replace(": ", ".").strip() in (second, "layer.0.dense.bias")
    assert len(found.splitlines()) == 2


def test_a_second_spelling_is_refused_even_where_another_heads_tensors_are_dropped(tmp_path: Path) -> None:
    weights = saved(tensors() | {"bert.words.weight": torch.ones(11, 3), "cls.weight": torch.ones(2)}, tmp_path)
    with pytest.raises(WeightsMismatch) as caught:
        fit(toy(), LAYOUT, weights.headers, architecture="toy", dropped=lambda bare: True)
    assert len(caught.value.unexpected) == 1
    assert caught.value.unexpected[0] in ("bert.words.weight", "words.weight")


def test_tensors_of_another_head_are_left_out_when_told_so(tmp_path: Path) -> None:
    weights = saved(tensors() | {"bert.cls.weight": torch.ones(2)}, tmp_path)
    plan = fit(toy(), LAYOUT, weights.headers, architecture="toy", dropped=lambda bare: bare == "cls.weight")
    assert "bert.cls.weight" not in [*plan.files.values(), *plan.kept]


def test_an_untied_output_layer_is_missed(tmp_path: Path) -> None:
    assert refusal(tensors(), tmp_path, toy(tied=False)) == "missing (1):\n  decoder: weight"


def test_a_half_present_fusion_misses_the_absent_half_only(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = nn.Linear(3, 4)
    layout = Layout((("gate.weight", "up.weight"), "weight", "fuse"), ("bias", "bias"))
    weights = saved({"gate.weight": torch.ones(2, 3), "bias": torch.ones(4)}, tmp_path)
    with pytest.raises(WeightsMismatch) as caught:
        fit(model, layout, weights.headers, architecture="toy")
    assert (caught.value.missing, caught.value.unexpected) == (("up.weight",), ())


def test_a_fused_and_a_split_row_are_filled_and_written_back(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = nn.ModuleDict({"both": nn.Linear(3, 4, bias=False), "q": nn.Linear(5, 2), "k": nn.Linear(5, 1)})
    layout = Layout(
        (("gate", "up"), "both.weight", "fuse"),
        ("qk.w", ("q.weight", "k.weight"), "transpose split"),
        ("qk.b", ("q.bias", "k.bias"), "split"),
    )
    hub = {
        "gate": torch.arange(6.0).reshape(2, 3),
        "up": torch.arange(10.0, 16.0).reshape(2, 3),
        "qk.w": torch.arange(15.0).reshape(5, 3),
        "qk.b": torch.arange(3.0),
    }
    weights = saved(hub, tmp_path)
    plan = fit(model, layout, weights.headers, architecture="toy")
    fill(model, plan, weights, {}, CPU, None)
    assert_equal(
        dict(model.named_parameters()),
        {
            "both.weight": torch.cat([hub["gate"], hub["up"]]),
            "q.weight": hub["qk.w"][:, :2].t(),
            "k.weight": hub["qk.w"][:, 2:].t(),
            "q.bias": hub["qk.b"][:2],
            "k.bias": hub["qk.b"][2:],
        },
    )
    assert_equal(written(model, plan), hub)


def test_a_tied_parameter_stored_once_is_one_parameter_after_loading(tmp_path: Path) -> None:
    model, _ = loaded(tensors(), tmp_path)
    assert isinstance(model, Toy)
    assert model.output.weight is model.tokens.weight
    assert "output.weight" not in dict(model.named_parameters())


def test_a_tied_parameter_stored_under_its_second_name_only_is_found_and_written_there(tmp_path: Path) -> None:
    hub = without(tensors(), "words.weight") | {"decoder.weight": tensors()["words.weight"]}
    model, plan = loaded(hub, tmp_path)
    assert isinstance(model, Toy)
    assert model.output.weight is model.tokens.weight
    assert torch.equal(model.tokens.weight, hub["decoder.weight"])
    assert_equal(written(model, plan), hub)


def test_a_tied_parameter_stored_twice_equally_is_written_twice(tmp_path: Path) -> None:
    hub = tensors() | {"decoder.weight": tensors()["words.weight"]}
    model, plan = loaded(hub, tmp_path)
    assert isinstance(model, Toy)
    assert model.output.weight is model.tokens.weight
    assert [row.hub for row in plan.duplicates] == [("decoder.weight",)]
    assert_equal(written(model, plan), hub)


def test_a_tied_parameter_stored_twice_differently_is_refused(tmp_path: Path) -> None:
    hub = tensors() | {"decoder.weight": tensors()["words.weight"] + torch.eye(11, 3)}
    with pytest.raises(CorruptFile) as caught:
        loaded(hub, tmp_path)
    assert str(caught.value) == (
        f"The file '{tmp_path / 'model.safetensors'}' is corrupt: 'decoder.weight' and 'words.weight' are one parameter "
        "in this architecture, but hold different values. It was not loaded; fetch it again, or tell its author"
    )


def test_a_tied_parameter_stored_twice_in_different_forms_is_compared_as_the_model_reads_it(tmp_path: Path) -> None:
    layout = Layout(("words", "tokens.weight"), ("decoder", "output.weight", "transpose"), ("bias", "output.bias"))
    with torch.device("meta"):
        model = nn.ModuleDict({"tokens": nn.Embedding(7, 2), "output": nn.Linear(2, 7)})
    model["output"].weight = model["tokens"].weight
    words = torch.arange(14.0).reshape(7, 2)
    weights = saved({"words": words, "decoder": words.t().contiguous(), "bias": torch.ones(7)}, tmp_path)
    plan = fit(model, layout, weights.headers, architecture="toy")
    fill(model, plan, weights, {}, CPU, None)
    assert torch.equal(model["output"].weight, words)
    assert torch.equal(written(model, plan)["decoder"], words.t())


def test_a_fresh_parameter_needs_no_tensor_and_takes_the_files_dtype(tmp_path: Path) -> None:
    hub = {name: tensor.half() for name, tensor in without(tensors(), "decoder.bias").items()}
    model, weights = toy(), saved(hub, tmp_path)
    plan = planned(model, weights, fresh={"output.bias"})
    fill(model, plan, weights, {"output.bias": torch.arange(11.0)}, CPU, None)
    assert plan.fresh == ("output.bias",)
    assert model.output.bias.dtype == torch.float16
    assert model.output.bias.tolist() == list(range(11))
    assert_equal(written(model, plan), hub | {"decoder.bias": torch.arange(11.0).half()})


def test_a_fresh_parameter_is_not_read_even_if_the_file_has_it(tmp_path: Path) -> None:
    model, weights = toy(), saved(tensors(), tmp_path)
    plan = planned(model, weights, fresh={"output.bias"})
    fill(model, plan, weights, {"output.bias": torch.zeros(11)}, CPU, None)
    assert model.output.bias.tolist() == [0.0] * 11


def test_a_fresh_tied_parameter_is_fresh_under_both_its_names(tmp_path: Path) -> None:
    hub = without(tensors(), "words.weight") | {"decoder.weight": tensors()["words.weight"]}
    model, weights = toy(), saved(hub, tmp_path)
    plan = planned(model, weights, fresh={"tokens.weight"})
    fill(model, plan, weights, {"tokens.weight": torch.zeros(11, 3)}, CPU, None)
    assert model.output.weight is model.tokens.weight
    assert torch.equal(model.output.weight, torch.zeros(11, 3))
    assert sorted(written(model, plan)) == sorted(tensors())


def test_ignored_tensors_are_kept_under_the_files_name(tmp_path: Path) -> None:
    _, plan = loaded(tensors() | {"bert.position_ids": torch.arange(7)}, tmp_path)
    assert plan.kept == ("bert.position_ids",)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_cast_reaches_every_parameter(tmp_path: Path, dtype: torch.dtype) -> None:
    model, weights = toy(), saved(without(tensors(), "decoder.bias"), tmp_path)
    plan = planned(model, weights, fresh={"output.bias"})
    fill(model, plan, weights, {"output.bias": torch.ones(11)}, CPU, dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert torch.equal(model.layers[0].weight, tensors()["layer.0.dense.weight"].t().to(dtype))


def test_placing_keeps_ties_and_gradient_flags_and_leaves_nothing_on_meta() -> None:
    model = toy()
    model.layers[0].bias.requires_grad_(False)
    place(model, {name: torch.full(p.shape, 2.0) for name, p in model.named_parameters()})
    assert model.output.weight is model.tokens.weight
    assert not any(parameter.is_meta for parameter in model.parameters())
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["layers.0.bias"]


def test_placing_by_a_parameters_second_name_fills_both() -> None:
    model = toy()
    values = {name: torch.ones(p.shape) for name, p in model.named_parameters() if name != "tokens.weight"}
    place(model, values | {"output.weight": torch.full((11, 3), 4.0)})
    assert model.output.weight is model.tokens.weight
    assert torch.equal(model.tokens.weight, torch.full((11, 3), 4.0))


def test_placing_less_than_everything_is_our_own_fault() -> None:
    model = toy()
    values = {name: torch.ones(p.shape) for name, p in model.named_parameters() if name != "layers.1.bias"}
    with pytest.raises(AssertionError, match=r"^no value was given for \['layers.1.bias'\]"):
        place(model, values)


def test_a_parameter_shares_the_memory_of_the_mapped_file_and_writing_it_leaves_the_file_alone(tmp_path: Path) -> None:
    before = saved(tensors(), tmp_path).files["words.weight"].read_bytes()
    model, _ = loaded(tensors(), tmp_path)
    mapped = [line for line in Path("/proc/self/smaps").read_text().splitlines() if str(tmp_path) in line]
    spans = [[int(end, 16) for end in line.split()[0].split("-")] for line in mapped]
    for parameter in model.parameters():
        assert any(start <= parameter.data_ptr() < end for start, end in spans)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert (tmp_path / "model.safetensors").read_bytes() == before


GROWTH = """
import sys
from pathlib import Path
import torch
from torch import nn
from zoo.checkpoint.fitting import fill, fit
from zoo.checkpoint.layout import Layout
from zoo.checkpoint.reader import open_weights

def anonymous_kb():
    lines = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return int(lines["Anonymous"].split()[0])

with torch.device("meta"):
    model = nn.ModuleDict({"a": nn.Linear(5000, 6000), "b": nn.Linear(6000, 4000)})
weights = open_weights(Path(sys.argv[1]))
layout = Layout(("{}.w", "{}.w"), *[(f"{n}.{k}", f"{n}.{k}") for n in "ab" for k in ("weight", "bias")])
plan = fit(model, layout, weights.headers, architecture="toy")
before = anonymous_kb()
fill(model, plan, weights, {}, torch.device("cpu"), None)
total = sum(float(parameter.sum()) for parameter in model.parameters())  # every page is read
print(anonymous_kb() - before, total)
"""


def test_loading_216_megabytes_takes_no_second_copy_of_them(tmp_path: Path) -> None:
    shapes = {"a.weight": (6000, 5000), "a.bias": (6000,), "b.weight": (4000, 6000), "b.bias": (4000,)}
    entries, position = {}, 0
    for name, shape in shapes.items():
        end = position + 4 * math.prod(shape)
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [position, end]}
        position = end
    header = json.dumps(entries).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:  # zeros that take no disk, and a one at the end
        file.write(struct.pack("<Q", len(header)) + header)
        file.seek(position - 4, os.SEEK_CUR)
        file.write(struct.pack("<f", 1.0))
    assert (tmp_path / "model.safetensors").stat().st_size > 200e6
    done = subprocess.run([sys.executable, "-c", GROWTH, str(tmp_path)], capture_output=True, text=True, check=True)
    growth_kb, total = done.stdout.split()
    assert float(total) == 1.0
    assert int(growth_kb) < 20_000
