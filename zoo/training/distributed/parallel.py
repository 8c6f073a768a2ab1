"""How a model is trained by several ranks: whole on each (DDP), in shards (FSDP), or each layer by all (tensor parallel).

Whichever it is, a step is the one that a process alone would take: the same examples, the same mean over their terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from zoo.errors import InvalidInput
from zoo.loading import choose_device
from zoo.model import Model
from zoo.training.batches import Batch
from zoo.training.config import FinetuneConfig
from zoo.training.distributed import ranks
from zoo.training.distributed.sharding import empty, fill_shards, gather, hollow, shard_fully, unsharded
from zoo.training.distributed.tensors import shard_heads
from zoo.training.optimizer import lay_out

Objective = Callable[[Model, Mapping[str, Tensor], Tensor], Tensor]
"""The loss of a batch, a scalar, from the model, its inputs and its labels."""


class Learner(nn.Module):
    """A model with its objective: from inputs and labels to a loss, and to nothing else that a gradient could come from."""

    def __init__(self, model: Model, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Give the loss of a batch, a scalar."""
        return self.objective(self.model, inputs, labels)


@dataclass(frozen=True)
class Parallel:
    """A model as this rank trains it.

    model: whole, or with this rank's shards. learner: gives its loss. rank, count: of those that share the examples.
    summed: parameters whose gradients are to be summed over the ranks.
    """

    model: Model
    learner: Learner | DistributedDataParallel
    rank: int = 0
    count: int = 1
    summed: tuple[nn.Parameter, ...] = ()

    def share(self, batches: Sequence[Batch], whole_batches: bool) -> list[tuple[Batch, bool]]:
        """Give this rank's part of a step's batches, each with whether it counts; every rank gets equally many.

        whole_batches: whether a batch's examples stay together, since its loss is not a mean over them. Otherwise each
        batch is dealt out, so that the ranks' parts are of like lengths.
        """
        if self.count == 1:
            return [(batch, True) for batch in batches]
        if whole_batches:
            own = batches[self.rank :: self.count]
            most = -(-len(batches) // self.count)
            return [(batch, True) for batch in own] + [(batches[0], False)] * (most - len(own))
        return [(batch[self.rank :: self.count] or batch[:1], self.rank < len(batch)) for batch in batches]

    def total(self, value: Tensor) -> Tensor:
        """Give the sum over those that share the examples, in place."""
        return ranks.total(value) if self.count > 1 else value

    def gathering(self, last: bool) -> AbstractContextManager[None]:
        """Give the context of a pass: what its backward pass leaves is averaged over the ranks after the last one."""
        if isinstance(self.learner, DistributedDataParallel) and not last:
            return self.learner.no_sync()
        return nullcontext()

    def gradient_norm(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Give the norm of all gradients together, those of other ranks' shards included."""
        for parameter in self.summed:
            if parameter.grad is not None:
                ranks.total(parameter.grad)
        found = [p.grad for p in parameters if p.grad is not None]
        norms = [unsharded(get_total_norm(alike)) for alike in _by_kind(found)]
        return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))

    def clip(self, parameters: Sequence[nn.Parameter], most: float, norm: Tensor) -> None:
        """Scale gradients down to a norm."""
        for alike in _by_kind(parameters):
            clip_grads_with_norm_(alike, most, norm)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Have what stands outside of layers whole, since tasks also call parts of a model."""
        root = self.model if isinstance(self.model, FSDPModule) else None
        if root is not None:
            root.unshard()
        try:
            yield
        finally:
            if root is not None:
                root.reshard()

    def collect(self, target: Model) -> None:
        """Put the weights into the model that training began with: on the first rank; the others' stay empty."""
        if self.model is not target:
            gather(self.model, target)


def _by_kind(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Give tensors that are shards and those that are whole apart, for torch takes no list of both."""
    kinds: dict[type, list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault(type(tensor), []).append(tensor)
    return list(kinds.values())


def parallelise(model: Model, config: FinetuneConfig, objective: Objective) -> Parallel:
    """Make a model ready for training by all ranks; one alone trains it as it is. Raises InvalidInput.

    objective: what is made small. Where the model is sharded, the model itself is left without weights, until `collect`.
    """
    number, count = ranks.rank(), ranks.count()
    if count == 1:
        return Parallel(model, Learner(model, objective))
    if config.parallel == "ddp":
        lay_out(model)  # before gradients' places are made after the weights'
        learner = DistributedDataParallel(Learner(model, objective), find_unused_parameters=True)
        return Parallel(model, learner, number, count)
    if config.parallel == "tensor" and config.lora is not None:
        raise InvalidInput(
            "LoRA's matrices are not shared out among ranks; with lora, parallel would be 'ddp' or 'fsdp'"
        )
    device = choose_device(None) if model.device.type == "cpu" and torch.cuda.is_available() else model.device
    mesh = init_device_mesh(device.type, (count,))
    sharded = hollow(model)
    summed: tuple[str, ...] = ()
    if config.parallel == "fsdp":
        shard_fully(sharded, mesh)
    else:
        summed = shard_heads(sharded, mesh)
    fill_shards(sharded, model, device)
    empty(model)
    own = dict(sharded.named_parameters())
    by_all = config.parallel == "tensor"
    return Parallel(
        sharded,
        Learner(sharded, objective),
        0 if by_all else number,
        1 if by_all else count,
        tuple(own[name] for name in summed),
    )


def check_share(steps: Iterable[Sequence[Batch]], parallel: Parallel, whole_batches: bool) -> None:
    """Refuse a run in which some rank would never have a part. steps: the batches of each. Raises InvalidInput."""
    if parallel.count == 1:
        return
    most = max(len(step) if whole_batches else max(map(len, step)) for step in steps)
    if most >= parallel.count:
        return
    if whole_batches:
        raise InvalidInput(
            f"accumulation gives a step {most} batches, which stay whole here, and {parallel.count} ranks share them; it "
            f"would be at least {parallel.count}"
        )
    raise InvalidInput(
        f"The largest batch has {most} examples, and {parallel.count} ranks share each; start fewer, or make batch_size "
        f"at least {parallel.count}"
    )
