"""The curated catalogue: one TOML file an architecture, in the form that zoo.hub.catalogue reads."""

from collections.abc import Sequence
from pathlib import Path

from zoo import hookimpl


@hookimpl
def zoo_catalogues() -> Sequence[Path]:
    """This folder."""
    return [Path(__file__).parent]
