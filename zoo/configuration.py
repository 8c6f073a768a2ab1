"""The user's configuration: a small TOML file, read where it is needed."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.errors import InvalidConfiguration


def configuration_path() -> Path:
    """Where the configuration is: $ZOO_CONFIG, or zoo/config.toml in the user's configuration folder."""
    if named := os.environ.get("ZOO_CONFIG"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "zoo" / "config.toml"


def preferred() -> Mapping[str, str]:
    """Give the `[prefer]` table: for a name that two plugins claim, the distribution to take.

    Raises InvalidConfiguration.
    """
    table = _read().get("prefer", {})
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise InvalidConfiguration(configuration_path(), "[prefer] must give a distribution's name for each name")
    return table


def _read() -> Mapping[str, Any]:
    path = configuration_path()
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidConfiguration(path, str(error)) from None
