"""What the user typed or handed over."""

from collections.abc import Sequence
from pathlib import Path

from zoo.errors.base import ZooError, listing


class InvalidReference(ZooError):
    """A text that cannot name a checkpoint."""

    def __init__(self, reference: str, reason: str) -> None:
        self.reference, self.reason = reference, reason
        super().__init__(
            f"'{reference}' does not name a checkpoint: {reason}. "
            "Write a catalogue name, 'org/name', 'org/name@revision' or './folder'. Try: zoo list --catalogue"
        )


class InvalidInput(ZooError):
    """Data or arguments that a task, or training, cannot work with."""


class NotACheckpoint(ZooError):
    """A folder or a repository that does not hold a checkpoint."""

    def __init__(self, where: Path | str, reason: str) -> None:
        self.where, self.reason = where, reason
        super().__init__(
            f"'{where}' does not hold a checkpoint: {reason}. It needs config.json and model.safetensors "
            "(or model.safetensors.index.json with its shards)"
        )


class InvalidConfiguration(ZooError):
    """The user's configuration file cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"The configuration {path} cannot be read: {reason}. Correct it or remove it")


class UnknownTask(ZooError):
    """A task that Zoo, or this architecture, does not have."""

    def __init__(self, task: str, available: Sequence[str], architecture: str | None = None) -> None:
        self.task, self.available, self.architecture = task, tuple(available), architecture
        where = f"The architecture '{architecture}' has no head for the task" if architecture else "There is no task"
        super().__init__(f"{where} '{task}'; it would be one of: {listing(available)}")


class ExtraMissing(ZooError):
    """An optional part of Zoo is not installed."""

    def __init__(self, extra: str, what: str, reason: str) -> None:
        self.extra, self.what, self.reason = extra, what, reason
        super().__init__(f"For {what} Zoo needs more packages ({reason}). Try: pip install 'zoo[{extra}]'")
