"""Steps in bfloat16 mixed in float32: which they are, and that the copies are what was copied."""

import pytest
import torch

from zoo.layers import widening

QUERY, KEYS = torch.zeros(2, 6, 1, 4).bfloat16(), torch.zeros(2, 3, 7, 4).bfloat16()


@pytest.mark.parametrize(
    ("query", "keys", "expected"),
    [
        (QUERY, KEYS, True),
        (QUERY.float(), KEYS.float(), False),
        (QUERY.half(), KEYS.half(), False),
        (QUERY.expand(2, 6, 5, 4), KEYS, False),
        (QUERY, torch.zeros(1, 1, widening.MOST_ELEMENTS // 4, 4).bfloat16(), True),
        (QUERY, torch.zeros(1, 1, widening.MOST_ELEMENTS // 4 + 1, 4).bfloat16(), False),
    ],
)
def test_a_step_of_one_query_in_bfloat16_over_few_keys_is_widened(
    query: torch.Tensor, keys: torch.Tensor, expected: bool
) -> None:
    with torch.no_grad():
        assert widening.pays(query, keys) is expected
    assert not widening.pays(query, keys)  # where gradients may be wanted


def test_keys_and_values_are_copied_as_they_are_also_from_the_middle_of_a_cache() -> None:
    memory = torch.randn(2, 3, 2, 11, 4).bfloat16()
    key, value = memory[:, :, 0, 2:9], memory[:, :, 1, 2:9]
    for _ in range(2):  # the second time over the first one's copies
        with torch.inference_mode():
            found = widening.widen(QUERY, key, value)
        assert [tensor.dtype for tensor in found] == [torch.float32] * 3
        for copy, original in zip(found, (QUERY, key, value), strict=True):
            torch.testing.assert_close(copy, original.float(), atol=0, rtol=0)
        key, value = -value, -key
