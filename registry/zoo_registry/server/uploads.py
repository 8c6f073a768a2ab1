"""Which files go into git as they are, and which through LFS."""

import fnmatch

_LFS_PATTERNS = tuple(
    pattern
    for line in (
        "*.safetensors *.bin *.pt *.pth *.ckpt *.pickle *.pkl *.joblib *.ot",
        "*.onnx *.onnx_data *.h5 *.keras *.msgpack *.tflite *.mlmodel *.pb *.gguf *.ftz *.model *.wasm",
        "*.npy *.npz *.parquet *.arrow",
        "*.7z *.bz2 *.gz *.rar *.tar *.tgz *.xz *.zip *.zst *tfevents*",
    )
    for pattern in line.split()
)


def is_lfs(path: str, size: int, lfs_bytes: int) -> bool:
    """Whether a file of `size` bytes goes through LFS: if it is binary by its name, or has `lfs_bytes` or more."""
    name = path.rpartition("/")[2].lower()
    return size > 0 and (size >= lfs_bytes or any(fnmatch.fnmatchcase(name, pattern) for pattern in _LFS_PATTERNS))


def git_attributes() -> bytes:
    """The .gitattributes of a new repository, which tells git the same."""
    lines = (f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in _LFS_PATTERNS)
    return "".join(lines).encode()


def is_ignored(path: str, ignore: str | None) -> bool:
    """Whether a .gitignore's text leaves `path` out; of its syntax, names, folders, wildcards and `!` are read."""
    ignored = False
    for line in (ignore or "").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keeps = pattern.startswith("!")
        if _matches(path, pattern.lstrip("!")):
            ignored = not keeps
    return ignored


def _matches(path: str, pattern: str) -> bool:
    anchored = "/" in pattern.rstrip("/")
    folders_only = pattern.endswith("/")
    pattern = pattern.strip("/").removeprefix("**/")
    parts = path.split("/")
    starts = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    for index, start in enumerate(starts):
        if folders_only and index == len(parts) - 1:
            continue
        if fnmatch.fnmatchcase(start if anchored else parts[index], pattern):
            return True
    return False
