"""Linear layers: torch's numbers by another product, where it pays, and torch's own product everywhere else."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import zoo
from tests.training.samples import make_dropless, make_features, make_run, unwatched
from zoo.layers import linear
from zoo.layers.linear import Linear, is_available, multiply
from zoo.tasks import get_task
from zoo.training.loop import train

needs_avx512 = pytest.mark.skipif(not is_available(), reason="the other product is for processors with AVX-512")
ROWS, WIDTH, OUT = 340, 260, 252  # rows of 256, 64 and some more
PIECES_OF_ROWS = 2
BIG = torch.randn(400, 300, generator=torch.Generator().manual_seed(0))
ORDERS: dict[str, Callable[[], Tensor]] = {
    "as torch has it": lambda: torch.randn(OUT, WIDTH),
    "turned": lambda: torch.randn(WIDTH, OUT).t(),
    "a part of a matrix": lambda: BIG[7 : 7 + OUT, 3 : 3 + WIDTH],
    "a part of a turned matrix": lambda: BIG[11 : 11 + WIDTH, 5 : 5 + OUT].t(),
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the weights that oneDNN multiplies by, which all are without holes."""
    shapes: list[tuple[int, ...]] = []
    before = linear.onednn_product

    def count(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        assert weight.is_contiguous() or weight.t().is_contiguous()
        shapes.append(tuple(weight.shape))
        return before(hidden, weight, bias)

    monkeypatch.setattr(linear, "onednn_product", count)
    return shapes


def close(found: Tensor | None, expected: Tensor | None) -> None:
    """Within 1e-5 at unit scale; sums of some hundred products are some ten."""
    assert found is not None and expected is not None
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


@needs_avx512
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(ROWS,), (4, 85), (2, 5, 34)])
def test_product_and_gradients_are_torchs(
    order: str, bias: bool, shape: tuple[int, ...], calls: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(0)
    values = (torch.randn(*shape, WIDTH + 5)[..., 2:-3], ORDERS[order](), torch.randn(OUT) if bias else None)
    weights = torch.randn(*shape, OUT)
    own, expected = ([None if value is None else value.detach().requires_grad_() for value in values] for _ in range(2))
    found, wanted = multiply(*own), F.linear(*expected)  # type: ignore[arg-type]
    close(found, wanted)
    with torch.no_grad():
        close(multiply(*own), wanted)  # type: ignore[arg-type]
    (found * weights).sum().backward()
    (wanted * weights).sum().backward()
    for mine, theirs in zip(own, expected, strict=True):
        if mine is not None and theirs is not None:
            close(mine.grad, theirs.grad)
    assert calls == [(OUT, WIDTH)] * 2 * PIECES_OF_ROWS + [(WIDTH, OUT)] * PIECES_OF_ROWS + [(WIDTH, 256), (WIDTH, 64)]


@needs_avx512
@pytest.mark.parametrize(
    ("rows", "sizes"),
    [(65, [64]), (127, [64]), (256, [256]), (400, [256, 64, 64]), (1024, [1024]), (2449, [1024, 1024, 256, 64, 64])],
)
def test_rows_are_multiplied_in_pieces_of_few_sizes(
    rows: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    before = linear.onednn_product

    def count(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        read.append(len(hidden))
        return before(hidden, weight, bias)

    monkeypatch.setattr(linear, "onednn_product", count)
    torch.manual_seed(0)
    hidden, layer = torch.randn(rows, WIDTH), Linear(WIDTH, OUT)
    with torch.no_grad():
        close(layer(hidden), F.linear(hidden, layer.weight, layer.bias))
    assert read == sizes


@needs_avx512
def test_gradients_have_gradients() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(ROWS, WIDTH, requires_grad=True), torch.randn(OUT, WIDTH, requires_grad=True)

    def penalty(product: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, ...]:
        score = product(hidden, weight).tanh().mean()
        (slope,) = torch.autograd.grad(score, hidden, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), (hidden, weight))

    for found, expected in zip(penalty(multiply), penalty(F.linear), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-3)


@needs_avx512
def test_what_is_frozen_costs_nothing_backwards(calls: list[tuple[int, ...]]) -> None:
    layer = Linear(WIDTH, OUT)
    layer.weight.requires_grad_(False)
    hidden = torch.randn(ROWS, WIDTH)
    layer(hidden).sum().backward()
    assert layer.weight.grad is None and layer.bias.grad is not None
    assert calls == [(OUT, WIDTH)] * PIECES_OF_ROWS


def few(layer: Linear) -> Tensor:
    found: Tensor = layer(torch.randn(63, WIDTH))
    return found


def narrow(layer: Linear) -> Tensor:
    found: Tensor = layer.to(torch.bfloat16)(torch.randn(ROWS, WIDTH, dtype=torch.bfloat16))
    return found


def wide(layer: Linear) -> Tensor:
    found: Tensor = layer.double()(torch.randn(ROWS, WIDTH, dtype=torch.float64))
    return found


def autocast(layer: Linear) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        found: Tensor = layer(torch.randn(ROWS, WIDTH))
    assert found.dtype == torch.bfloat16
    return found


def without_memory(layer: Linear) -> Tensor:
    found: Tensor = layer.to("meta")(torch.randn(ROWS, WIDTH, device="meta"))
    return found


def traced(layer: Linear) -> Tensor:
    found: Tensor = torch.jit.trace(layer, torch.randn(ROWS, WIDTH), check_trace=False)(torch.randn(ROWS, WIDTH))
    return found


class Marked(Tensor):
    """A tensor of another kind, such as a quantised one or a share of one."""


def another_kind(layer: Linear) -> Tensor:
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Marked))
    found: Tensor = layer(torch.randn(ROWS, WIDTH))
    return found


@pytest.mark.parametrize("way", [few, narrow, wide, autocast, without_memory, traced, another_kind])
def test_all_else_is_torchs_own_layer(way: Callable[[Linear], Tensor], calls: list[tuple[int, ...]]) -> None:
    assert way(Linear(WIDTH, OUT)).shape[-1] == OUT
    assert calls == []


@pytest.mark.parametrize("lacking", ["instructions", "operator", "truth"])
def test_without_the_operator_torch_multiplies(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object) -> Tensor:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    if lacking == "instructions":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    else:
        wrong = missing if lacking == "operator" else lambda hidden, weight, bias: hidden @ weight.T + 1
        monkeypatch.setattr(linear, "onednn_product", wrong)
    is_available.cache_clear()
    hidden, layer = torch.randn(ROWS, WIDTH), Linear(WIDTH, OUT)
    try:
        assert not is_available()
        assert layer(hidden).equal(F.linear(hidden, layer.weight, layer.bias))
    finally:
        is_available.cache_clear()


@needs_avx512
def test_a_model_learns_the_same(calls: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "PIECES", (16, 4))
    monkeypatch.setattr(linear, "LEAST_ROWS", 4)

    def learn(least_products: int) -> tuple[list[float], zoo.Model]:
        monkeypatch.setattr(linear, "LEAST_PRODUCTS", least_products)
        model, features = make_dropless("text-classification"), make_features(12)
        run = make_run(model, features, batch_size=3, learning_rate=1e-3, epochs=3)
        return train(run, get_task(model.task), features, [], unwatched).losses, model

    expected, plain = learn(2**62)
    assert calls == []
    found, other = learn(1)
    assert calls
    assert found == pytest.approx(expected, abs=2e-6)
    for mine, theirs in zip(other.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-6, rtol=0)
