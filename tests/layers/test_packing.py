"""Prepared weights: the same numbers, never those of other weights, and nothing lost where they cannot be."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

import zoo
from tests.generation.samples import PROMPTS, T5, gpt2, write
from zoo.layers import packing
from zoo.layers.attention import Attention
from zoo.layers.feedforward import GatedFeedForward
from zoo.layers.packing import PackedWeights, is_available

LLAMA = {
    "vocab_size": 53, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
WIDTH, OUT = 260, 252  # just enough elements to be packed


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let matrices of the tests' sizes be packed."""
    monkeypatch.setattr(packing, "LEAST_ELEMENTS", 1)


@contextmanager
def answering(packed: PackedWeights) -> Iterator[None]:
    with torch.inference_mode(), packed.applied():
        yield


def of(module: nn.Module, hidden: Tensor) -> Tensor:
    found: Tensor = module(hidden)
    return found


def same(found: Tensor, expected: Tensor) -> None:
    """Equal in bfloat16, within 1e-5 of sums of WIDTH products in float32."""
    if found.dtype == torch.bfloat16:
        assert found.equal(expected)
    else:
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 1), (7, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_product_is_the_plain_one(dtype: torch.dtype, shape: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    linear, hidden = nn.Linear(WIDTH, OUT + 1, bias=bias).to(dtype), torch.randn(*shape, WIDTH).to(dtype)
    packed = PackedWeights([linear])
    assert packed.size_bytes == sum(p.numel() * p.element_size() for p in linear.parameters())
    with torch.no_grad():
        expected = of(linear, hidden)
    with answering(packed):
        same(of(linear, hidden), expected)
        same(of(linear, hidden.transpose(0, 1).contiguous().transpose(0, 1)), expected)
    assert "forward" not in vars(linear)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_lie_transposed_are_packed_too(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    linear, hidden = nn.Linear(WIDTH, OUT + 1).to(dtype), torch.randn(2, 1, WIDTH).to(dtype)
    linear.weight = nn.Parameter(linear.weight.detach().T.contiguous().T)
    with torch.no_grad():
        expected = of(linear, hidden)
    with answering(PackedWeights([linear])):
        same(of(linear, hidden), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("time", [1, 3])
def test_joined_projections_are_those_apart(small: None, dtype: torch.dtype, time: int) -> None:
    torch.manual_seed(0)
    attention = Attention(hidden_size=24, num_attention_heads=6, num_key_value_heads=2, head_dim=5, causal=True)
    gated = GatedFeedForward(hidden_size=24, intermediate_size=40, activation="silu", bias=False)
    both, hidden = nn.Sequential(attention, gated).to(dtype).eval(), torch.randn(3, time, 24).to(dtype)
    packed = PackedWeights([both])
    with torch.no_grad():
        expected = of(both, hidden)
    with answering(packed):
        assert attention.joined is not None
        assert gated.joined is not None
        same(of(both, hidden), expected)
    assert attention.joined is None
    assert gated.joined is None


def in_place(linear: nn.Linear) -> None:
    torch.optim.SGD(linear.parameters(), lr=0.5).step()


def fused(linear: nn.Linear) -> None:
    torch.optim.AdamW(linear.parameters(), lr=0.5, fused=True).step()


def past_autograd(linear: nn.Linear) -> None:
    linear.weight.data.mul_(2)


def another(linear: nn.Linear) -> None:
    linear.weight = nn.Parameter(2 * linear.weight.detach())


def other_memory(linear: nn.Linear) -> None:
    linear.weight.data = 2 * linear.weight.detach()


def other_bias(linear: nn.Linear) -> None:
    with torch.no_grad():
        linear.bias.add_(1)


def no_bias(linear: nn.Linear) -> None:
    linear.bias = None  # type: ignore[assignment]


@pytest.mark.parametrize("change", [in_place, fused, past_autograd, another, other_memory, other_bias, no_bias])
def test_a_copy_of_weights_that_changed_is_not_used(change: Any) -> None:
    torch.manual_seed(0)
    linear, hidden = nn.Linear(WIDTH, OUT + 1), torch.randn(1, 1, WIDTH)
    owner = nn.Module()
    for parameter in linear.parameters():
        parameter.grad = torch.randn_like(parameter)
    with torch.inference_mode(), packing.packed(owner, [linear], 32):
        before = of(linear, hidden)
    change(linear)
    with torch.inference_mode():
        expected = of(linear, hidden)
        assert not torch.allclose(before, expected, atol=1e-3)
        with packing.packed(owner, [linear], 0):
            assert "forward" not in vars(linear)
            assert of(linear, hidden).equal(expected)
        with packing.packed(owner, [linear], 32):
            assert "forward" in vars(linear)
            same(of(linear, hidden), expected)


def test_gradients_never_go_through_a_copy() -> None:
    linear, hidden = nn.Linear(WIDTH, OUT + 1), torch.randn(2, WIDTH)
    with PackedWeights([linear]).applied():
        of(linear, hidden).sum().backward()
    assert linear.weight.grad is not None
    torch.testing.assert_close(linear.weight.grad, hidden.sum(0).expand(OUT + 1, WIDTH))


class Scaled(nn.Linear):
    """A layer that is not torch's own."""


def test_what_others_changed_is_left_alone(small: None) -> None:
    scaled, plain, hooked = Scaled(24, 20), nn.Linear(24, 21), Attention(hidden_size=24, num_attention_heads=3)
    wrapped = Attention(hidden_size=24, num_attention_heads=3)
    wrapped.query = nn.Sequential(nn.Linear(24, 24))  # type: ignore[assignment]
    with torch.inference_mode():
        counting_no_versions = nn.Linear(24, 22)
    calls: list[str] = []
    hooked.key.register_forward_hook(lambda *_: calls.append("key"))
    packed = PackedWeights([scaled, plain, hooked, wrapped, counting_no_versions])
    with answering(packed):
        assert [name for name, one in (("scaled", scaled), ("plain", plain)) if "forward" in vars(one)] == ["plain"]
        assert "forward" not in vars(counting_no_versions)
        assert hooked.joined is None
        assert wrapped.joined is None
        hooked(torch.randn(1, 4, 24))
    assert calls == ["key"]


@pytest.mark.parametrize("failure", [AttributeError, RuntimeError])
def test_without_the_operators_layers_go_on_unpacked(monkeypatch: pytest.MonkeyPatch, failure: type[Exception]) -> None:
    def refuse(*inputs: Any) -> None:
        raise failure("no such operator")

    torch.manual_seed(0)
    linear, hidden = nn.Linear(WIDTH, OUT + 1), torch.randn(1, 1, WIDTH)
    is_available.cache_clear()
    try:
        monkeypatch.setattr(packing, "_pack", refuse)
        packed = PackedWeights([linear])
        assert packed.size_bytes == 0
        with torch.no_grad():
            expected = of(linear, hidden)
        with answering(packed):
            assert of(linear, hidden).equal(expected)
    finally:
        is_available.cache_clear()


class Reader(nn.Module):
    """A layer of somebody else's, which reads what its children have."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(24), nn.Linear(24, 20)

    def forward(self, hidden: Tensor) -> Tensor:
        normalised = self.norm(hidden) * self.norm.weight.sum() + self.norm.eps
        return of(self.linear, normalised) + self.linear.weight.sum() * self.linear.out_features


def test_meanwhile_children_have_what_they_have_and_hooks_are_called(small: None) -> None:
    torch.manual_seed(0)
    reader, hidden = Reader(), torch.randn(2, 1, 24)
    expected = reader(hidden).detach()
    packed, before = PackedWeights([reader]), {name: dict(vars(module)) for name, module in reader.named_modules()}
    with answering(packed):
        same(reader(hidden), expected)
        assert reader.linear is not reader._modules["linear"]
        assert not hasattr(reader.linear, "no_such") and not hasattr(reader.norm, "_no_such")
    assert {name: dict(vars(module)) for name, module in reader.named_modules()} == before
    seen: list[str] = []
    reader.norm.register_forward_hook(lambda *call: seen.append("norm"))
    reader.linear.register_forward_pre_hook(lambda *call: seen.append("linear"))
    with answering(packed):
        same(reader(hidden), expected)
    assert seen == ["norm", "linear"]


def test_an_operator_that_gives_other_numbers_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    is_available.cache_clear()
    try:
        monkeypatch.setattr(packing, "onednn_product", lambda hidden, packed, bias: hidden @ torch.ones(64, 48))
        assert not is_available(torch.float32)
    finally:
        is_available.cache_clear()
    assert not is_available(torch.float16)


def written(folder: Path, kind: str) -> zoo.Model:
    """A model that transformers saved, with tied or untied output."""
    if kind == "gpt2":
        gpt2(folder, eos=None)
    elif kind == "t5":
        config = transformers.T5Config(**T5, eos_token_id=52, decoder_start_token_id=0)
        write(folder, "T5ForConditionalGeneration", config)
    else:
        write(folder, "LlamaForCausalLM", transformers.LlamaConfig(**LLAMA, eos_token_id=None, pad_token_id=0))
    return zoo.load(folder, device="cpu")


@pytest.mark.parametrize("kind", ["gpt2", "t5", "llama"])
def test_every_kind_of_model_writes_the_same_over_prepared_weights(tmp_path: Path, small: None, kind: str) -> None:
    model = written(tmp_path, kind)
    model.packs_weights = False
    expected = model.generate(PROMPTS, max_new_tokens=18)
    assert model.packed_bytes == 0
    model.packs_weights = True
    short = model.generate(PROMPTS, max_new_tokens=18)
    assert model.packed_bytes == 0
    long = model.generate(PROMPTS, max_new_tokens=32)
    decoder = getattr(model.backbone, "decoder", model.backbone)
    weights = {p for part in (decoder, model.head) for p in part.parameters()}  # type: ignore[union-attr]
    tables = sum(p.numel() for m in decoder.modules() if isinstance(m, nn.Embedding) for p in m.parameters())
    assert 0.5 * 4 * (sum(p.numel() for p in weights) - tables) < model.packed_bytes
    again = model.generate(PROMPTS, max_new_tokens=18)
    for answers in (short, again, [*long]):
        assert [a.token_ids[:18] for a in answers] == [a.token_ids for a in expected]
    for found, wanted in zip(again, expected, strict=True):
        assert found.log_probability == pytest.approx(wanted.log_probability, abs=1e-4)


def test_training_loading_and_moving_drop_the_copies(tmp_path: Path, small: None) -> None:
    model = written(tmp_path, "gpt2")
    state = model.state_dict()
    for change in (model.train, lambda: model.load_state_dict(state), lambda: model.to(torch.bfloat16), model.unpack):
        model.eval()
        model.generate(PROMPTS[:1], max_new_tokens=32)
        assert model.packed_bytes > 0
        change()
        assert model.packed_bytes == 0


def test_a_model_in_training_is_so_again_after_an_answer(tmp_path: Path) -> None:
    model = written(tmp_path, "gpt2").train()
    model.generate(PROMPTS[:1], max_new_tokens=3)
    assert all(module.training for module in model.modules())
    model.eval()
    assert model.head is not None
    model.head.train()
    model.generate(PROMPTS[:1], max_new_tokens=3)
    assert not model.training


def test_between_the_pieces_of_a_stream_the_model_is_as_it_was(tmp_path: Path, small: None) -> None:
    model = written(tmp_path, "gpt2").train()
    pieces = model.stream(PROMPTS[0], max_new_tokens=20, temperature=2.0)
    next(pieces)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
    assert model.training
    assert [m for m in model.modules() if "forward" in vars(m)] == []
    pieces.close()
