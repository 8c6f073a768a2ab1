"""Where tokens stand: counted, as sinusoids, and in buckets of distances."""

import math

import pytest
import torch

from zoo.layers.positions import RelativeBias, SinusoidalPositions, positions, positions_in_documents

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_positions_count_from_the_first_attended_token(dtype: torch.dtype) -> None:
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 1, 0]], dtype=dtype)
    found = positions(mask, 5, CPU)
    assert found.dtype == torch.int64
    assert found[0].tolist() == [0, 1, 2, 3, 4]
    assert found[1, 2:].tolist() == [0, 1, 2]
    assert found[2, :3].tolist() == [0, 1, 2]
    assert found[3, 1:].tolist() == [0, 1, 2, 3]  # a hole is a place like any other
    assert positions(None, 5, CPU).tolist() == [[0, 1, 2, 3, 4]]


def test_positions_stay_within_the_row_where_nothing_is_attended() -> None:
    assert positions(torch.zeros(1, 5), 5, CPU).tolist() == [[0, 0, 0, 0, 0]]


@pytest.mark.parametrize("hidden_size", [6, 7])
@pytest.mark.parametrize("interleaved", [True, False])
def test_sinusoids_are_those_of_the_paper_in_either_order(interleaved: bool, hidden_size: int) -> None:
    places = torch.tensor([[0, 1, 2, 999], [3, 3, 0, 41]])
    found = SinusoidalPositions(hidden_size, interleaved)(places)
    assert found.shape == (2, 4, hidden_size)
    assert found.dtype == torch.float32
    half = math.ceil(hidden_size / 2)
    for row in range(2):
        for place in range(4):
            for dimension in range(hidden_size):
                pair = dimension // 2 if interleaved else dimension % half
                is_sine = dimension % 2 == 0 if interleaved else dimension < half
                angle = int(places[row, place]) / 10_000 ** (2 * pair / hidden_size)
                expected = math.sin(angle) if is_sine else math.cos(angle)
                assert math.isclose(float(found[row, place, dimension]), expected, abs_tol=1e-6)


def test_sinusoids_have_no_parameters() -> None:
    assert dict(SinusoidalPositions(6).state_dict()) == {}


def bucket(distance: int, count: int, longest: int) -> int:
    """Section 2.1: half of the buckets one distance each, the others widening by one factor up to the longest."""
    exact = count // 2
    if distance < exact:
        return distance
    growth = (longest / exact) ** (1 / (count - exact))  # how many times a bucket begins farther than the one before
    for number in range(exact, count):
        if distance < exact * growth ** (number - exact + 1) * (1 - 1e-9):
            return number
    return count - 1


@pytest.mark.parametrize("past", [0, 3, 20])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("count", "longest"), [(8, 9), (10, 30), (32, 128)])
def test_distances_share_buckets_as_the_paper_says(count: int, longest: int, causal: bool, past: int) -> None:
    torch.manual_seed(1)
    bias = RelativeBias(num_buckets=count, max_distance=longest, num_attention_heads=3, causal=causal)
    torch.nn.init.normal_(bias.weight)
    time = 200 if past == 0 else 4
    found = bias(past, time)
    assert found.shape == (1, 3, time, past + time)
    for query in range(0, time, 7 if time > 4 else 1):
        for key in range(past + time):
            later = key - (past + query)
            if causal:
                row = bucket(max(-later, 0), count, longest)
            else:
                row = bucket(abs(later), count // 2, longest) + (count // 2 if later > 0 else 0)
            assert found[0, :, query, key].equal(bias.weight[row]), later


def test_later_passes_are_rows_of_the_whole() -> None:
    bias = RelativeBias(num_buckets=8, max_distance=9, num_attention_heads=3, causal=True)
    torch.nn.init.normal_(bias.weight)
    assert bias(5, 2).equal(bias(0, 7)[:, :, 5:])


def test_each_text_in_a_row_is_counted_from_its_own_first_token() -> None:
    documents = torch.tensor([[1, 1, 1, 2, 2, 3, 0], [1, 2, 2, 2, 0, 0, 0]])
    assert positions_in_documents(documents).tolist() == [[0, 1, 2, 0, 1, 0, 0], [0, 0, 1, 2, 0, 1, 2]]
