"""Fitting a checkpoint's tensors to a module: decided from names, shapes and dtypes alone, before any data is read."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.checkpoint.headers import TensorHeader
from zoo.checkpoint.layout import Layout, Row
from zoo.checkpoint.reader import Weights
from zoo.errors import CorruptFile, WeightsMismatch


@dataclass(frozen=True)
class Fit:
    """What goes where: the bridge between a checkpoint's tensor names and a module's parameters.

    rows: to be read; hub names in canonical spelling. files: canonical name -> name in the file.
    duplicates: rows that the file holds although their parameter is tied to one of `rows`.
    fresh: parameters that the checkpoint lacks, by agreement; fresh_rows: how they are written.
    kept: tensors declared ignored, which a save writes back.
    """

    rows: tuple[Row, ...]
    files: Mapping[str, str]
    duplicates: tuple[Row, ...]
    fresh: tuple[str, ...]
    fresh_rows: tuple[Row, ...]
    kept: tuple[str, ...]


def fit(
    module: nn.Module,
    layout: Layout,
    headers: Mapping[str, TensorHeader],
    *,
    architecture: str,
    fresh: Collection[str] = (),
    dropped: Callable[[str], bool] = lambda bare: False,
    keep_spare: bool = True,
    partial: bool = False,
) -> Fit:
    """Match every tensor of the file with a parameter, and every parameter with a tensor.

    module: on the meta device. fresh: parameters that need no tensor; those are not read even if the file has them.
    dropped: tells of a tensor's bare name that it belongs to a head that was not asked for.
    keep_spare: whether a tensor that the layout calls spare is written back where no parameter takes it.
    partial: whether the module is a part of the architecture, so that tensors of other parts stay unread.
    Raises WeightsMismatch with all that is missing, unexpected or misshapen.
    """
    every = dict(module.named_parameters(remove_duplicate=False))
    primary = {id(parameter): name for name, parameter in module.named_parameters()}
    in_file: dict[str, str] = {}
    unexpected: list[str] = []
    kept: list[str] = []
    for name in headers:
        bare = layout.bare(name)
        if layout.ignores(bare):
            kept.append(name)
        elif layout.knows(bare) and bare not in in_file:
            in_file[bare] = name
        elif bare in in_file or not dropped(bare):
            unexpected.append(name)

    rows: list[Row] = []
    duplicates: list[Row] = []
    fresh_rows: list[Row] = []
    missing: list[str] = []
    misshapen: list[str] = []
    files: dict[str, str] = {}
    tied: dict[str, Row] = {}
    started = {id(every[name]) for name in every if name in fresh}  # by any of its names
    for row in layout.bind(every):
        is_primary = primary[id(every[row.zoo[0]])] == row.zoo[0]
        if any(id(every[name]) in started for name in row.zoo):
            fresh_rows += [row] if is_primary else []
            for hub in row.hub:
                in_file.pop(layout.bare(hub), None)
            continue
        sources = {hub: in_file.pop(layout.bare(hub), None) for hub in row.hub}
        absent = [hub for hub, source in sources.items() if source is None]
        if len(absent) == len(row.hub):
            if is_primary:
                tied[row.zoo[0]] = row
            continue
        if absent:
            missing += absent
            continue
        files |= {hub: source for hub, source in sources.items() if source is not None}
        misshapen += _misfits(row, every, headers, files)
        (rows if is_primary else duplicates).append(row)

    # A tied parameter may be stored under its second name only; then that one is read.
    for name, absent_row in tied.items():
        stand_in = next((row for row in duplicates if every[row.zoo[0]] is every[name]), None)
        if stand_in is not None:
            duplicates.remove(stand_in)
            rows.append(stand_in)
        else:
            missing += absent_row.hub
    kept += [name for bare, name in in_file.items() if keep_spare and layout.spares(bare)]
    unexpected += [name for bare, name in in_file.items() if not layout.spares(bare) and not partial]
    if missing or unexpected or misshapen:
        raise WeightsMismatch(missing, unexpected, misshapen, architecture)
    return Fit(
        rows=tuple(rows),
        files=files,
        duplicates=tuple(duplicates),
        fresh=tuple(name for name in every if name in fresh),
        fresh_rows=tuple(fresh_rows),
        kept=tuple(kept),
    )


def _misfits(
    row: Row, parameters: Mapping[str, Tensor], headers: Mapping[str, TensorHeader], files: Mapping[str, str]
) -> list[str]:
    """Compare the shapes that the row would write with those in the file."""
    expected = row.write([parameters[name] for name in row.zoo])
    problems = []
    for hub, tensor in zip(row.hub, expected, strict=True):
        header = headers[files[hub]]
        if header.shape != tuple(tensor.shape):
            problems.append(f"{hub} is {list(header.shape)}, expected {list(tensor.shape)}")
        elif header.is_floating != tensor.is_floating_point():
            problems.append(f"{hub} has the dtype {header.dtype}, expected floating point")
    return problems


def fill(
    module: nn.Module,
    plan: Fit,
    weights: Weights,
    fresh: Mapping[str, Tensor],
    device: torch.device,
    dtype: torch.dtype | None,
) -> None:
    """Put the tensors in place: mapped from the files, or moved and cast one by one; ties stay ties.

    fresh: values for plan.fresh; they take the dtype asked for, or that of the checkpoint.
    Raises CorruptFile when a tied parameter is stored twice with different values.
    """
    parameters = dict(module.named_parameters(remove_duplicate=False))
    tensors: dict[str, Tensor] = {}
    for row in plan.rows:
        for name, tensor in zip(row.zoo, _read(row, plan, weights, parameters), strict=True):
            tensors[name] = tensor.to(device=device, dtype=dtype)
    for row in plan.duplicates:
        _check_tied(row, plan, weights, parameters)
    own = next((tensor.dtype for tensor in tensors.values()), torch.float32)
    place(module, tensors | {name: tensor.to(device=device, dtype=dtype or own) for name, tensor in fresh.items()})


def _read(row: Row, plan: Fit, weights: Weights, parameters: Mapping[str, Tensor]) -> list[Tensor]:
    tensors = [weights.tensor(plan.files[hub]) for hub in row.hub]
    return row.read(tensors, [parameters[name].shape for name in row.zoo])


def _check_tied(row: Row, plan: Fit, weights: Weights, parameters: Mapping[str, Tensor]) -> None:
    primary = next(other for other in plan.rows if parameters[other.zoo[0]] is parameters[row.zoo[0]])
    twice = zip(_read(row, plan, weights, parameters), _read(primary, plan, weights, parameters), strict=True)
    if not all(torch.equal(one, other) for one, other in twice):
        raise CorruptFile(
            weights.files[plan.files[row.hub[0]]],
            f"'{row.hub[0]}' and '{primary.hub[0]}' are one parameter in this architecture, but hold different values",
        )


def place(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make the tensors the module's parameters, in place of those on the meta device.

    tensors: by any of a parameter's names. A parameter that several modules share stays shared.
    """
    replaced: dict[int, nn.Parameter] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if name in tensors:
            replaced[id(parameter)] = nn.Parameter(tensors[name], requires_grad=parameter.requires_grad)
    for child in module.modules():
        for name, own in list(child.named_parameters(recurse=False, remove_duplicate=False)):
            if id(own) in replaced:
                setattr(child, name, replaced[id(own)])
    stranded = [name for name, tensor in [*module.named_parameters(), *module.named_buffers()] if tensor.is_meta]
    assert not stranded, f"no value was given for {stranded}"


def written(module: nn.Module, plan: Fit) -> dict[str, Tensor]:
    """Give the module's tensors under the Hub's names: what `fill` read, turned back."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    tensors: dict[str, Tensor] = {}
    for row in plan.rows + plan.fresh_rows + plan.duplicates:
        for hub, tensor in zip(row.hub, row.write([parameters[name].detach() for name in row.zoo]), strict=True):
            tensors[hub] = tensor
    return tensors
