"""Every failure a user can act on. Each error takes the facts, keeps them as attributes, and builds its own sentence:
what happened, with values; what would be right; what to type next. Anything else that is raised is a fault of ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


class ZooError(Exception):
    """Something the user can act on. The message says what happened and how to go on."""


def _listing(names: Iterable[str], limit: int = 12) -> str:
    """Join names for a sentence, cutting a long list and saying how many were cut."""
    everything = [str(name) for name in names]
    shown = ", ".join(everything[:limit])
    return shown if len(everything) <= limit else f"{shown} and {len(everything) - limit} more"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def _short(value: object, limit: int = 300) -> str:
    text = str(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


# --- what the user typed ----------------------------------------------------------------------------------------------


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


# --- plugins ----------------------------------------------------------------------------------------------------------


class UnknownArchitecture(ZooError):
    """No installed plugin provides the architecture."""

    def __init__(self, name: str, installed: Sequence[str], distribution: str | None = None) -> None:
        self.name, self.installed, self.distribution = name, tuple(installed), distribution
        have = _listing(sorted(installed)) or "none"
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
            f"'{name}' ({group}) is claimed by {len(distributions)} distributions: {_listing(distributions)}. "
            f'Choose one in {configuration}, under [prefer]: {name} = "{distributions[0]}"; or uninstall the other'
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
        super().__init__(f"{where} '{task}'; it would be one of: {_listing(available)}")


class InvalidLayout(ZooError):
    """A layout that cannot be followed in both directions: an error of the architecture's author."""


class InvalidPlugin(ZooError):
    """A plugin that hands over something other than its hook asks for."""


# --- configuration of a model -----------------------------------------------------------------------------------------


class UnknownConfigKey(ZooError):
    """Keys in config.json that the architecture neither reads, pins nor ignores."""

    def __init__(self, keys: Sequence[str], architecture: str) -> None:
        self.keys, self.architecture = tuple(keys), architecture
        accept = ", ".join(f'"{key}"' for key in keys)
        flags = " ".join(f"--ignore-config-key {key}" for key in keys)
        plural = "s" if len(keys) > 1 else ""
        super().__init__(
            f"config.json has the key{plural} {_listing(keys)}, which the architecture '{architecture}' does not know; "
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


# --- weights ----------------------------------------------------------------------------------------------------------


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
            f"The checkpoint has no head for '{task}'; it has: {_listing(available) or 'none'}. "
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
            f"'{where}' does not give here what its canary (zoo.json) says{of}: {what}: found {_short(found)}, expected "
            f"{_short(expected)}. {'; '.join(changed) or 'The versions are the same'}. Its files or what reads them have "
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


class TokenizerMissing(ZooError):
    """The checkpoint has no tokenizer that Zoo can read."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(
            f"The checkpoint '{where}' has neither tokenizer.json nor a vocabulary, so texts cannot be turned into ids. "
            "Call the model with input_ids, or add a tokenizer.json to the checkpoint"
        )


class TrainingDiverged(ZooError):
    """The loss, or the gradient, is no longer a number."""

    def __init__(
        self, step: int, value: float, learning_rate: float, what: str = "loss", kept_step: int | None = None
    ) -> None:
        self.step, self.value, self.learning_rate, self.what = step, value, learning_rate, what
        self.kept_step = kept_step
        kept = (
            ""
            if kept_step is None
            else f". The state after step {kept_step} is kept: with --resume (resume=True) and such a setting the run goes on "
            "from there"
        )
        super().__init__(
            f"The {what} became {value} at step {step}. Training stopped. "
            f"Try a smaller learning_rate than {learning_rate:g}, or more warmup_steps{kept}"
        )


class AdapterMismatch(ZooError):
    """An adapter was learnt beside other weights than those it is to be put on."""

    def __init__(self, path: Path, base: str | None, given: str) -> None:
        self.path, self.base, self.given = path, base, given
        super().__init__(
            f"The adapter in '{path}' was learnt beside other weights than those of '{given}': their digests differ. "
            f"Load the base that it names: {base or 'none'}"
        )


class CheckpointNotSaved(ZooError):
    """The state of a training run could not be written."""

    def __init__(self, path: Path, step: int, reason: str, kept_step: int | None) -> None:
        self.path, self.step, self.reason, self.kept_step = path, step, reason, kept_step
        kept = "There is none before it" if kept_step is None else f"That of step {kept_step} is kept"
        super().__init__(
            f"The checkpoint '{path}' could not be written after step {step}: {reason}. Training stopped. {kept}. "
            "Free some disk, then go on with --resume (resume=True)"
        )


class UnfinishedRun(ZooError):
    """A folder for a result holds a run that was not finished, and nobody said what shall become of it."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step
        super().__init__(
            f"'{path}' holds a run that stopped after step {step}. Go on with it by --resume (resume=True); "
            f"to begin anew, choose another folder or remove {path / 'checkpoints'}"
        )


class ResumeRefused(ZooError):
    """A checkpoint is of a run over other data, from other weights, or in another order."""

    def __init__(self, path: Path, step: int, differing: Mapping[str, tuple[object, object]]) -> None:
        self.path, self.step, self.differing = path, step, dict(differing)
        lines = "".join(
            f"\n  {key}: was {_short(was, 60)}, is {_short(now, 60)}" for key, (was, now) in differing.items()
        )
        super().__init__(
            f"The run saved in '{path}' cannot be gone on with: it differs in what decides its order and its weights.{lines}\n"
            "Give it what it had, or begin anew in another folder"
        )


# --- the hub and the store --------------------------------------------------------------------------------------------


class RepositoryNotFound(ZooError):
    """No repository of that name can be seen with these rights."""

    def __init__(self, repo_id: str, endpoint: str, with_token: bool) -> None:
        self.repo_id, self.endpoint, self.with_token = repo_id, endpoint, with_token
        token = "with the token in use" if with_token else "without a token"
        super().__init__(
            f"There is no repository '{repo_id}' to be seen at {endpoint} {token}. It may be mistyped, private or gone. "
            f"Try: zoo search {repo_id.split('/')[-1]}" + ("" if with_token else ", or give a token with HF_TOKEN")
        )


class RevisionNotFound(ZooError):
    """The repository has no such branch, tag or commit."""

    def __init__(self, repo_id: str, revision: str, endpoint: str) -> None:
        self.repo_id, self.revision, self.endpoint = repo_id, revision, endpoint
        super().__init__(
            f"The repository '{repo_id}' at {endpoint} has no revision '{revision}'. "
            f"Leave it out for the main branch: zoo pull {repo_id}"
        )


class GatedRepository(ZooError):
    """The repository's authors grant access on request."""

    def __init__(self, repo_id: str, endpoint: str) -> None:
        self.repo_id, self.endpoint = repo_id, endpoint
        super().__init__(
            f"The repository '{repo_id}' is gated: ask for access at {endpoint}/{repo_id}, then give your token with HF_TOKEN"
        )


class AccessDenied(ZooError):
    """The hub refused the token, or the token may not do this."""

    def __init__(self, endpoint: str, action: str, with_token: bool) -> None:
        self.endpoint, self.action, self.with_token = endpoint, action, with_token
        cause = "refused the token" if with_token else "wants a token"
        super().__init__(f"{endpoint} {cause} for: {action}. Give one that may do it with --token or HF_TOKEN")


class RateLimited(ZooError):
    """The hub asks to wait."""

    def __init__(self, endpoint: str, retry_after_seconds: float | None) -> None:
        self.endpoint, self.retry_after_seconds = endpoint, retry_after_seconds
        wait = f"for {retry_after_seconds:.0f} seconds " if retry_after_seconds is not None else ""
        super().__init__(f"{endpoint} limits requests. Wait {wait}and try again; what was fetched so far is kept")


class HubUnreachable(ZooError):
    """No answer, or no usable one, from the hub."""

    def __init__(self, endpoint: str, reason: str) -> None:
        self.endpoint, self.reason = endpoint, reason
        super().__init__(
            f"{endpoint} could not be reached or did not answer as a hub does: {reason}. Check the network and the "
            "address (HF_ENDPOINT, --endpoint), then try again; what was fetched so far is kept"
        )


class NotInStore(ZooError):
    """Asked to stay local, and the checkpoint is not here."""

    def __init__(self, reference: str, store: Path) -> None:
        self.reference, self.store = reference, store
        super().__init__(
            f"'{reference}' is not in the store at {store}, and asking a hub was ruled out (local_only or HF_HUB_OFFLINE=1). "
            f"With a network: zoo pull {reference}"
        )


class NotEnoughDisk(ZooError):
    """The store's disk has no room for what is to be fetched."""

    def __init__(self, path: Path, needed_bytes: int, free_bytes: int) -> None:
        self.path, self.needed_bytes, self.free_bytes = path, needed_bytes, free_bytes
        super().__init__(
            f"The disk of {path} has {_size(free_bytes)} free, and {_size(needed_bytes)} are needed. "
            "Free some with zoo rm, or put the store elsewhere with HF_HOME"
        )


class DigestMismatch(ZooError):
    """A file's bytes are not the ones that were promised."""

    REFUSED = (
        "The file was not kept. Try again; if it stays so, the hub or the network changes files, and its operator "
        "should know"
    )

    def __init__(self, file: str, expected: str, actual: str, promised_by: str, cure: str = REFUSED) -> None:
        self.file, self.expected, self.actual, self.promised_by = file, expected, actual, promised_by
        super().__init__(f"'{file}' has the digest {actual}, but {promised_by} promises {expected}. {cure}")


class LockConflict(ZooError):
    """A revision was asked for, and the project's lock holds another."""

    def __init__(self, reference: str, locked: str, commit: str, lock: Path) -> None:
        self.reference, self.locked, self.commit, self.lock = reference, locked, commit, lock
        super().__init__(
            f"'{reference}' was asked for, and {lock} holds '{locked}' at {commit[:12]}. Leave the revision out to get that; "
            f"to move on: zoo lock update {locked}; to hold this one too: zoo lock add {reference}"
        )


class LockNotMet(ZooError):
    """What a lock holds is not what there is."""

    def __init__(self, lock: Path, differences: Mapping[str, Sequence[str]], held: int) -> None:
        self.lock, self.differences, self.held = lock, {key: tuple(found) for key, found in differences.items()}, held
        lines = "".join(
            f"\n  {reference}:" + "".join(f"\n    {difference}" for difference in found)
            for reference, found in self.differences.items()
        )
        super().__init__(
            f"{len(differences)} of {held} references are not as {lock} holds them:{lines}\n"
            f"Where that change is meant, take it into the lock with: zoo lock update {' '.join(self.differences)}"
        )


class PushConflict(ZooError):
    """Somebody else committed in between."""

    def __init__(self, repo_id: str, parent: str) -> None:
        self.repo_id, self.parent = repo_id, parent
        super().__init__(
            f"'{repo_id}' has moved on since {parent[:12]}: somebody else pushed meanwhile, and nothing of theirs was "
            "overwritten. Look at their change, then push again"
        )


class PushInterrupted(ZooError):
    """The upload, or the commit at its end, broke off."""

    def __init__(self, repo_id: str, endpoint: str, reason: str, parent: str) -> None:
        self.repo_id, self.endpoint, self.reason, self.parent = repo_id, endpoint, reason, parent
        super().__init__(
            f"The push to '{repo_id}' at {endpoint} broke off: {reason}. Nothing is half done: the repository has the files "
            f"of {parent[:12]}, or where only the last answer was lost, all of the new ones. Push again; large files "
            "that arrived are not sent twice"
        )


class PushRefused(ZooError):
    """A check before a push, by Zoo or by a plugin, said no."""

    def __init__(self, repo_id: str, reason: str) -> None:
        self.repo_id, self.reason = repo_id, reason
        super().__init__(f"The push to '{repo_id}' was refused: {reason}. Nothing was uploaded")


class SignatureRefused(ZooError):
    """A checkpoint is not signed as the user's policy asks for."""

    def __init__(self, where: str, reason: str) -> None:
        self.where, self.reason = where, reason
        super().__init__(
            f"The signature of '{where}' does not hold: {reason}. Ask its author for a signed one, or change what is asked "
            "for under [signatures] in the configuration"
        )


class SignatureWarning(UserWarning):
    """As SignatureRefused, where the policy is to warn."""


class ExtraMissing(ZooError):
    """An optional part of Zoo is not installed."""

    def __init__(self, extra: str, what: str, reason: str) -> None:
        self.extra, self.what, self.reason = extra, what, reason
        super().__init__(f"For {what} Zoo needs more packages ({reason}). Try: pip install 'zoo[{extra}]'")
