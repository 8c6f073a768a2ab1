"""What a training ran on: versions and hardware, for a report that can be compared with another."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from zoo import __version__, host

PACKAGES = ("torch", "tokenizers", "safetensors", "datasets")


def describe_environment(device: torch.device) -> dict[str, str]:
    """Give name and value of what a result may depend on. device: the model's. No path and no user's name is in it."""
    plugins = sorted({f"{plugin.distribution} {plugin.version}" for plugin in host.plugins()})
    return {
        "zoo": __version__,
        "plugins": ", ".join(plugins),
        **{name: found for name in PACKAGES if (found := _version(name)) is not None},
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "device": _device(device),
        "processor": f"{_processor()}, {os.cpu_count()} threads, {torch.get_num_threads()} of them for torch",
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _device(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    return f"{torch.cuda.get_device_name(device)}, one of {torch.cuda.device_count()}, CUDA {torch.version.cuda}"


def _processor() -> str:
    """Give the processor's name; Linux has it in a file alone."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
