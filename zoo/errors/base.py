"""What every error is, and how it shows values."""

from collections.abc import Iterable


class ZooError(Exception):
    """Something the user can act on. The message says what happened and how to go on."""


def listing(names: Iterable[str], limit: int = 12) -> str:
    """Join names for a sentence, cutting a long list and saying how many were cut."""
    everything = [str(name) for name in names]
    shown = ", ".join(everything[:limit])
    return shown if len(everything) <= limit else f"{shown} and {len(everything) - limit} more"


def shown_size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def short(value: object, limit: int = 300) -> str:
    text = str(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


class ZooWarning(UserWarning):
    """Something the user should know, and need not act on now."""
