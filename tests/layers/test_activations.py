"""Activations against their formulas, number by number."""

import math

import pytest
import torch

from zoo.layers.activations import ACTIVATIONS


def tanh_gelu(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


FORMULAS = {
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "gelu_new": tanh_gelu,
    "gelu_fast": tanh_gelu,
    "gelu_pytorch_tanh": tanh_gelu,
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "swish": lambda x: x / (1 + math.exp(-x)),
    "tanh": math.tanh,
}
POINTS = [-4.0, -1.5, -0.3, 0.0, 0.2, 1.0, 3.5]


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_is_its_formula(name: str) -> None:
    expected = torch.tensor([FORMULAS[name](point) for point in POINTS])
    torch.testing.assert_close(ACTIVATIONS[name](torch.tensor(POINTS)), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_keeps_sixteen_bits(name: str) -> None:
    found = ACTIVATIONS[name](torch.tensor(POINTS, dtype=torch.bfloat16))
    assert found.dtype == torch.bfloat16
    expected = torch.tensor([FORMULAS[name](point) for point in POINTS])
    torch.testing.assert_close(found.float(), expected, atol=0.02, rtol=0.01)


def test_looking_rounded_gelu_up_gives_the_bits_that_computing_it_gives() -> None:
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).reshape(4, 16, -1)
    computed = ACTIVATIONS["gelu_new"](every.clone().requires_grad_()).detach()
    with torch.no_grad():
        found = ACTIVATIONS["gelu_new"](every.transpose(0, 1))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, computed.transpose(0, 1), atol=0, rtol=0, equal_nan=True)
