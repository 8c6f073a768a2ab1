"""The catalogue: short names for checkpoints, curated, brought by plugins as TOML files, one an architecture.

architecture = "bert"
plugin = "zoo-encoder-only"

[[checkpoint]]
name = "bert-base-cased"
repository = "google-bert/bert-base-cased"
task = "fill-mask"
license = "apache-2.0"
parameters = 108_340_804

[checkpoint.sha256]                 # only where known to be true
"model.safetensors" = "53aa…"
"""

import logging
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zoo import host
from zoo.errors import CorruptFile, InvalidReference
from zoo.references import Reference

_log = logging.getLogger(__name__)
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CatalogueEntry(BaseModel):
    """A checkpoint that people know: its short name, and what is known about it. parameters: how many."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    repository: str
    task: str
    license: str
    parameters: int = Field(gt=0)
    description: str = ""
    sha256: Mapping[str, Sha256] = {}
    architecture: str
    plugin: str


def list_checkpoints(pattern: str = "*", task: str | None = None) -> list[CatalogueEntry]:
    """Give the catalogue's entries by name. pattern: for name or repository, with `*` and `?`; task: of that task only.

    A catalogue file that is not in the form above is left out, with a warning in the log.
    """
    entries: dict[str, CatalogueEntry] = {}
    for folder in host.each("zoo.catalogues", "zoo_catalogues"):
        for path in sorted(Path(folder).glob("*.toml")):
            try:
                for entry in _read(path):
                    entries.setdefault(entry.name, entry)
            except CorruptFile as error:  # one plugin's slip must not keep others' checkpoints away
                _log.warning("%s", error)
    wanted = [e for e in entries.values() if fnmatchcase(e.name, pattern) or fnmatchcase(e.repository, pattern)]
    return sorted((e for e in wanted if task in (None, e.task)), key=lambda entry: entry.name)


def look_up(reference: Reference) -> CatalogueEntry | None:
    """Give the entry that a reference means, by name or repository. Raises InvalidReference for an unknown name."""
    entries = list_checkpoints()
    for entry in entries:
        if reference.name == entry.name or (reference.repo_id is not None and reference.repo_id == entry.repository):
            return entry
    if reference.name is not None:
        near = [entry.name for entry in entries if reference.name in entry.name or entry.name in reference.name]
        hint = f"; near it: {', '.join(near[:5])}" if near else ""
        raise InvalidReference(reference.name, f"the catalogue has no entry of that name{hint}")
    return None


def provider(architecture: str) -> str | None:
    """Give the plugin distribution that the catalogue knows for an architecture."""
    return next((entry.plugin for entry in list_checkpoints() if entry.architecture == architecture), None)


def _read(path: Path) -> list[CatalogueEntry]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        shared = {"architecture": content["architecture"], "plugin": content["plugin"]}
        return [CatalogueEntry.model_validate(entry | shared) for entry in content.get("checkpoint", [])]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, ValidationError) as error:
        raise CorruptFile(path, f"it is not a catalogue file ({error})") from None
