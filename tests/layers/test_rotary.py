"""Rotary positions against the formulas of their papers, dimension by dimension."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.layers.rotary import Rotary, rotate
from zoo.rope import RopeParameters, make_rotary

DIM, BASE, LENGTH = 8, 100.0, 40


def angles(rotary: Rotary, positions: Tensor) -> Tensor:
    """The angles of the first half of the dimensions, from what is given: (batch, time, dim / 2)."""
    cosines, sines = rotary(positions, torch.float32)
    assert cosines[..., : DIM // 2].equal(cosines[..., DIM // 2 :])
    assert sines[..., : DIM // 2].equal(sines[..., DIM // 2 :])
    return torch.atan2(sines, cosines)[:, 0, :, : DIM // 2]


def check(rotary: Rotary, frequencies: list[float], sharpening: float = 1.0) -> None:
    positions = torch.tensor([[0, 1, 2, 5, 39], [7, 8, 9, 10, 0]])
    cosines, sines = rotary(positions, torch.float32)
    assert cosines.shape == sines.shape == (2, 1, 5, DIM)
    for row in range(2):
        for place in range(5):
            for dimension in range(DIM):
                angle = int(positions[row, place]) * frequencies[dimension % (DIM // 2)]
                assert math.isclose(
                    float(cosines[row, 0, place, dimension]), sharpening * math.cos(angle), abs_tol=2e-5
                )
                assert math.isclose(float(sines[row, 0, place, dimension]), sharpening * math.sin(angle), abs_tol=2e-5)


def plain(base: float = BASE) -> list[float]:
    return [base ** (-2 * pair / DIM) for pair in range(DIM // 2)]


def test_pair_i_turns_by_the_position_times_base_to_the_minus_2i_over_dim() -> None:
    check(Rotary(DIM, BASE), plain())


def test_linear_scaling_divides_positions() -> None:
    check(Rotary(DIM, BASE, scaling="linear", factor=4.0), [frequency / 4 for frequency in plain()])


def test_llama3_keeps_fast_dimensions_stretches_slow_ones_and_ramps_between() -> None:
    low, high, factor = 1.0, 4.0, 8.0
    rotary = Rotary(
        DIM,
        BASE,
        scaling="llama3",
        factor=factor,
        original_length=LENGTH,
        low_frequency_factor=low,
        high_frequency_factor=high,
    )
    expected, kinds = [], []
    for frequency in plain():
        wavelength = 2 * math.pi / frequency
        if wavelength < LENGTH / high:
            expected.append(frequency)
            kinds.append("kept")
        elif wavelength > LENGTH / low:
            expected.append(frequency / factor)
            kinds.append("stretched")
        else:
            smooth = (LENGTH / wavelength - low) / (high - low)
            expected.append((1 - smooth) * frequency / factor + smooth * frequency)
            kinds.append("between")
    assert kinds == ["kept", "between", "stretched", "stretched"]
    check(rotary, expected)


@pytest.mark.parametrize("whole", [True, False])
def test_yarn_ramps_over_dimensions_and_sharpens(whole: bool) -> None:
    factor, fast, slow, length = 4.0, 8.0, 1.0, 400
    rotary = Rotary(
        DIM,
        BASE,
        scaling="yarn",
        factor=factor,
        original_length=length,
        fast_rotations=fast,
        slow_rotations=slow,
        whole_dimensions=whole,
        sharpening=1.3,
    )
    # Section 3.2 solved for the pair d whose wavelength fits r times: 2π·base^(2d/dim) = length / r.
    first, last = (DIM / 2 * math.log(length / (2 * math.pi * r), BASE) for r in (fast, slow))
    assert 0 < first < last < DIM - 1
    if whole:
        first, last = math.floor(first), math.ceil(last)
    expected = []
    for pair, frequency in enumerate(plain()):
        stretched = min(max((pair - first) / (last - first), 0.0), 1.0)
        expected.append(stretched * frequency / factor + (1 - stretched) * frequency)
    check(rotary, expected, sharpening=1.3)


def test_dynamic_scaling_raises_the_base_by_each_rows_own_length() -> None:
    rotary = Rotary(DIM, BASE, scaling="dynamic", factor=3.0, original_length=10)
    assert rotary.depends_on_length
    positions = torch.tensor([[0, 1, 2, 3, 4], [0, 0, 1, 2, 3], [21, 22, 23, 24, 25]])
    found = angles(rotary, positions)
    for row, length in enumerate([10, 10, 26]):  # short texts count as the original length
        base = BASE * (3.0 * length / 10 - 2.0) ** (DIM / (DIM - 2))
        expected = [place * frequency for place in positions[row].tolist() for frequency in plain(base)]
        turned = torch.tensor(expected).view(5, DIM // 2)
        torch.testing.assert_close(found[row].cos(), turned.cos(), atol=1e-5, rtol=0)
        torch.testing.assert_close(found[row].sin(), turned.sin(), atol=1e-5, rtol=0)
    assert not Rotary(DIM, BASE, scaling="yarn", factor=3.0, original_length=10).depends_on_length


def test_angles_are_exact_in_sixteen_bits_too() -> None:
    positions = torch.tensor([[70_001]])
    cosines, sines = Rotary(DIM, BASE)(positions, torch.bfloat16)
    exact = Rotary(DIM, BASE)(positions, torch.float32)
    assert cosines.equal(exact[0].bfloat16())
    assert sines.equal(exact[1].bfloat16())


def test_frequencies_are_real_where_the_module_is_built_without_memory() -> None:
    with torch.device("meta"):
        rotary = Rotary(DIM, BASE, scaling="yarn", factor=2.0, original_length=100)
    found = rotary(torch.tensor([[3]]), torch.float32)
    assert found[0].equal(
        Rotary(DIM, BASE, scaling="yarn", factor=2.0, original_length=100)(torch.tensor([[3]]), torch.float32)[0]
    )


@pytest.mark.parametrize("head_dim", [DIM, DIM + 5])
def test_pairs_of_a_half_each_are_turned_and_the_rest_is_left(head_dim: int) -> None:
    torch.manual_seed(1)
    heads = torch.randn(2, 3, 5, head_dim)
    positions = torch.tensor([[0, 1, 2, 3, 4], [0, 0, 0, 1, 2]])
    found = rotate(heads, Rotary(DIM, BASE)(positions, torch.float32))
    expected = heads.clone()
    for row in range(2):
        for place in range(5):
            for pair, frequency in enumerate(plain()):
                angle = int(positions[row, place]) * frequency
                x, y = heads[row, :, place, pair], heads[row, :, place, pair + DIM // 2]
                expected[row, :, place, pair] = x * math.cos(angle) - y * math.sin(angle)
                expected[row, :, place, pair + DIM // 2] = x * math.sin(angle) + y * math.cos(angle)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_scores_depend_on_distance_alone() -> None:
    torch.manual_seed(1)
    query, key = torch.randn(1, 1, 1, DIM), torch.randn(1, 1, 1, DIM)

    def score(query_place: int, key_place: int) -> Tensor:
        turned = [
            rotate(heads, Rotary(DIM, BASE)(torch.tensor([[place]]), torch.float32))
            for heads, place in ((query, query_place), (key, key_place))
        ]
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(score(9, 4), score(25, 20), atol=1e-5, rtol=0)
    assert abs(float(score(9, 4) - score(4, 9))) > 1e-3


# --- from configs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"dim": 8, "base": 77.0, "scaling": "default"}),
        ({"rope_theta": 50.0, "partial_rotary_factor": 0.25}, {"dim": 2, "base": 50.0}),
        ({"type": "linear", "factor": 3.0}, {"scaling": "linear", "factor": 3.0}),
        ({"rope_type": "dynamic", "factor": 3.0}, {"original_length": 30, "factor": 3.0}),
        ({"rope_type": "yarn", "original_max_position_embeddings": 6}, {"original_length": 6, "factor": 5.0}),
        ({"rope_type": "yarn", "factor": 4.0}, {"sharpening": 0.1 * math.log(4) + 1, "fast_rotations": 32.0}),
        ({"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.9}, {"sharpening": 0.9}),
        (
            {"rope_type": "yarn", "factor": 4.0, "mscale": 0.5, "mscale_all_dim": 2.0},
            {"sharpening": (0.05 * math.log(4) + 1) / (0.2 * math.log(4) + 1)},
        ),
        ({"rope_type": "linear", "factor": 4.0}, {"sharpening": 1.0}),
    ],
    ids=str,
)
def test_the_keys_of_a_config_come_to_this(given: dict[str, Any], expected: dict[str, Any]) -> None:
    rotary = make_rotary(RopeParameters(**given), 8, 77.0, 30)
    assert {name: getattr(rotary, name) for name in expected} == pytest.approx(expected)
