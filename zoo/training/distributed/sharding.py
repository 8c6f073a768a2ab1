"""A model of which each rank holds its shard alone: laid out without memory, filled slice by slice, and gathered again.

A checkpoint's tensors are mapped from its files (see zoo.checkpoint.reader), and a layout's transforms are views of them,
but for those that fuse several tensors into one. A rank copies its slice out of the view, and so reads no other part of
the file; of a tensor that is fused it reads all.
"""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.placement_types import Shard

from zoo.checkpoint.fitting import place
from zoo.layers.stacks import Stack
from zoo.model import Model
from zoo.training.distributed import ranks


def hollow(model: Model) -> Model:
    """Give a copy on the meta device: its modules, and parameters without memory, tied where they are tied."""
    memo: dict[int, object] = {
        id(parameter): nn.Parameter(
            torch.empty(parameter.shape, dtype=parameter.dtype, device="meta"), parameter.requires_grad
        )
        for parameter in model.parameters()
    }
    of_modules = vars(nn.Module())
    memo |= {id(value): value for name, value in vars(model).items() if name not in of_modules}  # shared, not copied
    return copy.deepcopy(model, memo)


def shard_fully(model: Model, mesh: DeviceMesh) -> None:
    """Shard all parameters over the ranks (Zhao et al. 2023, FSDP): each layer of a stack is whole only while it runs."""
    # The model gives logits, which are a view; nobody changes them in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    for stack in [module for module in model.modules() if isinstance(module, Stack)]:
        for layer in stack.layers:
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def fill_shards(model: Model, source: Model, device: torch.device) -> None:
    """Give each parameter of a sharded model on the meta device its rank's slice of the source's."""
    whole = dict(source.named_parameters())
    place(model, {name: _own_part(p, whole[name].detach(), device) for name, p in model.named_parameters()})


def _own_part(parameter: Tensor, whole: Tensor, device: torch.device) -> Tensor:
    """Give a tensor on the device with what of the whole a parameter on the meta device stands for on this rank."""
    if not isinstance(parameter, DTensor):
        return _copied(whole, device)
    mesh = parameter.device_mesh
    coordinate = mesh.get_coordinate()
    assert coordinate is not None
    for size, at, placement in zip(mesh.shape, coordinate, parameter.placements, strict=True):
        if isinstance(placement, Shard):
            pieces = whole.chunk(size, placement.dim)
            whole = pieces[at] if at < len(pieces) else whole.narrow(placement.dim, 0, 0)
    return DTensor.from_local(
        _copied(whole, device),
        mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


def _copied(part: Tensor, device: torch.device) -> Tensor:
    """Copy, so that nothing holds on to the mapped file."""
    return torch.empty(part.shape, dtype=part.dtype, device=device).copy_(part)


def gather(model: Model, target: Model) -> None:
    """Put a sharded model's weights, tensor by tensor, into the whole one on the first rank, on the CPU."""
    parameters = dict(target.named_parameters())
    for name, parameter in model.named_parameters():
        found = unsharded(parameter.detach())
        if ranks.is_first():
            parameters[name].data = found.cpu()


def empty(model: Model) -> None:
    """Let a model's parameters hold no memory, and no file."""
    for parameter in model.parameters():
        parameter.data = torch.empty(0, dtype=parameter.dtype)


def unsharded(tensor: Tensor) -> Tensor:
    """Give a tensor as it is without shards. All ranks have to ask for it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
