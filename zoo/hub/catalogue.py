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
    wanted = [e for e in _entries() if fnmatchcase(e.name, pattern) or fnmatchcase(e.repository, pattern)]
    return sorted((e for e in wanted if task in (None, e.task)), key=lambda entry: entry.name)


def _entries(about: str = "") -> list[CatalogueEntry]:
    """Give the first entry of each name, from those files alone in which a text stands."""
    entries: dict[str, CatalogueEntry] = {}
    for folder in host.each("zoo.catalogues", "zoo_catalogues"):
        for path in sorted(Path(folder).glob("*.toml")):
            try:
                content = path.read_text(encoding="utf-8")
                for entry in _read(path, content) if about in content else []:
                    entries.setdefault(entry.name, entry)
            except (CorruptFile, UnicodeDecodeError) as error:  # one plugin's slip must not keep others' away
                _log.warning("%s", error)
    return list(entries.values())


def look_up(reference: Reference) -> CatalogueEntry | None:
    """Give the entry that a reference means, by name or repository. Raises InvalidReference for an unknown name."""
    for entry in _entries(about=reference.name or reference.repo_id or ""):
        if reference.name == entry.name or (reference.repo_id is not None and reference.repo_id == entry.repository):
            return entry
    if reference.name is not None:
        names = [entry.name for entry in list_checkpoints()]
        near = [name for name in names if reference.name in name or name in reference.name]
        hint = f"; near it: {', '.join(near[:5])}" if near else ""
        raise InvalidReference(reference.name, f"the catalogue has no entry of that name{hint}")
    return None


def provider(architecture: str) -> str | None:
    """Give the plugin distribution that the catalogue knows for an architecture."""
    return next((entry.plugin for entry in list_checkpoints() if entry.architecture == architecture), None)


def _read(path: Path, text: str) -> list[CatalogueEntry]:
    try:
        content = tomllib.loads(text)
        shared = {"architecture": content["architecture"], "plugin": content["plugin"]}
        return [CatalogueEntry.model_validate(entry | shared) for entry in content.get("checkpoint", [])]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValidationError) as error:
        raise CorruptFile(path, f"it is not a catalogue file ({error})") from None
