"""What a checkpoint holds: its configuration, tensors, and files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo.errors.base import ZooError, listing, short


class UnknownConfigKey(ZooError):
    """Keys in config.json that the architecture neither reads, pins nor ignores."""

    def __init__(self, keys: Sequence[str], architecture: str) -> None:
        self.keys, self.architecture = tuple(keys), architecture
        accept = ", ".join(f'"{key}"' for key in keys)
        flags = " ".join(f"--ignore-config-key {key}" for key in keys)
        plural = "s" if len(keys) > 1 else ""
        super().__init__(
            f"config.json has the key{plural} {listing(keys)}, which the architecture '{architecture}' does not know; "
            "a setting that nobody reads could change the numbers. If it is known to be harmless, accept it with "
            f"ignore_config_keys=[{accept}] (on the command line: {flags})"
        )


class InvalidConfig(ZooError):
    """Values in config.json that are missing, of the wrong type, out of range, or not implemented."""

    def __init__(self, problems: Mapping[str, str], architecture: str) -> None:
        self.problems, self.architecture = dict(problems), architecture
        lines = "".join(f"\n  {key}: {problem}" for key, problem in problems.items())
        super().__init__(
            f"The settings do not describe a '{architecture}' that this version of Zoo implements:{lines}\n"
            f"See what it accepts with: zoo arch show {architecture}"
        )


class InvalidGenerationConfig(ZooError):
    """Keys in generation_config.json that Zoo does not know, or that ask for a way of decoding that it does not have."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        lines = "".join(f"\n  {key}: {problem}" for key, problem in problems.items())
        accept = ", ".join(f'"{key}"' for key in problems)
        flags = " ".join(f"--ignore-config-key {key}" for key in problems)
        super().__init__(
            f"generation_config.json asks for what this version of Zoo does not do:{lines}\n"
            f"To write without it, load the checkpoint with ignore_config_keys=[{accept}] (on the command line: {flags})"
        )


class WeightsMismatch(ZooError):
    """The tensors of a checkpoint do not fit the architecture: nothing was loaded."""

    def __init__(
        self,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        misshapen: Sequence[str] = (),
        architecture: str = "",
    ) -> None:
        self.missing, self.unexpected, self.misshapen = tuple(missing), tuple(unexpected), tuple(misshapen)
        self.architecture = architecture
        parts = [f"The checkpoint's tensors do not fit the architecture '{architecture}'; nothing was loaded."]
        for title, entries in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen)):
            if entries:
                parts.append(f"{title} ({len(entries)}):\n{_by_module(entries)}")
        parts.append("Check that config.json belongs to these weights, or fetch them again with: zoo rm, then zoo pull")
        super().__init__("\n".join(parts))


def _by_module(entries: Sequence[str]) -> str:
    """Group tensor names by the module they belong to, one line a module."""
    modules: dict[str, list[str]] = {}
    for entry in entries:
        name, _, rest = entry.partition(" ")
        module, _, tensor = name.rpartition(".")
        modules.setdefault(module or "(top)", []).append(f"{tensor} {rest}".rstrip())
    lines = [f"  {module}: {', '.join(tensors)}" for module, tensors in modules.items()]
    return "\n".join(lines[:20] + ([f"  … and {len(lines) - 20} more modules"] if len(lines) > 20 else []))


class HeadMissing(ZooError):
    """The checkpoint has no head for the task."""

    def __init__(self, task: str, available: Sequence[str], labels: Sequence[str] | None) -> None:
        self.task, self.available = task, tuple(available)
        asked = f'labels=["{labels[0]}", "{labels[1]}"]' if labels else "labels=[]"
        super().__init__(
            f"The checkpoint has no head for '{task}'; it has: {listing(available) or 'none'}. "
            f"To start a new head from random weights, ask for it with {asked}, then fine-tune it"
        )


class CorruptFile(ZooError):
    """A file whose content is not what it claims to be."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"The file '{path}' is corrupt: {reason}. It was not loaded; fetch it again, or tell its author"
        )


class RefusedContent(ZooError):
    """Content that Zoo does not take in: pickles, code, names that leave the folder."""

    def __init__(self, where: str, reason: str, cure: str) -> None:
        self.where, self.reason, self.cure = where, reason, cure
        super().__init__(f"{where} was refused: {reason}. {cure}")


class DigestMismatch(ZooError):
    """A file's bytes are not the ones that were promised."""

    REFUSED = (
        "The file was not kept. Try again; if it stays so, the hub or the network changes files, and its operator "
        "should know"
    )

    def __init__(self, file: str, expected: str, actual: str, promised_by: str, cure: str = REFUSED) -> None:
        self.file, self.expected, self.actual, self.promised_by = file, expected, actual, promised_by
        super().__init__(f"'{file}' has the digest {actual}, but {promised_by} promises {expected}. {cure}")


class TokenizerMissing(ZooError):
    """The checkpoint has no tokenizer that Zoo can read."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(
            f"The checkpoint '{where}' has neither tokenizer.json nor a vocabulary, so texts cannot be turned into ids. "
            "Call the model with input_ids, or add a tokenizer.json to the checkpoint"
        )


class CanaryMismatch(ZooError):
    """A checkpoint gives other token ids or numbers here than when it was published."""

    def __init__(
        self,
        where: str,
        text: str | None,
        what: str,
        found: object,
        expected: object,
        written_by: Mapping[str, str],
        here: Mapping[str, str],
    ) -> None:
        self.where, self.text, self.what, self.found, self.expected = where, text, what, found, expected
        self.written_by, self.here = dict(written_by), dict(here)
        changed = [
            f"{name} {written_by.get(name, 'absent')} then, {here.get(name, 'absent')} here"
            for name in sorted({*written_by, *here})
            if written_by.get(name) != here.get(name)
        ]
        of = "" if text is None else f" for the text {text!r}"
        super().__init__(
            f"'{where}' does not give here what its canary (zoo.json) says{of}: {what}: found {short(found)}, expected "
            f"{short(expected)}. {'; '.join(changed) or 'The versions are the same'}. Its files or what reads them have "
            "changed: check the files with zoo verify, or install the versions that wrote it"
        )


class CanaryMissing(ZooError):
    """Asked to verify a checkpoint that has no canary."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(
            f"'{where}' has no canary (zoo.json), so there is nothing to compare its answers with. Load it without "
            "verify=True; a push with Zoo writes one"
        )
