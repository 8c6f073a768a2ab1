"""The process that reads a pickle, and may do nothing else: `python -I unpickling.py SOURCE TARGET`.

It is started by zoo.checkpoint.conversion, never imported. Against a pickle that runs code stand, one behind the other:
torch's reader that builds tensors alone (weights_only); an end to this process at the first call that would reach the
network, start a program, or change any file but TARGET; no network to reach, where the system lets us leave it; limits
of memory, time and file size. Exit status: 0 done, 3 refused, 4 an attempt that the reader should not have let through.
"""

import contextlib
import ctypes
import os
import re
import sys
from typing import Any

REFUSED, ATTEMPTED = 3, 4
CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
PR_SET_NO_NEW_PRIVS = 38
GIGABYTE = 1 << 30
# Python's audit events (https://docs.python.org/3/library/audit_events.html) that reading tensors never causes.
FORBIDDEN = (
    "socket.", "subprocess.", "os.", "shutil.", "pty.", "ctypes.", "signal.", "syslog.", "webbrowser.", "urllib.",
    "http.", "ftplib.", "imaplib.", "poplib.", "smtplib.", "telnetlib.", "winreg.", "_winapi.", "pickle.find_class",
    "resource.", "sys.addaudithook", "code.__new__", "function.__new__",
)  # fmt: skip
HARMLESS = ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.getxattr", "os.listxattr")


def main(source: str, target: str) -> int:
    """Read the pickle and write its tensors. Gives the exit status."""
    leave_network()
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    lock_down(target, os.path.getsize(source))  # noqa: PTH202
    try:
        tensors = read(source)
        save_file(tensors, target, {"format": "pt"})
    except MemoryError:
        return refuse("it takes more memory than its size allows")
    except Exception as error:  # a hostile file can make the reader stumble over anything
        return refuse(reason_for(error))
    return 0


def reason_for(error: Exception) -> str:
    """Say what the reader stumbled over, without its advice to read the file unprotected."""
    text = str(error)
    if asked := re.search(r"GLOBAL ([\w.]+)", text):
        return f"it asks for {asked[1]}, and weights consist of tensors alone"
    own = re.search(r"WeightsUnpickler error: *(.+)", text)
    said = own[1] if own else (text.splitlines() or [""])[0]
    detail = "" if "weights_only" in said else f" ({said[:200]})"
    return f"torch cannot read it as tensors alone{detail}"


def read(source: str) -> dict[str, Any]:
    """Give the tensors by name, each with memory of its own: the target's format knows no sharing."""
    import torch

    with open(source, "rb") as file:  # noqa: PTH123
        zipped = file.read(4) == b"PK\x03\x04"
    content = torch.load(source, map_location="cpu", weights_only=True, mmap=zipped)
    if not isinstance(content, dict) or not content:
        raise TypeError(f"it holds a {type(content).__name__}, where tensors by name are expected")
    seen: set[int] = set()
    tensors: dict[str, Any] = {}
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise TypeError(f"its entry {name!r} is no plain tensor")
        tensor = value.detach().contiguous()
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.nbytes and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        tensors[name] = tensor if whole else tensor.clone()
    return tensors


def leave_network() -> None:
    """Enter a network of our own, where there is nobody; where the system forbids that, the other measures stay."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC) != 0:
            libc.unshare(CLONE_NEWNET)


def lock_down(target: str, size_bytes: int) -> None:
    """Limit what this process may use, and end it at the first forbidden call. For good: hooks cannot be taken away."""
    limit(size_bytes)
    allowed = os.path.abspath(target)  # noqa: PTH100

    def end_at(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = (*arguments, None, None, None)[:3]
            writes = isinstance(flags, int) and flags & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            )
            forbidden = bool(writes) and not (isinstance(path, str) and os.path.abspath(path) == allowed)  # noqa: PTH100
        else:
            forbidden = event.startswith(FORBIDDEN) and event not in HARMLESS
        if forbidden:
            os.write(2, f"it tried to do more than hold tensors ({event})".encode())
            os._exit(ATTEMPTED)

    sys.addaudithook(end_at)


def limit(size_bytes: int) -> None:
    """Set limits that reading and writing a file of this size stays within, where the system has them."""
    try:
        import resource
    except ImportError:
        return
    memory = 4 * size_bytes + GIGABYTE
    with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
        memory += int(statm.read().split()[0]) * resource.getpagesize()
        lower(resource.RLIMIT_AS, memory)
    lower(resource.RLIMIT_CPU, 60 + size_bytes // 10_000_000)
    lower(resource.RLIMIT_FSIZE, 4 * size_bytes + 100_000_000)
    lower(resource.RLIMIT_NOFILE, 64)
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_NPROC, 0)


def lower(what: int, value: int) -> None:
    """Set one limit, where it is not lower already."""
    import resource

    hard = resource.getrlimit(what)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(what, (value, value))


def refuse(reason: str) -> int:
    """Say why, and give the exit status."""
    os.write(2, reason.encode("utf-8", "replace"))
    return REFUSED


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:3]))
