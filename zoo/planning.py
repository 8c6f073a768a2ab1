"""What a checkpoint is and takes, known before it is fetched: plan(). From its listing, config and headers alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo import host
from zoo.checkpoint.reader import Weights
from zoo.errors import InvalidInput
from zoo.hub.inspection import inspect
from zoo.layers.attention import Attention
from zoo.layers.cache import LayerCache
from zoo.layers.stacks import Decoder, Stack
from zoo.loading import assemble, choose_dtype, choose_head, choose_settings, find_architecture, fit_model
from zoo.quantization import KINDS, MEASURED, Accuracy, quantizable
from zoo.quantization import size_bytes as quantized_bytes

if TYPE_CHECKING:
    from zoo.checkpoint.fitting import Fit
    from zoo.model import Model

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "BOOL": torch.bool,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
}  # fmt: skip


@dataclass(frozen=True)
class ModuleSize:
    """A part of the model. layers: how many are taken together, None where it is none of several.

    size_bytes: in memory, in the dtype that they are loaded in.
    """

    name: str
    layers: int | None
    parameters: int
    size_bytes: int


@dataclass(frozen=True)
class Memory:
    """What loading takes, in bytes.

    On a CPU a tensor stays mapped from its file unless it has to change: mapped_bytes are page cache, which the system
    takes back when it needs the room. What is cast, put together or new is the process's own: own_bytes at the end,
    peak_bytes while loading, when the largest tensor may be there twice.
    On a GPU every tensor is copied there: gpu_bytes. What is quantised is there whole before. host_peak_bytes: the
    process's own meanwhile.
    """

    mapped_bytes: int
    own_bytes: int
    peak_bytes: int
    gpu_bytes: int
    host_peak_bytes: int


@dataclass(frozen=True)
class CacheLayers:
    """Layers whose keys and values are kept alike while text is written.

    bytes_per_token: of all these layers together, for one text. window: how many tokens back they look, None for all.
    most_tokens: how many are kept at most, which is a window and room to work in; None for all.
    """

    layers: int
    window: int | None
    most_tokens: int | None
    bytes_per_token: int


@dataclass(frozen=True)
class RankShare:
    """One rank's share of a model split over several.

    split: matrices of which each rank has a part; whole: those that every rank has. Layers' numbers are written `*`.
    Attention's projections are split by heads, other matrices along an axis that the ranks divide; norms and biases
    are on every rank. weight_bytes, cache_bytes_per_token: of one rank.
    """

    ranks: int
    weight_bytes: int
    cache_bytes_per_token: int
    split: tuple[str, ...]
    whole: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What a load would do.

    reference: as given. repo_id, commit: None for a folder. source: the hub that was asked, or the folder that was read.
    distribution, version: of the plugin. task: what the loaded model would do. parameters: how many, tied ones once.
    dtypes: bytes of parameters by the dtype they are loaded in. modules: where they are.
    size_bytes: of all files of the checkpoint; fetch_bytes: of those not in the store; read_bytes: what was read of
    files on the hub for this plan. Both count a whole file where any of it is missing.
    cast: the file's tensors whose dtype changes. kept: tensors that the model does not use, and a save writes back.
    fresh: parameters that start at random, because labels asked for them.
    cache: what each token of a text takes while it is written; source_cache_bytes_per_token: each of an encoder's.
    share: of one rank, where ranks were asked for. accuracy: what quantised weights cost, where they were asked for.
    """

    reference: str
    repo_id: str | None
    commit: str | None
    source: str
    architecture: str
    kind: str
    distribution: str
    version: str
    task: str
    parameters: int
    dtypes: Mapping[str, int]
    modules: tuple[ModuleSize, ...]
    files: Mapping[str, int]
    size_bytes: int
    fetch_bytes: int
    read_bytes: int
    memory: Memory
    cast: tuple[str, ...]
    kept: tuple[str, ...]
    fresh: tuple[str, ...]
    cache: tuple[CacheLayers, ...]
    source_cache_bytes_per_token: int
    share: RankShare | None
    accuracy: Accuracy | None

    @property
    def weight_bytes(self) -> int:
        """Of all parameters, as they are loaded."""
        return sum(self.dtypes.values())

    @property
    def cache_bytes_per_token(self) -> int:
        """Of all layers, until a window is full."""
        return sum(layers.bytes_per_token for layers in self.cache)

    def cache_bytes(self, tokens: int, source_tokens: int = 0) -> int:
        """Give what the cache of one text takes. tokens: of prompt and answer; source_tokens: of an encoder's text."""
        own = sum(layers.bytes_per_token * min(tokens, layers.most_tokens or tokens) for layers in self.cache)
        return own + self.source_cache_bytes_per_token * source_tokens


def plan(
    ref: str | Path,
    dtype: str | torch.dtype | None = None,
    *,
    task: str | None = None,
    labels: Sequence[str] | None = None,
    revision: str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    ignore_config_keys: Collection[str] = (),
    ranks: int | None = None,
    quantize: str | None = None,
) -> Plan:
    """Give what zoo.load would fetch, take and change, from headers alone; no tensor is read.

    ref, revision, endpoint, token: see zoo.pull. dtype, task, labels, ignore_config_keys: see zoo.load.
    quantize: see zoo.load; nothing has to be installed for a plan.
    ranks: also give one rank's share when the model is split over so many.
    Raises the errors of zoo.load, as far as names, shapes and dtypes show them, and those of asking a hub.
    """
    wanted = choose_dtype(dtype)
    if ranks is not None and ranks < 1:
        raise InvalidInput(f"ranks is {ranks}; it would be 1 or more")
    if quantize not in (None, *KINDS):
        raise InvalidInput(f"quantize is {quantize!r}; it would be 'int8' or 'int4'")
    found = inspect(ref, revision, endpoint, token)
    checkpoint, weights = found.checkpoint, found.weights
    architecture = find_architecture(found.config, checkpoint)
    spec = architecture.spec.from_config(found.config, ignore_config_keys).for_tensors(weights.headers)
    head = choose_head(architecture, found.config, task, labels, weights.headers)
    model = assemble(architecture, spec, head, choose_settings(head, found.config, labels), task)
    fit = fit_model(model, head, found.config, labels, weights)
    tensors = _Tensors(model, fit, weights, wanted)
    if quantize is not None:
        tensors.quantize(quantizable(model.backbone, quantize).values(), quantize)
    provider = next(info for info in host.list_architectures() if info.name == architecture.name)
    return Plan(
        reference=str(ref),
        repo_id=checkpoint.repo_id,
        commit=checkpoint.commit,
        source=found.source,
        architecture=architecture.name,
        kind=architecture.kind,
        distribution=provider.distribution,
        version=provider.version,
        task=model.task,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        dtypes=tensors.bytes_by_dtype(),
        modules=tuple(_modules(model, tensors)),
        files=found.files,
        size_bytes=sum(found.files.values()),
        fetch_bytes=found.fetch_bytes,
        read_bytes=found.read_bytes,
        memory=tensors.memory(),
        cast=tensors.cast,
        kept=fit.kept,
        fresh=fit.fresh,
        cache=tuple(_cache(model, tensors)),
        source_cache_bytes_per_token=_cached_bytes(model, tensors, cross=True),
        share=None if ranks is None else _share(model, tensors, ranks),
        accuracy=None if quantize is None else MEASURED[quantize],
    )


# --- counting ---------------------------------------------------------------------------------------------------------


@dataclass
class _Own:
    """The process's own memory while tensors come in: what stays, and the most there was."""

    stays: int = 0
    peak: int = 0

    def take(self, stays: int, passing: int = 0) -> None:
        """Count bytes that stay, and some that are there only meanwhile."""
        self.stays += stays
        self.peak = max(self.peak, self.stays + passing)


class _Tensors:
    """What becomes of each tensor, followed on the meta device as zoo.checkpoint.fitting.fill would do it."""

    def __init__(self, model: nn.Module, fit: Fit, weights: Weights, dtype: torch.dtype | None) -> None:
        self.parameters = dict(model.named_parameters(remove_duplicate=False))
        self.unique = dict(model.named_parameters())
        self._headers, self._dtype = weights.headers, dtype
        self._dtypes: dict[int, torch.dtype] = {}
        self._mapped_bytes, self._cpu, self._host = 0, _Own(), _Own()
        self._own: set[int] = set()
        self._quantized: dict[int, tuple[str, int]] = {}
        cast = []
        for row in fit.rows:
            sources = {fit.files[hub]: self._meta(fit.files[hub]) for hub in row.hub}
            given = list(sources.values())
            read = row.read(given, [self.parameters[name].shape for name in row.zoo])
            for name, tensor in zip(row.zoo, read, strict=True):
                self._dtypes[id(self.parameters[name])] = dtype or tensor.dtype
            cast += [name for name, tensor in sources.items() if dtype not in (None, tensor.dtype)]
            mine = self._count(given, read)
            self._own |= {
                id(self.parameters[n]) for n, t in zip(row.zoo, read, strict=True) if any(t is o for o in mine)
            }
        first = next(iter(self._dtypes.values()), torch.float32)
        for name in fit.fresh:
            parameter = self.parameters[name]
            self._dtypes[id(parameter)] = dtype or first
            drawn = parameter.numel() * torch.float32.itemsize
            changed = 0 if (dtype or first) == torch.float32 else parameter.numel() * (dtype or first).itemsize
            self._cpu.take(changed or drawn, drawn if changed else 0)
            self._host.take(drawn, changed)
        for name in fit.kept:
            tensor = self._meta(name)
            if tensor.is_floating_point() and dtype not in (None, tensor.dtype):
                cast.append(name)
                assert dtype is not None
                for own in (self._cpu, self._host):
                    own.take(tensor.numel() * dtype.itemsize)
        self.cast = tuple(cast)

    def _meta(self, name: str) -> Tensor:
        header = self._headers[name]
        return torch.empty(header.shape, dtype=_DTYPES[header.dtype], device="meta")

    def _count(self, sources: list[Tensor], read: list[Tensor]) -> list[Tensor]:
        """Count one row: tensors that are views of the file, new ones, and those that are cast. Gives the last two."""
        mine = [t for t in read if not (t._is_view() or any(t is source for source in sources))]
        put_together = sum(tensor.nbytes for tensor in mine)
        if self._dtype is not None and any(tensor.dtype != self._dtype for tensor in read):
            cast = sum(tensor.numel() * self._dtype.itemsize for tensor in read)
            self._cpu.take(cast, put_together)
            self._host.take(0, put_together + cast)
            return read
        self._mapped_bytes += sum(tensor.nbytes for tensor in read) - put_together
        self._cpu.take(put_together)
        self._host.take(0, put_together)
        return mine

    def dtype_of(self, parameter: Tensor) -> torch.dtype:
        """The dtype that a parameter is loaded in."""
        return self._dtypes[id(parameter)]

    def quantize(self, layers: Iterable[nn.Linear], kind: str) -> None:
        """Count quantised weights in place of these layers', made one after the other when all are in place."""
        for layer in layers:
            whole, held = self.size_bytes(layer.weight), quantized_bytes(layer, kind)
            self._quantized[id(layer.weight)] = kind, held
            own = whole if id(layer.weight) in self._own else 0
            self._mapped_bytes -= whole - own
            self._cpu.take(held - own, own + whole)  # the weight itself, and a copy to work on

    def size_bytes(self, parameter: Tensor) -> int:
        """Of a parameter as it is loaded."""
        if id(parameter) in self._quantized:
            return self._quantized[id(parameter)][1]
        return parameter.numel() * self.dtype_of(parameter).itemsize

    def bytes_by_dtype(self) -> dict[str, int]:
        """Of all parameters."""
        sums: dict[str, int] = {}
        for parameter in self.unique.values():
            kind, _ = self._quantized.get(id(parameter), (None, 0))
            name = kind or str(self.dtype_of(parameter)).removeprefix("torch.")
            sums[name] = sums.get(name, 0) + self.size_bytes(parameter)
        return sums

    def memory(self) -> Memory:
        """What they take."""
        every = sum(map(self.size_bytes, self.unique.values()))
        return Memory(self._mapped_bytes, self._cpu.stays, self._cpu.peak, every, self._host.peak)


def _modules(model: Model, tensors: _Tensors) -> list[ModuleSize]:
    """Add up parameters by the backbone's parts, or those of its stacks, and the head; layers together."""
    stacks = {name for name, child in model.backbone.named_children() if isinstance(child, Stack)}
    groups: dict[str, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in tensors.unique.items():
        parts = name.removeprefix("backbone.").split(".")
        group = ".".join(parts[: 2 if parts[0] in stacks else 1])
        groups.setdefault(group, []).append((".".join(parts), parameter))
    sizes = []
    for group, members in groups.items():
        numbers = {rest.split(".")[0] for name, _ in members if (rest := name.removeprefix(f"{group}.")) != name}
        sizes.append(
            ModuleSize(
                group,
                len(numbers) if all(number.isdigit() for number in numbers) else None,
                sum(parameter.numel() for _, parameter in members),
                sum(tensors.size_bytes(parameter) for _, parameter in members),
            )
        )
    return sizes


def _attentions(model: Model, cross: bool) -> list[tuple[list[Attention], int | None]]:
    """Give for each layer that writes what it attends with, and how far back it looks."""
    decoder = getattr(model.backbone, "decoder", model.backbone)
    if not isinstance(decoder, Decoder):
        return []
    windows = [decoder.reaches[number].window for number in decoder.reach_of]
    return [
        ([found for found in layer.modules() if isinstance(found, Attention) and found.cross is cross], window)
        for layer, window in zip(decoder.layers, windows, strict=True)
    ]


def _kept_bytes(attention: Attention, tensors: _Tensors, ranks: int = 1) -> int:
    """Of one token's key and value."""
    heads = attention.num_key_value_heads
    split = heads // ranks if heads % ranks == 0 else heads
    return 2 * split * attention.head_dim * tensors.dtype_of(attention.key.weight).itemsize


def _cache(model: Model, tensors: _Tensors) -> list[CacheLayers]:
    """Add up the layers of each window."""
    layers: dict[int | None, list[int]] = {}
    for attentions, window in _attentions(model, cross=False):
        layers.setdefault(window, []).append(sum(_kept_bytes(attention, tensors) for attention in attentions))
    most = {window: None if window is None else LayerCache(2**62, window).capacity for window in layers}
    return [CacheLayers(len(kept), window, most[window], sum(kept)) for window, kept in layers.items()]


def _cached_bytes(model: Model, tensors: _Tensors, cross: bool, ranks: int = 1) -> int:
    every = [attention for attentions, _ in _attentions(model, cross) for attention in attentions]
    return sum(_kept_bytes(attention, tensors, ranks) for attention in every)


def _share(model: Model, tensors: _Tensors, ranks: int) -> RankShare:
    """Split what can be split, and add up one rank's part."""
    heads: dict[int, int] = {}
    for module in model.modules():
        if isinstance(module, Attention):
            heads |= {id(m.weight): module.num_attention_heads for m in (module.query, module.output)}
            heads |= {id(m.weight): module.num_key_value_heads for m in (module.key, module.value)}
    size_bytes = 0
    split: dict[str, None] = {}
    whole: dict[str, None] = {}
    for name, parameter in tensors.unique.items():
        axes = [heads[id(parameter)]] if id(parameter) in heads else parameter.shape
        divides = parameter.dim() > 1 and any(axis % ranks == 0 for axis in axes)
        size_bytes += tensors.size_bytes(parameter) // (ranks if divides else 1)
        if parameter.dim() > 1:
            pattern = re.sub(r"\.\d+(?=\.)", ".*", name.removeprefix("backbone.").removesuffix(".weight"))
            (split if divides else whole)[pattern] = None
    cache = _cached_bytes(model, tensors, cross=False, ranks=ranks)
    return RankShare(ranks, size_bytes, cache, tuple(split), tuple(whole))
