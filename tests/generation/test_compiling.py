"""Compiled decoding: the same answers from one graph, whatever their length, and a warning where there is no compiler."""

import copy
import functools
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch._dynamo.utils import counters

import zoo
from tests.generation.samples import PROMPTS, T5, gpt2, write

SIZES = {
    "vocab_size": 53, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 90, "pad_token_id": 0,
}  # fmt: skip
WAYS: list[dict[str, Any]] = [
    {"max_new_tokens": 20},
    {"max_new_tokens": 20, "num_beams": 3},
    {"max_new_tokens": 20, "temperature": 1.5, "seed": 4},
]


def written(folder: Path, kind: str) -> zoo.Model:
    """A model with learned positions, distances and a source, rotary positions, or windows besides."""
    if kind == "gpt2":
        gpt2(folder)
    elif kind == "t5":
        config: Any = transformers.T5Config(**T5, eos_token_id=3, decoder_start_token_id=0)
        write(folder, "T5ForConditionalGeneration", config)
    elif kind == "llama":
        write(folder, "LlamaForCausalLM", transformers.LlamaConfig(**SIZES, eos_token_id=44))
    elif kind == "mistral":
        config = transformers.MistralConfig(**SIZES, eos_token_id=44, sliding_window=6)
        write(folder, "MistralForCausalLM", config)
    else:
        scaling = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 100.0}
        config = transformers.LlamaConfig(
            **SIZES | {"max_position_embeddings": 12}, eos_token_id=None, rope_parameters=scaling
        )
        write(folder, "LlamaForCausalLM", config)
    return zoo.load(folder, device="cpu")


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace and guard as ever, and run what was traced without the minute that inductor takes."""
    torch.compiler.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager", fullgraph=True))


@pytest.mark.parametrize("kind", ["gpt2", "t5", "llama", "mistral"])
def test_a_compiled_model_writes_the_same_by_one_graph_for_each_batch(tmp_path: Path, traced: None, kind: str) -> None:
    model = written(tmp_path, kind)
    expected = [model.generate(PROMPTS, **way) for way in WAYS]
    model.compile()
    for count, (way, answers) in enumerate(zip(WAYS, expected, strict=True), start=1):
        found = model.generate(PROMPTS, **way)
        assert [(a.token_ids, a.finish_reason) for a in found] == [(a.token_ids, a.finish_reason) for a in answers]
        for one, other in zip(found, answers, strict=True):
            assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)
        assert counters["stats"]["unique_graphs"] == (1 if count == 1 else 2)  # beams are a larger batch


def test_nothing_is_compiled_again_while_the_length_grows_to_the_capacity(tmp_path: Path, traced: None) -> None:
    gpt2(tmp_path, eos=None)
    model = zoo.load(tmp_path, device="cpu")
    model.compile()
    for count in (3, 20, 37):
        model.generate(PROMPTS[:1], max_new_tokens=count)
    assert counters["stats"]["unique_graphs"] == 1
    assert len(list(model.stream(PROMPTS[0], max_new_tokens=20, temperature=2.0))) > 9
    assert counters["stats"]["unique_graphs"] == 1


def test_a_stream_beside_another_goes_on_as_by_itself(tmp_path: Path, traced: None) -> None:
    model = written(tmp_path, "llama")
    expected = ["".join(model.stream(prompt, max_new_tokens=12)) for prompt in PROMPTS[:2]]
    model.compile()
    pieces = [model.stream(prompt, max_new_tokens=12) for prompt in PROMPTS[:2]]
    texts = ["", ""]
    for _ in range(13):
        texts = [text + next(stream, "") for text, stream in zip(texts, pieces, strict=True)]
    assert texts == expected


def test_where_a_longer_text_turns_its_past_anew_steps_are_as_ever(tmp_path: Path, traced: None) -> None:
    model = written(tmp_path, "dynamic")
    expected = model.generate(PROMPTS[:1], max_new_tokens=8)
    model.compile()
    assert model.generate(PROMPTS[:1], max_new_tokens=8) == expected
    assert counters["stats"] == {}


def test_a_copy_of_a_compiled_model_compiles_for_itself(tmp_path: Path, traced: None) -> None:
    model = written(tmp_path, "llama")
    expected = model.generate(PROMPTS, max_new_tokens=9)
    model.compile()
    assert model.generate(PROMPTS, max_new_tokens=9)[0].token_ids == expected[0].token_ids
    twin = copy.deepcopy(model)
    assert twin.generate(PROMPTS, max_new_tokens=9)[0].token_ids == expected[0].token_ids


def test_without_a_compiler_it_warns_and_writes_the_same(tmp_path: Path) -> None:
    import torch._inductor.config
    from torch._inductor.utils import fresh_cache

    model = written(tmp_path, "llama")
    expected = model.generate(PROMPTS, max_new_tokens=9)
    torch.compiler.reset()
    model.compile()
    none = torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)})
    with none, fresh_cache(), pytest.warns(UserWarning) as warned:
        found = model.generate(PROMPTS, max_new_tokens=9)
    said = [str(warning.message) for warning in warned if "being compiled" in str(warning.message)]
    assert len(said) == 1
    assert said[0].startswith("The model decodes without being compiled: InvalidCxxCompiler: ")
    assert said[0].endswith(
        ". A C++ compiler such as g++, on a GPU also triton, would be installed; or leave out compile()"
    )
    assert [answer.token_ids for answer in found] == [answer.token_ids for answer in expected]


@pytest.mark.skipif("ZOO_SLOW" not in os.environ, reason="inductor takes a minute; `make test-all` runs it")
@pytest.mark.parametrize("kind", ["gpt2", "t5", "mistral"])
def test_inductors_code_writes_the_same(tmp_path: Path, kind: str) -> None:
    torch.compiler.reset()
    counters.clear()
    model = written(tmp_path, kind)
    expected = model.generate(PROMPTS, max_new_tokens=20)
    model.compile()
    found = model.generate(PROMPTS, max_new_tokens=20)
    assert [answer.token_ids for answer in found] == [answer.token_ids for answer in expected]
    assert counters["stats"]["unique_graphs"] == 1
