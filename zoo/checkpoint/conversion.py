"""Pickled weights to safetensors. The only place where Zoo lets a pickle be read, and it is not read in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo.checkpoint.headers import TensorHeader, read_header
from zoo.checkpoint.reader import Weights, read_json
from zoo.errors import CorruptFile, NotACheckpoint, RefusedContent

PICKLE_FILE = "pytorch_model.bin"
PICKLE_INDEX = "pytorch_model.bin.index.json"
_CURE = "Nothing of it was run. Do not read it with another program either; ask its author for safetensors"
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


def pickle_names(names: Sequence[str], index: Mapping[str, object] | None, where: str) -> list[str]:
    """Give the names of a checkpoint's pickles: the one file, or the shards of the index.

    names: of all files. index: the content of PICKLE_INDEX, None where there is none. Raises NotACheckpoint, CorruptFile.
    """
    if PICKLE_FILE in names:
        return [PICKLE_FILE]
    if index is None:
        raise NotACheckpoint(where, f"there is neither {PICKLE_FILE} nor {PICKLE_INDEX}")
    weight_map = index.get("weight_map")
    shards = set(weight_map.values()) if isinstance(weight_map, dict) else set()
    for shard in shards:
        if not isinstance(shard, str) or "/" in shard or "\\" in shard or not shard.endswith(".bin"):
            raise CorruptFile(PICKLE_INDEX, f"its weight_map names {shard!r}, which is not a .bin file beside it")
        if shard not in names:
            raise CorruptFile(PICKLE_INDEX, f"it names the shard {shard}, which is not there")
    if not shards:
        raise CorruptFile(PICKLE_INDEX, "it has no weight_map")
    return sorted(map(str, shards))


def read_pickles(paths: Sequence[Path], work: Path, index: Path | None = None) -> Weights:
    """Give the tensors of pickles, read one file at a time in a process without rights, from safetensors in `work`.

    index: of the shards, which has to agree with them. Raises RefusedContent, CorruptFile.
    """
    headers: dict[str, TensorHeader] = {}
    files: dict[str, Path] = {}
    for number, path in enumerate(paths):
        target = work / f"{number:05d}.safetensors"
        unpickle(path, target)
        for name, header in read_header(target).items():  # what comes out of there is checked as if a stranger sent it
            if name in headers:
                raise CorruptFile(path, f"it holds '{name}', which another shard holds too")
            headers[name], files[name] = header, target
    if index is not None:
        stated = read_json(index)["weight_map"]
        differing = sorted(stated.keys() ^ headers.keys())
        if differing:
            raise CorruptFile(index, f"it and the shards do not hold the same tensors: '{differing[0]}'")
    return Weights(headers, files)


def unpickle(source: Path, target: Path) -> None:
    """Write a pickle's tensors as safetensors, in a process that may do nothing else. Raises RefusedContent."""
    where = f"'{source}'"
    with source.open("rb") as file:
        start = file.read(262)
    if start[257:262] == b"ustar":
        reason = "it is a tar file, as torch wrote it before version 0.2, which is read only by running what it says"
        raise RefusedContent(where, reason, _CURE)
    size_bytes = source.stat().st_size
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HOME": str(target.parent)}
    script = Path(__file__).with_name("unpickling.py")
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(script), str(source.resolve()), str(target.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=target.parent,
            start_new_session=True,
            timeout=300 + size_bytes / 5_000_000,
        )
    except subprocess.TimeoutExpired:
        raise RefusedContent(where, "reading it did not come to an end", _CURE) from None
    if done.returncode:
        target.unlink(missing_ok=True)
        said = done.stderr.decode("utf-8", "replace").strip()
        lines = [line for line in said.splitlines() if line.isprintable()] or ["it said nothing"]
        own = done.returncode in (3, 4)
        reason = (
            lines[-1][:500]
            if own
            else f"the process that read it ended with status {done.returncode} ({lines[-1][:300]})"
        )
        raise RefusedContent(where, reason, _CURE)
