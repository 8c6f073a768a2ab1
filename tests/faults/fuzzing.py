"""Reads mutated files under watch, in a process of its own: python -m tests.faults.fuzzing KIND CASES SEED FOLDER.

KIND is headers or configs. A case that is neither read nor refused with a ZooError ends the process with hypothesis's
account of it; otherwise the last line is JSON with what happened.
"""

import json
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import zoo
from tests.faults import mutations
from tests.faults.watching import Watch, limit_memory, peak_bytes
from tests.interop.published import PUBLISHED
from zoo import host
from zoo.checkpoint.fitting import fit, written
from zoo.checkpoint.reader import open_weights
from zoo.errors import ZooError
from zoo.hub import catalogue
from zoo.loading import assemble, choose_settings, model_layout

CODES = {torch.float32: "F32", torch.int64: "I64"}
LAYER_KEYS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers"
)  # fmt: skip


def bases() -> dict[str, dict[str, Any]]:
    """Give a config as published for every installed architecture, with two layers: deeper ones only take longer."""
    configs = dict(PUBLISHED)
    covered = {config["model_type"] for config in configs.values()}
    for info in zoo.list_architectures():
        if info.name not in covered:
            architecture = zoo.get_architecture(info.name)
            classes = {"architectures": [next(head for head in architecture.heads if head.classes).classes[0]]}
            configs[info.name] = zoo.make_spec(info.name).to_config() | classes
    return {
        name: {key: 2 if key in LAYER_KEYS and value is not None else value for key, value in config.items()}
        for name, config in configs.items()
    }


def header_of(config: dict[str, Any]) -> dict[str, Any]:
    """Give the safetensors header of a checkpoint with this config."""
    architecture = zoo.get_architecture(config["model_type"])
    spec, head = architecture.spec.from_config(config), architecture.head_of(config)
    model = assemble(architecture, spec, head, choose_settings(head, config, None))
    names = [name for name, _ in model.named_parameters()]
    plan = fit(model, model_layout(architecture, head, spec), {}, architecture=architecture.name, fresh=names)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, tensor in written(model, plan).items():
        offsets = [position, position + tensor.nbytes]
        header[name] = {"dtype": CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        position += tensor.nbytes
    return header


def write_weights(path: Path, header: bytes, data_bytes: int, claimed: int | None = None) -> None:
    """Write a file with this header, and a hole for its tensors. claimed: another length than the header's own."""
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header) if claimed is None else claimed) + header)
        file.truncate(8 + len(header) + data_bytes)


def data_bytes(header: dict[str, Any]) -> int:
    """How many bytes of tensors a sound header describes."""
    return max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")


def config_case(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], Path], Callable[[Path], object]]:
    """A checkpoint's folder for each config; what is mutated is config.json, and what is done is all that a load does
    until tensors are read.
    """
    configs = list(bases().values())
    folders = []
    for index, config in enumerate(configs):
        folders.append(folder / str(index))
        folders[-1].mkdir()
        header = header_of(config)
        write_weights(folders[-1] / "model.safetensors", json.dumps(header).encode(), data_bytes(header))
    known = [item for config in configs for item in config.items()]
    drawn = st.tuples(st.integers(0, len(configs) - 1), mutations.mutations(known))

    def write(case: Any) -> Path:
        index, (steps, raw, damage) = case
        text = mutations.write(mutations.spoil(configs[index], steps), raw, damage)
        (folders[index] / "config.json").write_bytes(text)
        return folders[index]

    for index in range(len(configs)):
        zoo.plan(write((index, ([], [], []))))  # sound as they are; and what is imported on first use is there
    return drawn, write, zoo.plan


def header_case(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], Path], Callable[[Path], object]]:
    """Headers of every architecture, their tensors made small; whatever is accepted is mapped by safetensors itself."""
    headers = [_shrunk(header_of(config)) for config in bases().values()]
    known = [item for header in headers[:4] for entry in header.values() for item in [*entry.items(), *header.items()]]
    sizes = st.tuples(st.sampled_from([-8, -1, 1, 8, 4096]), st.none())
    lengths = st.tuples(st.just(0), st.sampled_from([2**31, 2**63, 2**64 - 1]) | st.integers(0, 3000))
    lies = st.integers(0, 9).flatmap(lambda number: {0: sizes, 1: lengths}.get(number, st.just((0, None))))
    drawn = st.tuples(st.integers(0, len(headers) - 1), mutations.mutations(known), lies)

    def write(case: Any) -> Path:
        index, (steps, raw, damage), (change, claim) = case
        text = mutations.write(mutations.spoil(headers[index], steps), raw, damage)
        write_weights(folder / "model.safetensors", text, max(0, data_bytes(headers[index]) + change), claim)
        return folder

    def read(folder: Path) -> None:
        weights = open_weights(folder)
        for name, header in weights.headers.items():
            assert tuple(weights.tensor(name).shape) == header.shape

    for index in range(len(headers)):
        read(write((index, ([], [], []), (0, None))))
    return drawn, write, read


def _shrunk(header: dict[str, Any]) -> dict[str, Any]:
    """Give a header with the same names and a few bytes for each tensor."""
    shrunk, position = {}, 0
    for number, (name, entry) in enumerate(header.items()):
        if name == "__metadata__":
            shrunk[name] = entry
            continue
        shape = [2 + (number + axis) % 3 for axis in range(len(entry["shape"]))]
        size = int(torch.Size(shape).numel()) * 4
        shrunk[name] = {"dtype": "F32", "shape": shape, "data_offsets": [position, position + size]}
        position += size
    return shrunk


def main(kind: str, cases: int, start: int, folder: Path) -> None:
    """Read so many mutated files."""
    catalogue.provider("none")  # an unknown architecture is looked up there: its plugins are imported by now
    watch = Watch([Path(path) for path in host.each("zoo.catalogues", "zoo_catalogues")])
    drawn, write, read = (config_case if kind == "configs" else header_case)(folder)
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    limit_memory()
    before = peak_bytes()

    @seed(start)
    @given(case=drawn)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    def run(case: Any) -> None:
        nonlocal slowest
        where = write(case)
        began = time.perf_counter()
        try:
            with watch.over(where):
                read(where)
            outcome = "read"
        except ZooError as error:
            outcome = type(error).__name__
            str(error).encode("utf-8")  # a message that can be shown
        outcomes[outcome] += 1
        slowest = max(slowest, time.perf_counter() - began)

    run()
    print(json.dumps({"cases": outcomes.total(), "outcomes": dict(outcomes.most_common()), "slowest": round(slowest, 3),
                      "grown_bytes": peak_bytes() - before, "events": sorted(watch.seen)}))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
