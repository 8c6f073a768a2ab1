"""RMS norms against the formula."""

import pytest
import torch

from zoo.layers.initialization import fresh_weights
from zoo.layers.norms import RMSNorm


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_states_are_divided_by_their_root_mean_square_and_weighted(offset: float) -> None:
    torch.manual_seed(1)
    norm = RMSNorm(5, eps=0.1, offset=offset)
    torch.nn.init.normal_(norm.weight)
    hidden = torch.randn(2, 3, 5)
    found = norm(hidden)
    for row in range(2):
        for place in range(3):
            x = hidden[row, place].tolist()
            root = (sum(value**2 for value in x) / 5 + 0.1) ** 0.5
            expected = [value / root * (offset + w) for value, w in zip(x, norm.weight.tolist(), strict=True)]
            torch.testing.assert_close(found[row, place], torch.tensor(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_the_mean_is_taken_in_float32_and_the_dtype_kept(offset: float) -> None:
    torch.manual_seed(1)
    norm = RMSNorm(5, eps=1e-6, offset=offset).bfloat16()
    torch.nn.init.normal_(norm.weight)
    hidden = 3e2 * torch.randn(2, 3, 5, dtype=torch.bfloat16)
    exact = hidden.float() / (hidden.float().square().mean(-1, keepdim=True) + 1e-6).sqrt()
    # Where the weight is stored as a distance from 1 the product is rounded once; else both factors are.
    expected = (exact * (1 + norm.weight.float())).bfloat16() if offset else exact.bfloat16() * norm.weight
    assert norm(hidden).dtype == torch.bfloat16
    assert norm(hidden).equal(expected)


@pytest.mark.parametrize(("offset", "first"), [(0.0, 1.0), (1.0, 0.0)])
def test_a_fresh_norm_leaves_the_length_alone(offset: float, first: float) -> None:
    norm = RMSNorm(5, eps=1e-6, offset=offset)
    assert fresh_weights(norm, ["weight"], 0.02, seed=1)["weight"].equal(torch.full((5,), first))
