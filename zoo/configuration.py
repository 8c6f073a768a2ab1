"""The user's configuration: a small TOML file, read where it is needed."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

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


def plugin_settings(name: str) -> Mapping[str, Any]:
    """Give the table under which a plugin's settings are kept, empty where there is none. Raises InvalidConfiguration."""
    table = _read().get(name, {})
    if not isinstance(table, dict):
        raise InvalidConfiguration(configuration_path(), f"[{name}] must be a table")
    return table


Policy = Literal["off", "warn", "require"]


@dataclass(frozen=True)
class SignaturePolicy:
    """Whether checkpoints of a namespace must be signed, and the files of the public keys that are trusted for it."""

    policy: Policy = "off"
    keys: tuple[Path, ...] = ()


def signature_policy(namespace: str) -> SignaturePolicy:
    """Give the policy for a namespace on a hub: its own table under `[signatures]`, else that of "*", else off.

        [signatures.acme]
        policy = "require"        # or "warn", or "off"
        keys = ["acme.pub.pem"]   # paths beside the configuration file, or absolute

    Raises InvalidConfiguration.
    """
    path, tables = configuration_path(), _read().get("signatures", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise InvalidConfiguration(path, "[signatures] must hold a table for each namespace, such as [signatures.acme]")
    name = next((name for name in tables if name.lower() == namespace.lower()), "*")
    table = tables.get(name, {})
    policy, keys = table.get("policy", "warn" if table else "off"), table.get("keys", [])
    known = set(table) <= {"policy", "keys"} and policy in get_args(Policy)
    if not known or not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise InvalidConfiguration(
            path, f'[signatures.{name}] takes policy, one of "off", "warn" and "require", and keys, a list of files'
        )
    return SignaturePolicy(policy, tuple(path.parent / Path(key).expanduser() for key in keys))


def _read() -> Mapping[str, Any]:
    path = configuration_path()
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidConfiguration(path, str(error)) from None
