"""From a reference to a model: load(). And from a spec to a model with random weights: build()."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo import host
from zoo.adapters.binding import check_base
from zoo.adapters.files import Adapter, apply_adapter, read_adapter
from zoo.architecture import FEATURES, Architecture, Head
from zoo.checkpoint.adapter_files import refuse_adapter
from zoo.checkpoint.canary import read_canary
from zoo.checkpoint.fitting import Fit, fill, fit, place
from zoo.checkpoint.headers import TensorHeader
from zoo.checkpoint.layout import Layout, join
from zoo.checkpoint.manifest import Checkpoint
from zoo.checkpoint.reader import Weights, open_weights, read_config
from zoo.errors import CanaryMissing, HeadMissing, InvalidInput, NotACheckpoint, UnknownArchitecture
from zoo.hub import catalogue
from zoo.hub.lock import find_pin
from zoo.hub.pulling import pull
from zoo.layers.initialization import fresh_weights
from zoo.model import Model
from zoo.quantization import check_quantize
from zoo.quantization import quantize as quantize_layers
from zoo.references import parse
from zoo.tasks import get_task, head_task
from zoo.tasks.base import HeadSettings
from zoo.tokenization import load_tokenizer
from zoo.verification import Agreement, check_canary

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.specs import Spec

EXAMPLE_LABELS = ("negative", "positive")


def load(
    ref: str | Path,
    task: str | None = None,
    *,
    revision: str | None = None,
    labels: Sequence[str] | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    quantize: str | None = None,
    local_only: bool = False,
    endpoint: str | None = None,
    ignore_config_keys: Collection[str] = (),
    seed: int = 0,
    verify: bool = False,
    adapter: str | Path | None = None,
) -> Model:
    """Give a model from a checkpoint, every tensor accounted for, ready to predict.

    ref, revision, local_only, endpoint: see zoo.pull. task: None for that of the checkpoint's own head.
    labels: asks for a fresh head with these labels, unless they are the checkpoint's own; [] where the task has none to
    name. seed: of what is fresh.
    device: None for a GPU where there is one. dtype: such as "bfloat16"; None for the checkpoint's own.
    quantize: "int8" or "int4" to hold the backbone's linear layers in so many bits, for prediction alone: see
    zoo.quantization.
    ignore_config_keys: unknown keys of config.json to accept, and keys of generation_config.json to leave unread.
    adapter: what LoRA learnt beside these weights: a folder, or a reference to a hub as ref is, with its `@revision`; task
    and labels are the adapter's then.
    verify: compute the checkpoint's canary, and hand over no model that gives other token ids or numbers than it says.
    Raises the errors of zoo.pull, UnknownArchitecture, UnknownConfigKey, InvalidConfig, WeightsMismatch, HeadMissing,
    InvalidInput, AdapterAlone for an adapter without its base, with `quantize` ExtraMissing, with `adapter`
    AdapterMismatch, and with `verify` CanaryMismatch, CanaryMissing.
    """
    learnt = None if adapter is None else find_adapter(adapter, endpoint, local_only)
    if learnt is not None:
        task = task or learnt.task
        labels = learnt.head.labels if labels is None and learnt.head else labels
    wanted_device, wanted_dtype = choose_device(device), choose_dtype(dtype)
    check_quantize(quantize)
    if adapter is not None and quantize is not None:
        raise InvalidInput(
            "quantize goes with a whole checkpoint; merge the adapter with model.merge_adapter(), save that, and load it so"
        )
    checkpoint = pull(ref, revision=revision, endpoint=endpoint, local_only=local_only)
    refuse_adapter(checkpoint)
    if learnt is not None:
        check_base(learnt, checkpoint)
    config = read_config(checkpoint.path)
    architecture = find_architecture(config, checkpoint)
    weights = open_weights(checkpoint.path)
    spec = architecture.spec.from_config(config, ignore_config_keys).for_tensors(weights.headers)
    head = choose_head(architecture, config, task, labels, weights.headers)
    model = assemble(architecture, spec, head, choose_settings(head, config, labels), task)
    plan = fit_model(model, head, config, labels, weights)
    fresh = fresh_weights(model, plan.fresh, spec.initializer_range, seed, spec.initial_deviations())
    fill(model, plan, weights, fresh, wanted_device, wanted_dtype)
    model.checkpoint, model.config, model.fit, model.fresh_parameters = checkpoint, config, plan, plan.fresh
    model.ignored_config_keys = frozenset(ignore_config_keys)
    model.kept = {name: _cast(weights.tensor(name), wanted_dtype) for name in plan.kept}
    model.tokenizer = load_tokenizer(checkpoint.path)
    if verify:
        verify_model(model, wanted_dtype, ignore_config_keys)
    if learnt is not None:
        apply_adapter(model, learnt)
    if quantize is not None:
        quantize_layers(model.backbone, quantize)
        model.quantized = quantize
    host.notify("zoo_model_loaded", model=model)
    return model.eval()


def find_adapter(ref: str | Path, endpoint: str | None = None, local_only: bool = False) -> Adapter:
    """Give an adapter, read: that of a folder, or of a hub, fetched and verified as a checkpoint is.

    Under a zoo.lock that holds the reference, with the base that the lock says. Raises the errors of zoo.pull, InvalidInput.
    """
    reference = parse(ref)
    if reference.folder is not None:
        return read_adapter(Checkpoint(reference.folder))
    pin = find_pin(reference)
    found = pull(ref, endpoint=endpoint, local_only=local_only)
    return read_adapter(found, pin.locked.base if pin else None)


def verify_model(model: Model, dtype: torch.dtype | None = None, ignore_config_keys: Collection[str] = ()) -> Agreement:
    """Compute the canary of a model's checkpoint: with this model, or where its head is another, with the checkpoint's own.

    dtype: for a model that has to be loaded. Raises CanaryMissing, CanaryMismatch, CorruptFile.
    """
    checkpoint = model.checkpoint
    assert checkpoint is not None
    where = checkpoint.repo_id or str(checkpoint.path)
    canary = read_canary(checkpoint.path)
    if canary is None:
        raise CanaryMissing(where)
    if model.fresh_parameters or head_task(model.task) != canary.task:
        model = load(checkpoint.path, device=model.device, dtype=dtype, ignore_config_keys=ignore_config_keys)
    return check_canary(model, canary, where)


def build(
    spec: Spec,
    task: str | None = None,
    *,
    labels: Sequence[str] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> Model:
    """Give a model with random weights.

    spec: see zoo.make_spec. task: None for the backbone with its pooler. labels: the head's, two unnamed ones if left
    out. seed: the same one gives the same weights, on every device. device, dtype: see load; float32 if left out.
    Raises UnknownArchitecture, UnknownTask, InvalidInput.
    """
    architecture = host.get_architecture(spec.model_type)
    head = architecture.head(head_task(task or FEATURES), task)
    model = assemble(architecture, spec, head, choose_settings(head, {}, labels), task)
    names = [name for name, _ in model.named_parameters()]
    fresh = fresh_weights(model, names, spec.initializer_range, seed, spec.initial_deviations())
    place(model, {n: t.to(device=choose_device(device), dtype=choose_dtype(dtype)) for n, t in fresh.items()})
    model.fresh_parameters = tuple(names)
    model.fit = fit(model, model_layout(architecture, head, spec), {}, architecture=architecture.name, fresh=names)
    return model.eval()


def make_spec(architecture: str, /, **sizes: Any) -> Spec:
    """Give a validated spec. sizes: its fields; those left out take the family's usual proportions.

    Raises UnknownArchitecture, UnknownConfigKey, InvalidConfig.
    """
    spec = host.get_architecture(architecture).spec
    fields = spec.known_keys()
    given = {fields.get(key, key) for key in sizes}
    proportions = spec.proportions({"model_type": architecture, **sizes})
    usual = {key: size for key, size in proportions.items() if fields.get(key, key) not in given}
    return spec.from_config({**usual, "model_type": architecture, **sizes})


def find_architecture(config: Mapping[str, Any], checkpoint: Checkpoint) -> Architecture:
    """Give the architecture that a config names. Raises NotACheckpoint, UnknownArchitecture."""
    name = config.get("model_type")
    if not isinstance(name, str):
        raise NotACheckpoint(checkpoint.path, "its config.json names no model_type")
    recorded = checkpoint.manifest.distribution if checkpoint.manifest else None
    try:
        return host.get_architecture(name, recorded)
    except UnknownArchitecture as error:  # only then is the catalogue worth reading
        raise UnknownArchitecture(name, error.installed, error.distribution or catalogue.provider(name)) from None


def choose_head(
    architecture: Architecture,
    config: Mapping[str, Any],
    task: str | None,
    labels: Sequence[str] | None,
    headers: Mapping[str, TensorHeader],
) -> Head | None:
    """Give the head for the task, or None where the backbone alone does it. Raises UnknownTask, HeadMissing."""
    own = architecture.head_of(config)
    head = architecture.head(head_task(task), task) if task else (own or architecture.head(FEATURES))
    if own is not None and own.task == head.task:
        head = own  # of several heads for one task, the checkpoint's
    bare = {architecture.layout.bare(name) for name in headers}
    present = [row for row in head.layout.rows if bare.issuperset(map(architecture.layout.bare, row.hub))]
    if head.optional and not present:
        return None
    if head is own or head.optional or head.build is None or labels is not None:
        return head
    if own is None and len(present) == len(head.layout.rows):
        return head  # a config that claims no head, with all of this head's tensors beside it
    available = [own.task] if own else []
    fixed = get_task(head.task).fixed_labels
    raise HeadMissing(head.task, sorted({FEATURES, *available}), EXAMPLE_LABELS if fixed is None else fixed)


def choose_settings(head: Head | None, config: Mapping[str, Any], labels: Sequence[str] | None) -> HeadSettings:
    """Give the names of the head's outputs: those asked for, the task's own, or the config's. Raises InvalidInput."""
    task = head.task if head else FEATURES
    fixed = get_task(task).fixed_labels
    if fixed is not None:
        if labels and tuple(labels) != fixed:
            raise InvalidInput(
                f"labels is {labels!r}; for the task '{task}' it would be {list(fixed)}. "
                'Name the task that these labels are for, such as "text-classification"'
            )
        return HeadSettings(fixed)
    if labels is None:
        return HeadSettings.from_config(config)
    chosen = tuple(str(label) for label in labels)
    if not chosen or isinstance(labels, str) or len(set(chosen)) != len(chosen):
        raise InvalidInput(f"labels is {labels!r}; it would be a list of different names")
    own = HeadSettings.from_config(config)
    return own if own.labels == chosen else HeadSettings(chosen)


def assemble(
    architecture: Architecture, spec: Spec, head: Head | None, settings: HeadSettings, task: str | None = None
) -> Model:
    """Compose backbone and head on the meta device: names, shapes and ties, no memory. task: None for the head's."""
    with torch.device("meta"):
        backbone = (head.backbone if head and head.backbone else architecture.build)(spec)
        layers = head.build(spec, backbone, len(settings.labels)) if head and head.build else None
    task = task or (head.task if head else FEATURES)
    return Model(architecture=architecture, spec=spec, task=task, backbone=backbone, head=layers, settings=settings)


def fit_model(
    model: Model, head: Head | None, config: Mapping[str, Any], labels: Sequence[str] | None, weights: Weights
) -> Fit:
    """Match the checkpoint's tensors with the model's parameters. Raises WeightsMismatch."""
    architecture = model.architecture
    own = architecture.head_of(config)
    is_own = head is not None and head is own
    # A class around the backbone may stand for the backbone's own task; its names keep their prefix.
    keeps_prefix = own is not None and own.task == model.task and _is_prefixed(architecture.layout, weights)
    layout = model_layout(architecture, head, model.spec, keeps_prefix)
    every = [join(architecture.layout, other.layout, with_prefix=True) for other in architecture.heads]
    fresh = _fresh_names(model, head, layout, config, weights) if labels is not None else ()
    backbone = architecture.layout.configured(model.spec)
    return fit(
        model,
        layout
        if is_own or head is None
        else join(backbone, _without_ignored(head.layout), head.prefixed, other_prefix=head.prefix),
        weights.headers,
        architecture=architecture.name,
        fresh=fresh,
        dropped=lambda bare: any(other.knows(bare) or other.ignores(bare) for other in every),
        keep_spare=is_own or head is None,
        partial=head is not None and head.backbone is not None,
    )


def outline(
    config: Mapping[str, Any],
    weights: Weights,
    checkpoint: Checkpoint,
    task: str | None = None,
    labels: Sequence[str] | None = None,
) -> Model:
    """Give the model that load would give, on the meta device: from headers alone. Raises the errors of load."""
    architecture = find_architecture(config, checkpoint)
    spec = architecture.spec.from_config(config).for_tensors(weights.headers)
    head = choose_head(architecture, config, task, labels, weights.headers)
    model = assemble(architecture, spec, head, choose_settings(head, config, labels), task)
    model.checkpoint, model.config = checkpoint, config
    model.fit = fit_model(model, head, config, labels, weights)
    model.fresh_parameters = model.fit.fresh
    return model


def model_layout(architecture: Architecture, head: Head | None, spec: Spec, keeps_prefix: bool = False) -> Layout:
    """Give the table of a whole model. keeps_prefix: whether a backbone of its own is written with the prefix too."""
    backbone = architecture.layout.configured(spec)
    if head is not None and head.prefixed:
        return join(backbone, head.layout, with_prefix=True, other_prefix=head.prefix)
    return join(backbone, head.layout if head else None, keeps_prefix, head_with_prefix=keeps_prefix)


def _is_prefixed(layout: Layout, weights: Weights) -> bool:
    """Tell whether the backbone's tensors in the file, all of them, carry the layout's prefix."""
    names = [name for name in weights.headers if layout.knows(layout.bare(name))]
    return bool(names) and all(name.startswith(layout.prefix) for name in names)


def _without_ignored(layout: Layout) -> Layout:
    """A head that a checkpoint lacks has nothing to keep for it."""
    return Layout(*[(row.hub, row.zoo, row) for row in layout.rows])


def _fresh_names(
    model: Model, head: Head | None, layout: Layout, config: Mapping[str, Any], weights: Weights
) -> set[str]:
    """Give the head's parameters that start fresh because labels were asked for."""
    own = model.architecture.head_of(config)
    names = [name for name, _ in model.named_parameters() if name.startswith("head.")]
    fixed = get_task(model.task).fixed_labels is not None
    if head is own and (fixed or HeadSettings.from_config(config).labels == model.settings.labels):
        return set()
    output = f"head.{head.output}." if head and head.output else "head."
    in_file = {layout.bare(name) for name in weights.headers}
    absent = {
        name for row in layout.bind(names) if not in_file.issuperset(map(layout.bare, row.hub)) for name in row.zoo
    }
    return {name for name in names if name.startswith(output) or name in absent}


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Give a tensor in the dtype asked for; whole numbers stay as they are."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def choose_device(device: str | torch.device | None) -> torch.device:
    """Give the device asked for, or a GPU where there is one, else the CPU. Raises InvalidInput."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch has no one error for this
        raise InvalidInput(f"There is no device '{device}' ({str(error).splitlines()[0]})") from None
    if found.type == "meta":
        raise InvalidInput("The device 'meta' holds no values; it would be one such as cpu or cuda")
    return found


def choose_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """Give a floating-point dtype by name or as it is. Raises InvalidInput."""
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise InvalidInput(f"There is no floating-point dtype '{dtype}'; it would be float32, bfloat16 or float16")
    return found
