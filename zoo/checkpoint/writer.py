"""Writing tensors as safetensors, in one file or in shards with an index."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.checkpoint.reader import INDEX_FILE, WEIGHTS_FILE
from zoo.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Tensor

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object as the Hub's files are written: sorted, indented by two; whole or not at all."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_weights(tensors: Mapping[str, "Tensor"], folder: Path, max_shard_size: str = "5GB") -> None:
    """Write tensors to `model.safetensors`, or to shards of at most `max_shard_size` (such as "500MB") and an index.

    Each file appears under its name only when it is complete; files of an earlier save that are no longer part of the
    checkpoint are removed last. Raises InvalidInput for a size that cannot be read.
    """
    from safetensors.torch import save_file

    shards = _sharded(tensors, parse_size(max_shard_size))
    names = [WEIGHTS_FILE] if len(shards) == 1 else _shard_names(len(shards))
    partials = [folder / f".{name}.partial" for name in names]
    try:
        for partial, shard in zip(partials, shards, strict=True):
            partial.touch()
            mode = partial.stat().st_mode
            save_file(_separate(shard), partial, metadata={"format": "pt"})
            partial.chmod(mode)  # safetensors lets the owner alone read it; the folder's other files follow the umask
        for partial, name in zip(partials, names, strict=True):
            partial.replace(folder / name)
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)
    if len(shards) > 1:
        weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        total = sum(tensor.nbytes for tensor in tensors.values())
        write_json(folder / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map})
    _remove_stale(folder, {*names, *([INDEX_FILE] if len(shards) > 1 else [])})


def parse_size(text: str) -> int:
    """Give the bytes that a text such as "5GB" or "300KB" means (decimal units). Raises InvalidInput."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)\s*([KMGT]?B)", text.strip().upper())
    size_bytes = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size_bytes <= 0:
        raise InvalidInput(f"'{text}' is not a size; write a number and a unit, such as 5GB or 300MB")
    return size_bytes


def _sharded(tensors: Mapping[str, "Tensor"], limit_bytes: int) -> list[dict[str, "Tensor"]]:
    """Fill shards in the order of the tensors; a tensor above the limit gets a shard of its own."""
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in tensors.items():
        if shards[-1] and used + tensor.nbytes > limit_bytes:
            shards.append({})
            used = 0
        shards[-1][name] = tensor
        used += tensor.nbytes
    return shards


def _separate(tensors: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Make the tensors contiguous, and copy those that share memory, which the format cannot express."""
    separate: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.contiguous()
        separate[name] = own.clone() if own.data_ptr() in seen else own
        seen.add(own.data_ptr())
    return separate


def _shard_names(count: int) -> list[str]:
    return [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def _remove_stale(folder: Path, current: set[str]) -> None:
    pattern = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")
    for path in folder.iterdir():
        if pattern.fullmatch(path.name) and path.name not in current:
            path.unlink()
