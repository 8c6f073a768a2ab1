"""Plugins, and what they provide."""

from collections.abc import Sequence
from pathlib import Path

from zoo.errors.base import ZooError, listing


class UnknownArchitecture(ZooError):
    """No installed plugin provides the architecture."""

    def __init__(self, name: str, installed: Sequence[str], distribution: str | None = None) -> None:
        self.name, self.installed, self.distribution = name, tuple(installed), distribution
        have = listing(sorted(installed)) or "none"
        cure = (
            f"Try: pip install {distribution}"
            if distribution
            else "No known plugin provides it; zoo arch list shows what is installed"
        )
        super().__init__(f"No installed plugin provides the architecture '{name}'; installed: {have}. {cure}")


class PluginBroken(ZooError):
    """A plugin that could not be loaded, and was set aside."""

    def __init__(self, name: str, distribution: str, reason: str) -> None:
        self.name, self.distribution, self.reason = name, distribution, reason
        super().__init__(
            f"The plugin '{name}' of {distribution} could not be loaded: {reason}. "
            "Everything else works on. See its traceback with: zoo plugins doctor"
        )


class PluginConflict(ZooError):
    """Two distributions claim one name."""

    def __init__(self, group: str, name: str, distributions: Sequence[str], configuration: Path) -> None:
        self.group, self.name, self.distributions = group, name, tuple(distributions)
        super().__init__(
            f"'{name}' ({group}) is claimed by {len(distributions)} distributions: {listing(distributions)}. "
            f'Choose one in {configuration}, under [prefer]: {name} = "{distributions[0]}"; or uninstall the other'
        )


class InvalidLayout(ZooError):
    """A layout that cannot be followed in both directions: an error of the architecture's author."""


class InvalidPlugin(ZooError):
    """A plugin that hands over something other than its hook asks for."""
