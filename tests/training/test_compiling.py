"""Compiled training: the same losses and weights, whatever the lengths of batches, and a warning without a compiler."""

import functools
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

import zoo
from tests.checkpoints import LABELS, SIZES, assert_same_bytes, read_tensors, write_tokenizer
from tests.training.samples import make_dropless, make_features, make_run, unwatched
from zoo.errors import InvalidInput, ZooWarning
from zoo.tasks import get_task
from zoo.tokenization import load_tokenizer
from zoo.training.loop import train
from zoo.training.state import State

WORDS = ("the", "a", "good", "bad", "film", "was", "very", "cat")
TEXTS = [" ".join(WORDS[(index * 5 + place) % 8] for place in range(1 + index % 13)) for index in range(30)]
SPECS: dict[str, tuple[str, dict[str, Any]]] = {
    "modernbert": (
        "fill-mask",
        {"vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 40,
         "max_position_embeddings": 19, "local_attention": 8, "global_attn_every_n_layers": 2,
         "attention_dropout": 0.0, "embedding_dropout": 0.0, "mlp_dropout": 0.0},
    ),
    "gpt2": (
        "text-generation",
        {"vocab_size": 53, "n_positions": 19, "n_embd": 24, "n_layer": 3, "n_head": 4,
         "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0},
    ),
    "t5": (
        "translation",
        {"vocab_size": 53, "d_model": 24, "d_kv": 7, "d_ff": 40, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 3,
         "dropout_rate": 0.0},
    ),
}  # fmt: skip


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace and guard as ever, and run what was traced without the minute that inductor takes."""
    torch.compiler.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager", fullgraph=True))


def trained(**config: Any) -> State:
    """Train a small classifier on 24 texts of 1 to 18 tokens, in batches of like length."""
    model, features = make_dropless(), make_features(24)
    settings = {"epochs": 3, "batch_size": 5, "learning_rate": 1e-3, **config}
    return train(make_run(model, features, **settings), get_task(model.task), features, features[:7], unwatched)


def learnt(name: str, folder: Path, **config: Any) -> zoo.FinetuneResult:
    """Train a small model of an architecture by its own task."""
    task, fields = SPECS[name]
    model = zoo.build(zoo.make_spec(name, **fields), task, seed=1)
    write_tokenizer(folder)
    model.tokenizer = load_tokenizer(folder)
    examples = [{"text": text, "source": text, "target": text[::-1]} for text in TEXTS]
    settings = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, **config}
    return zoo.finetune(model, examples, config=zoo.FinetuneConfig(**settings))


@pytest.mark.parametrize("recomputes", [False, True])
def test_one_graph_serves_all_layers_and_lengths_with_the_same_losses(traced: None, recomputes: bool) -> None:
    plain = trained()
    assert counters["stats"] == {}
    compiled = trained(compile=True, gradient_checkpointing=recomputes)
    assert compiled.losses == pytest.approx(plain.losses, abs=1e-5)
    assert counters["stats"]["unique_graphs"] == 1
    for name, parameter in plain.model.named_parameters():
        torch.testing.assert_close(compiled.model.get_parameter(name), parameter, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SPECS)
def test_whatever_the_layers_are_few_graphs_serve_them(traced: None, tmp_path: Path, name: str) -> None:
    """Windows, packed rows, and a source beside a decoder."""
    plain = learnt(name, tmp_path)
    compiled = learnt(name, tmp_path, compile=True)
    assert compiled.losses == pytest.approx(plain.losses, abs=1e-5)
    assert 1 <= counters["stats"]["unique_graphs"] <= 4
    adapted = learnt(name, tmp_path, lora=zoo.LoraConfig(rank=2))
    assert learnt(name, tmp_path, compile=True, lora=zoo.LoraConfig(rank=2)).losses == pytest.approx(
        adapted.losses, abs=1e-5
    )


def test_the_model_is_as_it_was_afterwards_and_saves_ordinary_names(traced: None, tmp_path: Path) -> None:
    plain, compiled = (
        learnt("gpt2", tmp_path, compile=compiles, output_dir=tmp_path / str(compiles)) for compiles in (False, True)
    )
    found, expected = read_tensors(tmp_path / "True"), read_tensors(tmp_path / "False")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-5)
    counted = dict(counters["stats"])
    assert compiled.model.generate(["the cat"], max_new_tokens=5)[0].token_ids == (
        plain.model.generate(["the cat"], max_new_tokens=5)[0].token_ids
    )
    compiled.model.train()
    compiled.model(input_ids=torch.tensor([[5, 6, 7]]))
    assert counters["stats"] == counted


def test_a_compiled_run_broken_off_ends_the_same(traced: None, tmp_path: Path) -> None:
    """With dropout, whose random numbers are part of a checkpoint."""
    examples = [{"text": text, "label": LABELS[index % 5]} for index, text in enumerate(TEXTS)]

    def run(out: str, **options: Any) -> zoo.FinetuneResult:
        model = zoo.build(zoo.make_spec("bert", **SIZES), "text-classification", labels=LABELS, seed=2)
        write_tokenizer(tmp_path)
        model.tokenizer = load_tokenizer(tmp_path)
        config = zoo.FinetuneConfig(
            epochs=2, batch_size=5, learning_rate=1e-3, save_steps=2, compile=True, output_dir=tmp_path / out
        )
        return zoo.finetune(model, examples, config=config, **options)

    def stop(step: int, steps: int, loss: float) -> None:
        if step == 5:
            raise InterruptedError

    whole = run("whole")
    with pytest.raises(InterruptedError):
        run("out", watch=stop)
    resumed = run("out", resume=True)
    assert resumed.losses == whole.losses
    assert_same_bytes(dict(resumed.model.named_parameters()), dict(whole.model.named_parameters()))


def test_without_a_compiler_it_warns_once_and_learns_the_same() -> None:
    import torch._inductor.config
    from torch._inductor.utils import fresh_cache

    plain = trained()
    torch.compiler.reset()
    none = torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)})
    with none, fresh_cache(), pytest.warns(ZooWarning) as warned:
        found = trained(compile=True)
    said = [str(warning.message) for warning in warned if issubclass(warning.category, ZooWarning)]
    assert len(said) == 1
    assert said[0].startswith("The model trains without being compiled: InvalidCxxCompiler: ")
    assert said[0].endswith(
        ". A C++ compiler such as g++, on a GPU also triton, would be installed; or leave out compile"
    )
    assert found.losses == plain.losses


def test_layers_that_are_no_stacks_are_refused() -> None:
    model = make_dropless()
    model.backbone = torch.nn.Linear(3, 2)
    features = make_features(5)
    with pytest.raises(InvalidInput) as raised:
        train(make_run(model, features, compile=True), get_task(model.task), features, [], unwatched)
    assert str(raised.value) == (
        "compile: the architecture 'bert' is not made of zoo.layers' stacks, whose layers could be compiled; leave it out"
    )


@pytest.mark.skipif("ZOO_SLOW" not in os.environ, reason="inductor takes a minute; `make test-all` runs it")
@pytest.mark.parametrize("config", [{}, {"gradient_checkpointing": True}])
def test_inductors_code_learns_the_same(config: dict[str, Any]) -> None:
    torch.compiler.reset()
    counters.clear()
    plain = trained()
    assert trained(compile=True, **config).losses == pytest.approx(plain.losses, abs=1e-5)
    assert counters["stats"]["unique_graphs"] == 1
