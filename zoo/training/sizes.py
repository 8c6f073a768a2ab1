"""The sizes of a new model: fields of its spec, given or in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.architecture import Architecture
from zoo.training.config import read_toml

Sizes = Mapping[str, Any] | str | Path
"""Fields of a spec by name, or a TOML file of them."""


def read_sizes(spec: Sizes) -> dict[str, Any]:
    """Give the fields. Raises InvalidInput for a file that cannot be read."""
    return dict(spec) if isinstance(spec, Mapping) else read_toml(spec, "fields of the spec")


def name_fields(given: Mapping[str, Any], architecture: Architecture) -> dict[str, Any]:
    """Give the same under the fields' own names, where some are under those that published configs use."""
    names = architecture.spec.known_keys()
    return {names.get(key, key): value for key, value in given.items()}
