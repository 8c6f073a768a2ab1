"""Reading a checkpoint's folder: its configuration, and its tensors mapped from the files."""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.checkpoint.headers import TensorHeader, read_header
from zoo.checkpoint.json_objects import parse_json_value, parse_object
from zoo.errors import CorruptFile, NotACheckpoint, RefusedContent

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
JSON_LIMIT_BYTES = 50_000_000


def read_json(path: Path) -> dict[str, Any]:
    """Give the JSON object in a file. Raises CorruptFile."""
    return parse_json(_read_limited(path), path)


def read_json_list(path: Path) -> list[Any]:
    """Give the JSON array in a file. Raises CorruptFile."""
    try:
        value = parse_json_value(_read_limited(path))
    except ValueError as error:
        raise CorruptFile(path, f"it {error}") from None
    if not isinstance(value, list):
        raise CorruptFile(path, "it is not a JSON array")
    return value


def parse_json(text: bytes, path: Path | str) -> dict[str, Any]:
    """Give the JSON object in a text. path: for the message. Raises CorruptFile."""
    try:
        return parse_object(text)
    except ValueError as error:
        raise CorruptFile(path, f"it {error}") from None


def _read_limited(path: Path) -> bytes:
    if not path.is_file():
        raise CorruptFile(path, "it is not there")
    if path.stat().st_size > JSON_LIMIT_BYTES:
        raise CorruptFile(path, f"it has more than {JSON_LIMIT_BYTES} bytes")
    return path.read_bytes()


def read_optional_json(path: Path) -> dict[str, Any]:
    """Give the JSON object in a file, or an empty one where there is no such file. Raises CorruptFile."""
    return read_json(path) if path.is_file() else {}


def read_config(folder: Path) -> dict[str, Any]:
    """Give `config.json` of a checkpoint's folder. Raises NotACheckpoint, CorruptFile."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise NotACheckpoint(folder, "config.json is not there" if folder.is_dir() else "there is no such folder")
    return read_json(path)


@dataclass(frozen=True)
class Weights:
    """The tensors of a checkpoint: their headers, already checked, and the files that hold them."""

    headers: Mapping[str, TensorHeader]
    files: Mapping[str, Path] = field(repr=False)

    @cached_property
    def _opened(self) -> dict[Path, Any]:
        return {}

    def tensor(self, name: str) -> "Tensor":
        """Map one tensor from its file, without copying it. The memory is private: writing never reaches the file."""
        from safetensors import safe_open

        path = self.files[name]
        if path not in self._opened:
            self._opened[path] = safe_open(path, framework="pt")
        mapped: Tensor = self._opened[path].get_tensor(name)
        return mapped


def open_weights(folder: Path) -> Weights:
    """Check the headers of a checkpoint's safetensors, one file or many with an index.

    Raises NotACheckpoint (no weights), RefusedContent (pickles only), CorruptFile (a header, or index and shards differ).
    """
    single, index = folder / WEIGHTS_FILE, folder / INDEX_FILE
    if single.is_file():
        headers = read_header(single)
        return Weights(headers, dict.fromkeys(headers, single))
    if index.is_file():
        return _open_shards(folder, index)
    pickles = (
        sorted(path.name for path in folder.iterdir() if path.suffix in PICKLE_SUFFIXES) if folder.is_dir() else []
    )
    if pickles:
        raise pickles_only(str(folder), pickles)
    raise NotACheckpoint(folder, "there is no model.safetensors")


def pickles_only(where: str, pickles: list[str]) -> RefusedContent:
    """The error for weights that exist as pickles only."""
    return RefusedContent(
        f"'{where}'",
        f"its weights are pickles only ({', '.join(pickles[:5])}), and a pickle can run any code when it is read",
        "Ask for safetensors: another revision may have them (often refs/pr/1). Or make them, in a process without network "
        f"and rights: zoo convert {where} --out FOLDER --allow-pickle-conversion",
    )


def shard_names(index: Mapping[str, Any], path: Path | str) -> list[str]:
    """Give the file names in an index, each once. Raises CorruptFile where one is not a plain safetensors name."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CorruptFile(path, "it has no weight_map")
    for name in weight_map.values():
        if not isinstance(name, str) or "/" in name or "\\" in name or not name.endswith(".safetensors"):
            raise CorruptFile(
                path, f"its weight_map names {reprlib.repr(name)}, which is not a safetensors file beside it"
            )
    return sorted(set(weight_map.values()))


def _open_shards(folder: Path, index: Path) -> Weights:
    content = read_json(index)
    present = {path.name: path for path in folder.iterdir() if path.is_file()}
    shards: dict[str, Mapping[str, TensorHeader]] = {}
    for name in shard_names(content, index):
        if name not in present:
            raise CorruptFile(index, f"it names the shard {name}, which is not there")
        shards[name] = read_header(present[name])
    return join_shards(content, index, shards, present)


def join_shards(
    content: Mapping[str, Any],
    index: Path | str,
    shards: Mapping[str, Mapping[str, TensorHeader]],
    paths: Mapping[str, Path],
) -> Weights:
    """Give the tensors of all shards as one, where index and shards agree. shards, paths: by file name.

    content: of the index, its names checked by shard_names. Raises CorruptFile.
    """
    headers: dict[str, TensorHeader] = {}
    files: dict[str, Path] = {}
    for name, shard in shards.items():
        for tensor, header in shard.items():
            if content["weight_map"].get(tensor) != name:
                raise CorruptFile(
                    index, f"the shard {name} holds '{tensor}', which its weight_map does not place there"
                )
            headers[tensor], files[tensor] = header, paths[name]
    absent = set(content["weight_map"]) - set(headers)
    if absent:
        raise CorruptFile(index, f"no shard holds '{min(absent)}', which its weight_map names")
    return Weights(headers, files)
