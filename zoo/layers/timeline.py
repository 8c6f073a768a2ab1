"""What depends on positions alone, worked out once for all that a cache can hold, so that a step only looks it up."""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.layers.masks import Context
from zoo.layers.rotary import Rotary


class Timeline:
    """The context of every position from the first to the last, for steps that read one token a row.

    A step's one query sees everything that its layer's cache gives it, the padding excepted: it needs no mask for
    causality or for a window. Where the cache gives all of its memory at every step, `at` masks what is not seen.
    """

    def __init__(
        self,
        capacity: int,
        padding: Tensor | None,
        windows: Sequence[int | None],
        rotaries: Sequence[Rotary | None],
        bias: Tensor | None,
        like: Tensor,
    ) -> None:
        """capacity: the most positions. padding: int64 (batch, 1), how many of each row's first are padding; None for none.

        windows, rotaries: of each way of looking. bias: of the last query over all positions, (1, heads, 1, capacity): an
        earlier query's is its end. like: a tensor of the dtype and device of the hidden states.
        """
        self._counted = torch.arange(capacity, device=like.device)[None]
        self._padding = padding
        self._attended = None if padding is None else (self._counted >= padding)[:, None, None]
        self._tables = [None if rotary is None else rotary(self._counted, like.dtype) for rotary in rotaries]
        self._windows = list(windows)
        self._bias = bias
        self._plain = [Context(bias=bias) for _ in rotaries]

    def step(self, past: int) -> tuple[Tensor, list[Context]]:
        """Give the place of the token after `past` others, int64 (batch or 1, 1), and the context for each way of looking."""
        place = self._counted[:, past : past + 1]
        if self._padding is None:
            if not any(self._tables):
                return place, self._plain
            turned = [
                table and (table[0][:, :, past : past + 1], table[1][:, :, past : past + 1]) for table in self._tables
            ]
            mask = None
        else:
            assert self._attended is not None
            place = (place - self._padding).clamp(min=0)
            turned = [table and _look_up(table, place) for table in self._tables]
            mask = self._attended[..., : past + 1]
        return place, [
            plain._replace(mask=mask, rotary=rotary) for plain, rotary in zip(self._plain, turned, strict=True)
        ]

    def at(self, past: Tensor) -> tuple[Tensor, list[Context]]:
        """Give the same where keys are all positions of the capacity, read or not. past: int64 (1), on the device."""
        place = past[None] if self._padding is None else (past[None] - self._padding).clamp(min=0)
        seen = (self._counted <= past)[:, None, None]
        seen = seen if self._attended is None else seen & self._attended
        bias = None
        if self._bias is not None:
            last = self._counted.shape[1] - 1
            bias = self._bias[..., (self._counted[0] + last - past).clamp(max=last)]
        contexts = []
        for window, table in zip(self._windows, self._tables, strict=True):
            mask = seen if window is None else seen & (self._counted > past - window)[:, None, None]
            contexts.append(Context(mask, bias, None if table is None else _look_up(table, place)))
        return place, contexts

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, int64, in their order."""
        if self._padding is not None and self._attended is not None:
            self._padding, self._attended = self._padding[rows], self._attended[rows]


def _look_up(table: tuple[Tensor, Tensor], place: Tensor) -> tuple[Tensor, Tensor]:
    """Give cosines and sines of each row's place, (batch or 1, 1, 1, dim). table: (1, 1, capacity, dim) each."""
    return table[0][0, 0, place][:, None], table[1][0, 0, place][:, None]
