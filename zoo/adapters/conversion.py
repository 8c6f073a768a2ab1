"""Between what stands beside our matrices and what stands beside the Hub's, which fuses, splits and turns them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.adapters.settings import PeftSettings
from zoo.checkpoint.layout import Row
from zoo.layers.lora import LoraLinear, row_lengths
from zoo.model import Model

LORA_A, LORA_B, MAGNITUDE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"


@dataclass(frozen=True)
class Neighbour:
    """What stands beside one matrix. a: (rank, in); b: (out, rank); magnitude: (out), with DoRA alone."""

    a: Tensor
    b: Tensor
    magnitude: Tensor | None
    scale: float


class Unfit(Exception):
    """Tensors that cannot stand beside the model's matrices. The message says why."""


def rows_of(model: Model) -> Iterator[Row]:
    """Give the rows between the Hub's tensors and a model's parameters, fresh ones too."""
    assert model.fit is not None
    yield from model.fit.rows
    yield from model.fit.fresh_rows


def write_neighbours(model: Model) -> dict[str, Neighbour]:
    """Give what stands beside the Hub's matrices, by the names of its modules.

    Where one of the Hub's matrices is several here, their neighbours stand in blocks beside each other, and what has none
    keeps the length that its rows have.
    """
    modules = dict(model.named_modules())
    found: dict[str, Neighbour] = {}
    for row in rows_of(model):
        owners = [modules.get(name.removesuffix(".weight")) for name in row.zoo]
        linears = [owner for owner in owners if isinstance(owner, nn.Linear)]
        own = [(index, owner) for index, owner in enumerate(linears) if isinstance(owner, LoraLinear)]
        if not own or len(linears) < len(owners) or not row.zoo[0].endswith(".weight"):
            continue
        outs = [owner.out_features for owner in linears]
        parts = [_written(row, _block(owner.lora_b, index, outs)) for index, owner in own]
        lengths = None
        if own[0][1].lora_magnitude is not None:
            lengths = _written(row, [_lengths(owner)[:, None] for owner in linears])
        for place, hub in enumerate(row.hub):
            found[hub.removesuffix(".weight")] = Neighbour(
                torch.cat([owner.lora_a for _, owner in own]),
                torch.cat([part[place] for part in parts], 1),
                None if lengths is None else lengths[place].squeeze(1),
                own[0][1].scale,
            )
    return found


def read_neighbours(row: Row, tensors: dict[str, Tensor], model: Model, settings: PeftSettings) -> dict[str, Neighbour]:
    """Take what stands beside a row's matrices out of an adapter's tensors: by the names of our modules. Raises Unfit."""
    hubs = [hub.removesuffix(".weight") for hub in row.hub]
    if not any(hub + LORA_A in tensors for hub in hubs):
        return {}
    sides = (LORA_A, LORA_B, MAGNITUDE) if settings.use_dora else (LORA_A, LORA_B)
    absent = [hub + side for hub in hubs for side in sides if hub + side not in tensors]
    if absent:
        raise Unfit(f"{absent[0]} is not there")
    linears = {}
    for name in row.zoo:
        module = model.get_submodule(name.rpartition(".")[0])
        if not isinstance(module, nn.Linear):
            raise Unfit(f"{hubs[0]} is no matrix of a linear layer")
        linears[name.removesuffix(".weight")] = module
    (a, *others), b_parts, *lengths = ([tensors.pop(hub + side) for hub in hubs] for side in sides)
    if any(not part.equal(a) for part in others):
        raise Unfit(f"it has matrices of its own for {', '.join(hubs)}, which are one here")
    outs = [linear.out_features for linear in linears.values()]
    rank, width = settings.rank_of(hubs[0]), next(iter(linears.values())).in_features
    turned = _is_turned(row, outs)
    like = [torch.empty(out, width, device="meta") for out in outs]
    rows = [part.shape[1 if turned else 0] for part in row.write(like)]
    _check(hubs[0] + LORA_A, a, (rank, width))
    for hub, part, count in zip(hubs, b_parts, rows, strict=True):
        _check(hub + LORA_B, part, (count, rank))
    ours = _read(row, b_parts, outs, turned)
    magnitudes: list[Tensor | None] = [None] * len(outs)
    if settings.use_dora:
        for hub, part, count in zip(hubs, lengths[0], rows, strict=True):
            _check(hub + MAGNITUDE, part, (count,))
        magnitudes = [part.squeeze(1) for part in _read(row, [part[:, None] for part in lengths[0]], outs, turned)]
    return {
        name: Neighbour(a, b.contiguous(), magnitude, settings.scale_of(hubs[0]))
        for name, b, magnitude in zip(linears, ours, magnitudes, strict=True)
    }


def whole_tensors(model: Model) -> Mapping[str, Tensor]:
    """Give the parameters that belong to an adapter as they are, under the Hub's names."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    found: dict[str, Tensor] = {}
    for row in rows_of(model):
        if model.learnt_whole.intersection(row.zoo):
            found |= zip(row.hub, row.write([parameters[name] for name in row.zoo]), strict=True)
    return found


def is_transposed(model: Model) -> bool:
    """Tell whether the Hub holds the adapter's matrices as (in, out), as GPT-2's Conv1D does."""
    modules = dict(model.named_modules())
    for row in rows_of(model):
        owners = [modules.get(name.removesuffix(".weight")) for name in row.zoo]
        if any(isinstance(owner, LoraLinear) for owner in owners):
            return _is_turned(row, [owner.out_features for owner in owners if isinstance(owner, nn.Linear)])
    return False


def _check(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise Unfit(f"{name} has the shape {tuple(tensor.shape)}; beside this model it would be {shape}")


def _lengths(linear: nn.Linear) -> Tensor:
    """Give the magnitude of a layer, or what it would be at first, (out)."""
    learnt = linear.lora_magnitude if isinstance(linear, LoraLinear) else None
    return row_lengths(linear.weight) if learnt is None else learnt


def _block(b: Tensor, index: int, outs: Sequence[int]) -> list[Tensor]:
    """Give one neighbour's B at its place among the parts of a row, zeros for the others."""
    return [b if place == index else b.new_zeros(out, b.shape[1]) for place, out in enumerate(outs)]


def _is_turned(row: Row, outs: Sequence[int]) -> bool:
    """Tell whether a row's matrices have their axes the other way round on the Hub."""
    written = row.write([torch.empty(out, 1, device="meta") for out in outs])
    return bool(written[0].shape[0] == 1 and sum(outs) > 1)


def _written(row: Row, columns: Sequence[Tensor]) -> list[Tensor]:
    """Give the Hub's (out, rank) matrices from ours: what a row does to the outputs, whatever it does to the axes."""
    turned = _is_turned(row, [len(part) for part in columns])
    return [part.t() if turned else part for part in row.write(list(columns))]


def _read(row: Row, parts: Sequence[Tensor], outs: Sequence[int], turned: bool) -> list[Tensor]:
    """Give our (out, rank) matrices from the Hub's."""
    shapes = [torch.Size((out, parts[0].shape[1])) for out in outs]
    return list(row.read([part.t() if turned else part for part in parts], shapes))
