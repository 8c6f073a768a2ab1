"""Masks against the rule, asked query by query and key by key."""

import pytest
import torch

from zoo.layers.masks import padding_mask, window_mask, within_documents

LEFT = [[1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1]]
RIGHT = [[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_a_padding_mask_is_bool_and_broadcasts_over_heads_and_queries(dtype: torch.dtype) -> None:
    mask = padding_mask(torch.tensor([[1, 0, 1], [0, 1, 1]], dtype=dtype))
    assert mask is not None
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[[[True, False, True]]], [[[False, True, True]]]]
    assert padding_mask(None) is None


def may_look(query: int, key: int, causal: bool, window: int | None) -> bool:
    if causal:
        return key <= query and (window is None or query - key < window)
    return window is None or abs(query - key) <= window


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64])
@pytest.mark.parametrize("attended", [None, LEFT, RIGHT])
@pytest.mark.parametrize("past", [0, 4, 6])
@pytest.mark.parametrize("window", [None, 1, 3, 6, 7, 50])
@pytest.mark.parametrize("causal", [True, False])
def test_a_query_sees_what_the_window_and_the_padding_let_it(
    causal: bool, window: int | None, past: int, attended: list[list[int]] | None, dtype: torch.dtype
) -> None:
    attention_mask = None if attended is None else torch.tensor(attended, dtype=dtype)
    new = torch.zeros(2, 7 - past, 5)
    found = window_mask(attention_mask, new, past, causal=causal, window=window, explicit=True)
    whole = torch.ones(2, 1, 7 - past, 7, dtype=torch.bool) if found is None else found.expand(2, 1, 7 - past, 7)
    for row in range(2):
        for query in range(past, 7):
            for key in range(7):
                present = attended is None or bool(attended[row][key])
                expected = present and may_look(query, key, causal, window)
                if attended is not None and not attended[row][query]:
                    continue  # nobody reads what a query in the padding finds; the next test says what it may
                assert bool(whole[row, 0, query - past, key]) is expected, (row, query, key)


@pytest.mark.parametrize("past", [0, 2])
@pytest.mark.parametrize(("causal", "window"), [(True, None), (True, 2), (False, 1)])
@pytest.mark.parametrize("attended", [LEFT, RIGHT])
def test_no_query_in_the_padding_is_left_with_nothing_to_see(
    attended: list[list[int]], causal: bool, window: int | None, past: int
) -> None:
    new = torch.zeros(2, 7 - past, 5)
    mask = window_mask(torch.tensor(attended), new, past, causal=causal, window=window, explicit=False)
    assert mask is not None
    assert bool(mask.any(-1).all())


def test_there_is_no_mask_where_attention_needs_none() -> None:
    def needed(past: int, time: int, causal: bool, window: int | None = None, explicit: bool = False) -> bool:
        new = torch.zeros(2, time, 5)
        return window_mask(None, new, past, causal=causal, window=window, explicit=explicit) is not None

    assert not needed(0, 5, causal=False)
    assert not needed(0, 5, causal=True)  # the kernel's own causality serves
    assert not needed(4, 1, causal=True)  # the newest position sees all
    assert needed(4, 2, causal=True)
    assert needed(0, 5, causal=True, explicit=True)
    assert not needed(0, 5, causal=True, window=5)
    assert needed(0, 5, causal=True, window=4)
    assert needed(4, 1, causal=True, window=4)
    assert needed(0, 5, causal=False, window=4)  # it reaches from one end to the other all the same


@pytest.mark.parametrize("causal", [False, True])
def test_texts_in_a_row_see_themselves_alone_and_the_padding_sees_itself(causal: bool) -> None:
    documents = torch.tensor([[1, 1, 2, 2, 2, 0], [1, 2, 2, 0, 0, 0]])
    mask = within_documents(None, documents, causal)
    assert mask.shape == (2, 1, 6, 6)
    for row in range(2):
        for query in range(6):
            for key in range(6):
                same = documents[row, query] == documents[row, key]
                assert mask[row, 0, query, key] == (same and (key <= query or not causal))
    window = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril().triu(-1)
    assert within_documents(window, documents, causal).equal(within_documents(None, documents, False) & window)
