"""How a model is trained by several ranks: whole on each (DDP), in shards (FSDP), or each layer by all (tensor parallel).

Whichever it is, a step is the one that a process alone would take: the same examples, the same mean over their terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from zoo.loading import choose_device
from zoo.model import Model
from zoo.training.config import FinetuneConfig
from zoo.training.distributed import ranks
from zoo.training.distributed.sharding import empty, fill_shards, gather, hollow, shard_fully, unsharded
from zoo.training.distributed.shares import ALL, Share
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

    model: whole, or with this rank's shards. learner: gives its loss. share: of the examples, this rank's.
    summed: names of the parameters whose gradients are to be summed over the ranks.
    """

    model: Model
    learner: Learner | DistributedDataParallel
    share: Share = ALL
    summed: tuple[str, ...] = ()

    def gathering(self, last: bool) -> AbstractContextManager[None]:
        """Give the context of a pass: what its backward pass leaves is averaged over the ranks after the last one."""
        if isinstance(self.learner, DistributedDataParallel) and not last:
            return self.learner.no_sync()
        return nullcontext()

    def gradient_norm(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Give the norm of all gradients together, those of other ranks' shards included."""
        for name in self.summed:
            gradient = self.model.get_parameter(name).grad
            if gradient is not None:
                ranks.total(gradient)
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

    objective: what is made small. Where ranks hold shards, the model itself is left without weights, until `collect`.
    """
    share = Share(ranks.rank(), ranks.count())
    if share.count == 1:
        return Parallel(model, Learner(model, objective))
    if config.parallel == "ddp":
        lay_out(model)  # before gradients' places are made after the weights'
        learner = DistributedDataParallel(Learner(model, objective), find_unused_parameters=True)
        return Parallel(model, learner, share)
    device = choose_device(None) if model.device.type == "cpu" and torch.cuda.is_available() else model.device
    mesh = init_device_mesh(device.type, (share.count,))
    sharded = hollow(model)
    if config.parallel == "fsdp":
        shard_fully(sharded, mesh)
        parallel = Parallel(sharded, Learner(sharded, objective), share)
    else:
        summed = shard_heads(sharded, mesh)
        parallel = Parallel(sharded, Learner(sharded, objective), summed=summed)
    fill_shards(sharded, model, device)
    empty(model)
    return parallel
