"""Quantised weights: smaller, nearly as good, and honest about what they cannot do."""

import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import zoo
from tests.checkpoints import write_tokenizer
from zoo.errors import ExtraMissing, InvalidInput
from zoo.quantization import MEASURED, MOST_STEP_ROWS, _reads_int8, quantizable, quantize, size_bytes

SIZES = {"vocab_size": 53, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
TASKS = {"gpt2": "text-generation", "llama": "text-generation", "t5": "text2text-generation", "bert": "fill-mask"}
TEXTS = ["the cat sat [MASK]", "anna lives in [MASK] and karin went home"]
KINDS = ("int8", "int4")


def write(folder: Path, name: str) -> None:
    """Write a small random checkpoint whose layers are wide enough for 4 bits."""
    known = zoo.get_architecture(name).spec.known_keys()
    spec = zoo.make_spec(name, **{key: size for key, size in SIZES.items() if key in known})
    model = zoo.build(spec, TASKS[name], seed=3, device="cpu")
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.copy_(parameter.shape[1] ** -0.5 * torch.randn(parameter.shape, generator=generator))
    model.save(folder)
    write_tokenizer(folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TASKS)
def test_linear_layers_of_the_backbone_are_quantised_and_nothing_else(
    tmp_path: Path, name: str, kind: str, dtype: str
) -> None:
    write(tmp_path, name)
    plain = zoo.load(tmp_path, device="cpu", dtype=dtype)
    model = zoo.load(tmp_path, device="cpu", dtype=dtype, quantize=kind)
    assert (plain.quantized, model.quantized) == (None, kind)
    linear = {n for n, layer in plain.backbone.named_modules() if isinstance(layer, nn.Linear)}
    assert set(quantizable(plain.backbone, kind)) == linear != set()
    for (label, weight), own in zip(model.named_parameters(), plain.parameters(), strict=True):
        quantised = label.removeprefix("backbone.").removesuffix(".weight") in linear
        assert (type(weight) is nn.Parameter) != quantised, label
        if quantised:
            layer = plain.backbone.get_submodule(label.removeprefix("backbone.").removesuffix(".weight"))
            assert isinstance(layer, nn.Linear)
            assert held_bytes(weight) == size_bytes(layer, kind) < own.nbytes
        else:
            assert torch.equal(weight, own)


def held_bytes(weight: Any) -> int:
    """What the tensors inside a quantised one take."""
    return sum(part.nbytes for part in vars(weight).values() if isinstance(part, torch.Tensor))


@pytest.mark.parametrize(("kind", "tolerance"), [("int8", 0.1), ("int4", 0.6)])
@pytest.mark.parametrize("name", TASKS)
def test_answers_stay_near_those_of_whole_weights(tmp_path: Path, name: str, kind: str, tolerance: float) -> None:
    write(tmp_path, name)
    plain, model = zoo.load(tmp_path, device="cpu"), zoo.load(tmp_path, device="cpu", quantize=kind)
    ids = torch.randint(5, 53, (2, 7), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = plain(ids).logits, model(ids).logits
    error = float((found - expected).norm() / expected.norm())
    assert 0 < error < tolerance
    assert len(model.predict(TEXTS)) == 2
    vectors = zoo.load(tmp_path, "feature-extraction", device="cpu", quantize=kind).embed(TEXTS)
    exact = zoo.load(tmp_path, "feature-extraction", device="cpu").embed(TEXTS)
    assert float((vectors - exact).norm() / exact.norm()) < tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_quantised_models_write_with_and_without_a_cache_alike(tmp_path: Path, kind: str) -> None:
    write(tmp_path, "llama")
    model = zoo.load(tmp_path, device="cpu", quantize=kind)
    found = model.generate(TEXTS, max_new_tokens=6)
    assert model.tokenizer is not None
    for text, row in zip(TEXTS, found, strict=True):
        ids = model.tokenizer.encode([text])[0].ids
        for _ in range(6):
            with torch.inference_mode():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert row.token_ids == ids[-6:][: len(row.token_ids)]
    assert max(len(row.token_ids) for row in found) == 6
    assert model.generate(TEXTS, max_new_tokens=6, num_beams=2) == copy.deepcopy(model).generate(
        TEXTS, max_new_tokens=6, num_beams=2
    )


@pytest.mark.parametrize("rows", [1, 5, MOST_STEP_ROWS, MOST_STEP_ROWS + 1])
def test_steps_in_bfloat16_read_8_bits_and_give_what_torchao_gives(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = nn.ModuleDict({"one": nn.Linear(64, 96), "two": nn.Linear(96, 32, bias=False)}).to(torch.bfloat16)
    layer["two"].weight = nn.Parameter(0.1 * torch.randn(96, 40).to(torch.bfloat16)[:, 3:35].t())  # as GPT-2's are
    quantize(layer, "int8")
    read: list[int] = []
    before = torch._weight_int8pack_mm

    def count(hidden: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        read.append(len(hidden))
        return before(hidden, weight, scales)

    assert _reads_int8()
    monkeypatch.setattr(torch, "_weight_int8pack_mm", count)
    hidden = torch.randn(1, rows, 64).to(torch.bfloat16)
    with torch.inference_mode():
        found = layer["two"](layer["one"](hidden))
        assert read == ([rows, rows] if rows <= MOST_STEP_ROWS else [])
        expected = nn.Linear.forward(layer["two"], nn.Linear.forward(layer["one"], hidden))  # type: ignore[arg-type]
    before_gradients = list(read)
    layer["one"](hidden.requires_grad_()).float().sum().backward()
    assert read == before_gradients and hidden.grad is not None
    assert found.shape == expected.shape == (1, rows, 32)
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)


def test_what_is_lost_is_not_saved_nor_trained(tmp_path: Path) -> None:
    write(tmp_path, "gpt2")
    model = zoo.load(tmp_path, device="cpu", quantize="int8")
    with pytest.raises(InvalidInput) as refused:
        model.save(tmp_path / "copy")
    assert str(refused.value) == (
        "The model was loaded with quantize='int8', and no longer has the weights of its checkpoint. Load it without, and "
        "save that; quantise where you load it"
    )
    assert not (tmp_path / "copy").exists()
    with pytest.raises(InvalidInput) as refused:
        zoo.finetune(model, [{"text": "the cat sat"}])
    assert str(refused.value) == (
        "The model was loaded with quantize='int8', and its weights cannot learn. Load it without, and train that"
    )


def test_widths_that_4_bits_do_not_take_stay_as_they_are(tmp_path: Path) -> None:
    spec = zoo.make_spec("gpt2", vocab_size=53, hidden_size=32, num_attention_heads=4, intermediate_size=40)
    model = zoo.build(spec, "text-generation", device="cpu")
    assert {name.rsplit(".", 1)[1] for name in quantizable(model.backbone, "int4")} == {
        "query",
        "key",
        "value",
        "output",
    }
    assert {name.rsplit(".", 1)[1] for name in quantizable(model.backbone, "int8")} > {"up", "down"}
    zoo.build(zoo.make_spec("gpt2", vocab_size=53, hidden_size=24, num_attention_heads=3), "text-generation").save(
        tmp_path
    )
    with pytest.raises(InvalidInput) as refused:
        zoo.load(tmp_path, device="cpu", quantize="int4")
    assert str(refused.value) == (
        "No linear layer can be held in 4 bits: none has a multiple of 32 inputs and of 16 outputs. Try: quantize='int8'"
    )


def test_another_way_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(InvalidInput) as refused:
        zoo.load("no/such", quantize="int3")
    assert str(refused.value) == "quantize is 'int3'; it would be 'int8' or 'int4'"


def test_without_torchao_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ExtraMissing) as refused:
        zoo.load("no/such", quantize="int8")
    assert str(refused.value).startswith("For quantised weights Zoo needs more packages (")
    assert str(refused.value).endswith("). Try: pip install 'zoo[quantize]'")


def test_loading_quantised_says_nothing_and_changes_no_settings_of_torch(tmp_path: Path) -> None:
    write(tmp_path, "gpt2")
    code = (
        "import torch, zoo\n"
        "before = torch.get_float32_matmul_precision()\n"
        f"zoo.load({str(tmp_path)!r}, device='cpu', quantize='int8').generate(['the cat'], max_new_tokens=2)\n"
        "assert torch.get_float32_matmul_precision() == before\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_gives_nearly_the_same(tmp_path: Path, kind: str) -> None:
    write(tmp_path, "llama")
    plain = zoo.load(tmp_path, device="cuda")
    model = zoo.load(tmp_path, device="cuda", quantize=kind)
    ids = torch.randint(5, 53, (2, 7), generator=torch.Generator().manual_seed(1)).cuda()
    with torch.inference_mode():
        expected, found = plain(ids).logits.float(), model(ids).logits.float()
    assert 0 < float((found - expected).norm() / expected.norm()) < 0.3


def test_what_a_plan_says_is_what_was_measured() -> None:
    text = (Path(__file__).parents[1] / "docs" / "measurements.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (float32|int8|int4) \|.*\| ([0-9.]+) \|$", text, re.MULTILINE))
    assert {kind: float(ratio) for kind, ratio in rows.items()} == {
        "float32": 1.0,
        **{kind: accuracy.perplexity_ratio for kind, accuracy in MEASURED.items()},
    }
    assert MEASURED["int8"].perplexity_ratio < 1.01
