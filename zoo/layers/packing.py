"""Weights prepared once for decoding on a CPU, where a step costs what reading them costs.

oneDNN reads a matrix of the usual order at a third to a half of the memory's speed, and a copy in the order of its own
kernels at nearly all of it. Its operators are private to torch: they are tried on a small matrix first, and what does not
work there, or on a matrix itself, goes on unpacked. Matrices that read the same input are joined into one.

A copy belongs to the weights as they were. Before each decoding their identity, address, version and some of their values
are compared; training mode, loading and moving drop all copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from zoo.layers.linear import is_plain, is_right, multiply, onednn_product

WORTH_PACKING_TOKENS = 32  # packing takes the time that it saves in about thirty steps of one row
LEAST_ELEMENTS = 2**16  # in smaller matrices a packed product's fixed cost is more than it saves
BATCH_HINT = 8  # oneDNN chooses an order by it; this one serves batches from 1 on
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 1e-1}  # of the trial's sums of 64 products
SAMPLES = 8  # rows and columns whose crossings are compared


class Substitute:
    """What is called in a layer's place, and has all that the layer has."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._layer, name)


class PackedLinear(Substitute):
    """Linear layers that read the same input, one or several, over a prepared copy of their weights."""

    def __init__(self, linears: Sequence[nn.Linear], scratch: Scratch) -> None:
        """Join the layers' outputs in their order. Raises RuntimeError where oneDNN cannot take the weights."""
        super().__init__(linears[0])
        self._linears = tuple(linears)
        self._tensors = _tensors(linears)
        self._values = [tensor.detach() for tensor in self._tensors]  # holds their memory, and so their addresses
        self._stamps = [(tensor.data_ptr(), tensor._version) for tensor in self._tensors]
        self._samples = [_sample(value).clone() for value in self._values]
        self._widths = [linear.out_features for linear in linears]
        weights = [linear.weight.detach() for linear in linears]
        biases = [linear.bias.detach() for linear in linears if linear.bias is not None]
        self._bias = _joined(biases) if biases else None
        elements = sum(weight.numel() for weight in weights)
        self._packs = elements >= LEAST_ELEMENTS and is_available(weights[0].dtype)
        self._weight = _pack(scratch.joined(weights)) if self._packs else _joined(weights)

    @property
    def size_bytes(self) -> int:
        """How much memory the copy takes."""
        copies = self._packs or len(self._linears) > 1
        return sum(value.numel() * value.element_size() for value in self._values) if copies else 0

    def is_current(self) -> bool:
        """Tell whether the layers' weights are what they were."""
        now = _tensors(self._linears)
        if len(now) != len(self._tensors):
            return False
        kept = zip(now, self._tensors, self._stamps, self._samples, strict=True)
        return all(
            tensor is known and (tensor.data_ptr(), tensor._version) == stamp and torch.equal(_sample(tensor), sample)
            for tensor, known, stamp, sample in kept
        )

    def __call__(self, hidden: Tensor) -> Tensor:
        """hidden: (…, in). Returns (…, out); where gradients are wanted, from the layers' own weights."""
        if torch.is_grad_enabled():
            return torch.cat([multiply(hidden, linear.weight, linear.bias) for linear in self._linears], -1)
        return (
            onednn_product(hidden, self._weight, self._bias)
            if self._packs
            else F.linear(hidden, self._weight, self._bias)
        )

    def parts(self, hidden: Tensor) -> Sequence[Tensor]:
        """Give each layer's output by itself."""
        return torch.split_with_sizes(self(hidden), self._widths, -1)


class QuickNorm(Substitute):
    """A norm's arithmetic without its layers of Python, which take longer."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__(norm)
        self._settings = norm.normalized_shape, norm.weight, norm.bias, norm.eps

    def __call__(self, hidden: Tensor) -> Tensor:
        return torch.layer_norm(hidden, *self._settings)


class Scratch:
    """Memory for matrices on their way: used over and over, or the copies would lie between holes of their size."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def joined(self, weights: Sequence[Tensor]) -> Tensor:
        """Give the rows of all, one matrix after the other, without holes. It holds until the next call."""
        if len(weights) == 1 and weights[0].is_contiguous():
            return weights[0]
        shape = sum(weight.shape[0] for weight in weights), weights[0].shape[1]
        elements = shape[0] * shape[1]
        if self._memory.dtype != weights[0].dtype or self._memory.numel() < elements:
            self._memory = torch.empty(elements, dtype=weights[0].dtype)
        joined = self._memory[:elements].view(shape)
        for part, weight in zip(joined.split_with_sizes([weight.shape[0] for weight in weights]), weights, strict=True):
            part.copy_(weight)
        return joined


class PackedWeights:
    """The prepared weights of all that runs in each step of decoding.

    A module says which of its linear layers read the same input (`joinable`, their names; it reads `joined` then), and
    which run once a text (`seldom`).
    """

    def __init__(self, roots: Sequence[nn.Module]) -> None:
        """roots: the modules in which linear layers are looked for."""
        self._single: dict[nn.Module, PackedLinear] = {}
        self._groups: list[tuple[Any, PackedLinear]] = []
        scratch = Scratch()
        modules = list(dict.fromkeys(module for root in roots for module in root.modules()))
        self._norms = [
            module for module in modules if type(module) is nn.LayerNorm and "forward" not in module.__dict__
        ]
        self._children = [(module, *entry) for module in modules for entry in module.named_children()]
        skipped = {getattr(module, name) for module in modules for name in getattr(module, "seldom", ())}
        for module in modules:
            group = [getattr(module, name) for name in getattr(module, "joinable", ())]
            if group and _may_join(group):
                self._groups.append((module, PackedLinear(group, scratch)))
                skipped.update(group)
        for module in modules:
            if isinstance(module, nn.Linear) and module not in skipped and _may_pack(module):
                self._single[module] = PackedLinear([module], scratch)

    @property
    def size_bytes(self) -> int:
        """How much memory the copies take."""
        return sum(packed.size_bytes for packed in self._all())

    def is_current(self) -> bool:
        """Tell whether all weights are what they were."""
        return all(packed.is_current() for packed in self._all())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the layers use them meanwhile.

        torch looks for a module's child in three places, and for hooks at each call, which takes as long as a small
        product: meanwhile a child is found at once, and one that is replaced is called without asking for hooks.
        """
        ways: dict[nn.Module, PackedLinear | QuickNorm] = {norm: QuickNorm(norm) for norm in self._norms}
        ways.update(self._single)
        try:
            for layer, way in ways.items():
                layer.__dict__["forward"] = way
            for module, name, child in self._children:
                module.__dict__[name] = child if child not in ways or _is_hooked(child) else ways[child]
            for module, packed in self._groups:
                module.joined = packed
            yield
        finally:
            for layer in ways:
                layer.__dict__.pop("forward", None)
            for module, name, _ in self._children:
                module.__dict__.pop(name, None)
            for module, _ in self._groups:
                module.joined = None

    def _all(self) -> list[PackedLinear]:
        return [*self._single.values(), *(packed for _, packed in self._groups)]


_KEPT: WeakKeyDictionary[nn.Module, PackedWeights] = WeakKeyDictionary()


@contextmanager
def packed(owner: nn.Module, roots: Sequence[nn.Module], tokens: int) -> Iterator[None]:
    """Run linear layers over prepared weights meanwhile, where that pays.

    owner: whom the copies are kept for, until `release`. roots: where the layers are. tokens: how many steps there may
    be: copies are made for WORTH_PACKING_TOKENS of them, where memory has room, and used whenever they are there.
    """
    kept = _KEPT.get(owner)
    if kept is not None and not kept.is_current():
        release(owner)
        kept = None
    if kept is None and tokens >= WORTH_PACKING_TOKENS and _has_room(roots):
        try:
            kept = _KEPT[owner] = PackedWeights(roots)
        except RuntimeError:  # oneDNN's refusal; what it refuses once it refuses always
            kept = None
    if kept is None:
        yield
        return
    with kept.applied():
        yield


def release(owner: nn.Module) -> None:
    """Drop the copies that are kept for a module."""
    _KEPT.pop(owner, None)


def packed_bytes(owner: nn.Module) -> int:
    """Give how much memory the copies take that are kept for a module."""
    kept = _KEPT.get(owner)
    return 0 if kept is None else kept.size_bytes


@cache
def is_available(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN's packed products work here, by trying one."""
    if dtype not in TOLERANCES:
        return False
    generator = torch.Generator().manual_seed(0)
    weight, hidden = (torch.randn(rows, 64, generator=generator).to(dtype) for rows in (48, 3))
    expected = hidden.float() @ weight.float().T
    return is_right(lambda: onednn_product(hidden, _pack(weight), None), expected, TOLERANCES[dtype])


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, BATCH_HINT)
    return packed


def _may_pack(linear: nn.Linear) -> bool:
    """Tell whether a layer is torch's own, over plain weights on a CPU, with nothing that others put in its way."""
    if not is_plain(linear) or "forward" in linear.__dict__:
        return False
    return all(
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.device.type == "cpu"
        and not tensor.is_inference()  # such a one counts no versions
        for tensor in _tensors([linear])
    )


def _may_join(linears: Sequence[Any]) -> bool:
    alike = {(linear.weight.dtype, linear.bias is None) for linear in linears if isinstance(linear, nn.Linear)}
    return len(alike) == 1 and not any(map(_is_hooked, linears)) and all(map(_may_pack, linears))


def _is_hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _tensors(linears: Sequence[nn.Linear]) -> list[Tensor]:
    return [tensor for linear in linears for tensor in (linear.weight, linear.bias) if tensor is not None]


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def _sample(tensor: Tensor) -> Tensor:
    """Give some of a tensor's values, from all over it."""
    places = tuple(slice(None, None, max(1, size // SAMPLES)) for size in tensor.shape)
    return tensor.detach()[places]


def _has_room(roots: Sequence[nn.Module]) -> bool:
    """Tell whether memory has room for a second copy; where the system does not say, that it has."""
    needed = sum({p: p.numel() * p.element_size() for root in roots for p in root.parameters()}.values())
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return True
    return needed < free
