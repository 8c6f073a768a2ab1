"""Who learns from which examples: all ranks' shares together are what one process would take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from zoo.errors import InvalidInput
from zoo.training.batches import Batch
from zoo.training.distributed import ranks

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Share:
    """One rank's share of the examples. rank, count: of those that share them; not all ranks do."""

    rank: int = 0
    count: int = 1

    def of(self, batches: Sequence[Batch], whole_batches: bool) -> list[tuple[Batch, bool]]:
        """Give this rank's part of some batches, each with whether it counts; every rank gets equally many.

        whole_batches: whether a batch's examples stay together, since what comes of it is not a mean over them.
        Otherwise each batch is dealt out, so that the ranks' parts are of like lengths.
        """
        if self.count == 1:
            return [(batch, True) for batch in batches]
        if whole_batches:
            own = batches[self.rank :: self.count]
            most = -(-len(batches) // self.count)
            return [(batch, True) for batch in own] + [(batches[0], False)] * (most - len(own))
        return [(batch[self.rank :: self.count] or batch[:1], self.rank < len(batch)) for batch in batches]

    def check(self, steps: Iterable[Sequence[Batch]], whole_batches: bool) -> None:
        """Refuse a run in which some rank would never have a part. steps: the batches of each. Raises InvalidInput."""
        if self.count == 1:
            return
        most = max(len(step) if whole_batches else max(map(len, step)) for step in steps)
        if most >= self.count:
            return
        if whole_batches:
            raise InvalidInput(
                f"accumulation gives a step {most} batches, which stay whole here, and {self.count} ranks share them; it "
                f"would be at least {self.count}"
            )
        raise InvalidInput(
            f"The largest batch has {most} examples, and {self.count} ranks share each; start fewer, or make batch_size "
            f"at least {self.count}"
        )

    def total(self, value: Tensor) -> Tensor:
        """Give the sum over those that share the examples, in place."""
        return value if self.count == 1 else ranks.total(value)

    def exchange(self, value: _Value) -> list[_Value]:
        """Give the values of all that share the examples, in their order. They are pickled."""
        return [value] if self.count == 1 else ranks.exchange(value)


ALL = Share()
