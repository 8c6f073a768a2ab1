"""Plans of checkpoints on this machine: what they count is what a load then does."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.checkpoints import LABELS, change_config, read_tensors, write_checkpoint, write_tensors
from zoo.checkpoint.fitting import fit
from zoo.checkpoint.headers import TensorHeader
from zoo.checkpoint.layout import Layout
from zoo.checkpoint.reader import Weights
from zoo.errors import HeadMissing, InvalidInput, WeightsMismatch
from zoo.layers.stacks import Decoder
from zoo.planning import CacheLayers, Memory, ModuleSize, RankShare, _Tensors
from zoo.quantization import MEASURED
from zoo.testing.models import toy_model

# One of each kind and of each way that a row of the layout changes tensors.
MODELS = [
    ("bert", "fill-mask"),
    ("albert", "feature-extraction"),
    ("gpt2", "text-generation"),
    ("llama", "text-classification"),
    ("gpt_neox", "text-generation"),
    ("t5", "text2text-generation"),
    ("bart", "text2text-generation"),
]


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float32"])
@pytest.mark.parametrize(("name", "task"), MODELS)
def test_a_plan_counts_what_a_load_gives(tmp_path: Path, name: str, task: str, dtype: str | None) -> None:
    toy_model(name, task).save(tmp_path)
    plan, model = zoo.plan(tmp_path, dtype), zoo.load(tmp_path, dtype=dtype)
    parameters = dict(model.named_parameters())
    assert (plan.architecture, plan.kind, plan.task) == (name, model.architecture.kind, model.task)
    assert plan.parameters == sum(parameter.numel() for parameter in parameters.values())
    assert plan.dtypes == {dtype or "float32": sum(parameter.nbytes for parameter in parameters.values())}
    assert sum(module.parameters for module in plan.modules) == plan.parameters
    assert sum(module.size_bytes for module in plan.modules) == plan.weight_bytes == plan.memory.gpu_bytes
    assert plan.files == {path.name: path.stat().st_size for path in sorted(tmp_path.iterdir())}
    assert (plan.fetch_bytes, plan.read_bytes, plan.source) == (0, 0, str(tmp_path))
    assert sorted(plan.cast) == (sorted(read_tensors(tmp_path)) if dtype == "bfloat16" else [])
    assert (plan.kept, plan.fresh) == ((), ())


@pytest.mark.parametrize(("name", "task"), [model for model in MODELS if model[0] in ("gpt2", "llama", "t5", "bart")])
def test_a_plan_s_cache_is_what_a_pass_keeps(tmp_path: Path, name: str, task: str) -> None:
    toy_model(name, task).save(tmp_path)
    plan, model = zoo.plan(tmp_path), zoo.load(tmp_path)
    decoder = getattr(model.backbone, "decoder", model.backbone)
    assert isinstance(decoder, Decoder)
    cache, ids = decoder.new_cache(13), torch.tensor([[5, 6, 7]])
    source = torch.randn(1, 4, model.hidden_size) if decoder is not model.backbone else None
    with torch.no_grad():
        decoder.run(ids, None, cache=cache, source=source)
    kept = [tensor for layer in cache.layers for tensor in layer._memory or ()]
    of_source = [tensor for layer in cache.layers for tensor in layer.source or ()]
    assert plan.cache_bytes(13, 4) == sum(tensor.nbytes for tensor in kept + of_source)
    assert plan.cache_bytes(13) == 13 * plan.cache_bytes_per_token == sum(tensor.nbytes for tensor in kept)
    assert (plan.source_cache_bytes_per_token > 0) == (source is not None)


def test_a_window_bounds_the_cache(tmp_path: Path) -> None:
    sizes = {"vocab_size": 53, "hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 4, "head_dim": 8}
    zoo.build(zoo.make_spec("mistral", **sizes, num_key_value_heads=1, sliding_window=10)).save(tmp_path)
    plan = zoo.plan(tmp_path, "float16")
    assert plan.cache == (CacheLayers(layers=4, window=10, most_tokens=1098, bytes_per_token=4 * 2 * 8 * 2),)
    assert plan.cache_bytes(1000) == 128_000
    assert plan.cache_bytes(10**6) == 1098 * 128


def test_modules_are_named_with_layers_together(tmp_path: Path) -> None:
    toy_model("t5", "text2text-generation").save(tmp_path)
    assert [(module.name, module.layers) for module in zoo.plan(tmp_path).modules] == [
        ("tokens", None),
        ("encoder.relative_bias", None), ("encoder.layers", 2), ("encoder.norm", None),
        ("decoder.relative_bias", None), ("decoder.layers", 3), ("decoder.norm", None),
    ]  # fmt: skip
    write_checkpoint(tmp_path / "bert", "BertForSequenceClassification", num_labels=5)
    modules = zoo.plan(tmp_path / "bert").modules
    assert modules[0] == ModuleSize("embeddings", None, (53 + 19 + 3 + 2) * 24, (53 + 19 + 3 + 2) * 24 * 4)
    assert [(module.name, module.layers) for module in modules[1:]] == [("layers", 2), ("head", None)]


def test_what_is_mapped_cast_put_together_and_new_is_told_apart(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertModel", pooler=False)
    parameters, biggest = zoo.plan(tmp_path).parameters, 53 * 24
    assert zoo.plan(tmp_path).memory == Memory(
        mapped_bytes=4 * parameters, own_bytes=0, peak_bytes=0, gpu_bytes=4 * parameters, host_peak_bytes=0
    )
    assert zoo.plan(tmp_path, "bfloat16").memory == Memory(
        mapped_bytes=0,
        own_bytes=2 * parameters,
        peak_bytes=2 * parameters,
        gpu_bytes=2 * parameters,
        host_peak_bytes=2 * biggest,
    )
    fresh = zoo.plan(tmp_path, task="text-classification", labels=LABELS)
    head = 24 * 24 + 24 + 24 * 5 + 5  # pooler and classifier
    assert sorted(fresh.fresh) == [
        "head.classifier.bias", "head.classifier.weight", "head.pooler.dense.bias", "head.pooler.dense.weight",
    ]  # fmt: skip
    assert (fresh.memory.mapped_bytes, fresh.memory.own_bytes) == (4 * parameters, 4 * head)


@pytest.mark.parametrize(
    ("dtype", "own", "peak", "host"), [(None, 60, 60, 60), (torch.float16, 30, 90, 90), (torch.float32, 60, 60, 60)]
)
def test_what_is_put_together_from_several_tensors_is_the_process_s_own(
    dtype: torch.dtype | None, own: int, peak: int, host: int
) -> None:
    with torch.device("meta"):
        module = torch.nn.Linear(3, 5, bias=False)
    layout = Layout((("one", "other", "third", "fourth", "fifth"), "weight", "fuse"))
    headers = {name: TensorHeader("F32", (1, 3), 0, 12) for name in layout.rows[0].hub}
    tensors = _Tensors(module, fit(module, layout, headers, architecture="any"), Weights(headers, {}), dtype)
    assert tensors.memory() == Memory(0, own, peak, own, host)


def test_a_checkpoint_of_two_dtypes_is_counted_in_both(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tensors = read_tensors(tmp_path)
    halved = {name: tensor.half() if "LayerNorm" in name else tensor for name, tensor in tensors.items()}
    write_tensors(tmp_path, halved)
    plan = zoo.plan(tmp_path)
    norms = sum(tensor.numel() for name, tensor in tensors.items() if "LayerNorm" in name)
    assert plan.dtypes == {"float32": 4 * (plan.parameters - norms), "float16": 2 * norms}
    assert len(zoo.plan(tmp_path, "float32").cast) == sum("LayerNorm" in name for name in tensors)


def test_tensors_that_no_parameter_takes_are_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    write_tensors(tmp_path, read_tensors(tmp_path) | {"embeddings.position_ids": torch.arange(19)[None]})
    assert zoo.plan(tmp_path).kept == ("embeddings.position_ids",)


def test_matrices_are_split_by_heads_or_along_an_axis_that_divides(tmp_path: Path) -> None:
    sizes = {"vocab_size": 53, "hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6}
    spec = zoo.make_spec("llama", **sizes, num_hidden_layers=3, intermediate_size=42)
    zoo.build(spec, "text-generation").save(tmp_path)
    plan = zoo.plan(tmp_path, ranks=4)
    split = 2 * 53 * 24 + 3 * (2 * 24 * 24 + 3 * 42 * 24)
    whole = 3 * 2 * 12 * 24
    assert plan.parameters == split + whole + 7 * 24
    assert plan.share == RankShare(
        ranks=4,
        weight_bytes=4 * (split // 4 + whole + 7 * 24),
        cache_bytes_per_token=plan.cache_bytes_per_token,
        split=(
            "embeddings.tokens", "layers.*.attention.query", "layers.*.attention.output",
            "layers.*.feedforward.up", "layers.*.feedforward.down", "layers.*.feedforward.gate", "head.output",
        ),
        whole=("layers.*.attention.key", "layers.*.attention.value"),
    )  # fmt: skip
    halves = zoo.plan(tmp_path, ranks=2).share
    assert halves is not None and halves.whole == ()
    assert halves.cache_bytes_per_token * 2 == plan.cache_bytes_per_token
    with pytest.raises(InvalidInput, match=r"^ranks is 0; it would be 1 or more$"):
        zoo.plan(tmp_path, ranks=0)


def test_a_plan_is_refused_as_a_load_would_be(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    with pytest.raises(HeadMissing):
        zoo.plan(tmp_path, task="text-classification")
    with pytest.raises(InvalidInput, match="There is no floating-point dtype 'int8'"):
        zoo.plan(tmp_path, "int8")
    change_config(tmp_path, hidden_size=48)
    with pytest.raises(WeightsMismatch):
        zoo.plan(tmp_path)


MEASURE = """
import sys, torch, zoo
def own_bytes():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1000 for line in lines if line.startswith("RssAnon"))
folder, dtype = sys.argv[1], sys.argv[2] or None
zoo.load(folder + "/small", dtype=dtype)  # what the first load imports
before = own_bytes()
model = zoo.load(folder, dtype=dtype)
print(own_bytes() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux tells of a process's own memory")
@pytest.mark.parametrize("dtype", ["", "bfloat16"])
def test_a_load_takes_the_memory_that_was_planned(tmp_path: Path, dtype: str) -> None:
    sizes: dict[str, Any] = {"hidden_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8}
    zoo.build(zoo.make_spec("bert", vocab_size=30_000, **sizes)).save(tmp_path)
    zoo.build(zoo.make_spec("bert", vocab_size=50, **sizes)).save(tmp_path / "small")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path), dtype], capture_output=True, text=True, check=True
    )
    memory = zoo.plan(tmp_path, dtype or None).memory
    assert memory.mapped_bytes + memory.own_bytes == zoo.plan(tmp_path, dtype or None).weight_bytes > 40_000_000
    assert abs(int(done.stdout) - memory.own_bytes) < 8_000_000


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize(("name", "task"), [("gpt2", "text-generation"), ("llama", "text-generation")])
def test_a_plan_counts_quantised_weights_and_says_what_they_cost(
    tmp_path: Path, name: str, task: str, kind: str, dtype: str | None
) -> None:
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 53}
    zoo.build(zoo.make_spec(name, **sizes), task).save(tmp_path)
    whole, plan = zoo.plan(tmp_path, dtype), zoo.plan(tmp_path, dtype, quantize=kind)
    model = zoo.load(tmp_path, device="cpu", dtype=dtype, quantize=kind)
    held = {type(weight) is torch.nn.Parameter: 0 for weight in model.parameters()}
    for weight in model.parameters():
        parts = [part for part in vars(weight).values() if isinstance(part, torch.Tensor)]
        plain = type(weight) is torch.nn.Parameter
        held[plain] += weight.nbytes if plain else sum(part.nbytes for part in parts)
    assert plan.dtypes == {kind: held[False], dtype or "float32": held[True]}
    assert sum(module.size_bytes for module in plan.modules) == plan.weight_bytes == plan.memory.gpu_bytes
    assert plan.memory.own_bytes + plan.memory.mapped_bytes == plan.weight_bytes < whole.weight_bytes
    assert (whole.accuracy, plan.accuracy) == (None, MEASURED[kind])


def test_another_kind_of_quantised_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        zoo.plan(tmp_path, quantize="int3")
    assert str(refused.value) == "quantize is 'int3'; it would be 'int8' or 'int4'"
