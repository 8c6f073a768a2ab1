"""From files to a hub: checked, completed with card and canary, compared with what is there, committed in one step."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from zoo import host
from zoo.adapters.checking import check_adapter, count_added, describe_adapter
from zoo.checkpoint.adapter_files import ADAPTER_CONFIG, ADAPTER_FILES, is_adapter
from zoo.checkpoint.canary import CANARY_FILE, Canary, read_canary
from zoo.checkpoint.manifest import Checkpoint, FileEntry
from zoo.checkpoint.reader import CONFIG_FILE, PICKLE_SUFFIXES, open_weights, read_config
from zoo.errors import CorruptFile, InvalidReference, NotACheckpoint, PushRefused, RepositoryNotFound
from zoo.hub.card import CARD_FILE, CardFacts, check_card, read_kept, write_card
from zoo.hub.client import HubClient, Landed, Listing, Silent, Watcher
from zoo.hub.names import check_file_name
from zoo.hub.signatures import SIGNATURE_FILE, outdated
from zoo.loading import load, outline
from zoo.model import Model
from zoo.references import parse
from zoo.saving import POOLING_FILES, save
from zoo.tasks import get_task
from zoo.tasks.feature_extraction import read_pooling
from zoo.tokenization import TOKENIZER_FILES, load_tokenizer
from zoo.verification import check_canary, compute_canary

# What a checkpoint may consist of. Anything else in a folder, code and pickles above all, stays where it is.
PUSHED_SUFFIXES = (
    ".safetensors",
    ".json",
    ".txt",
    ".md",
    ".model",
    ".spm",
    ".jinja",
    ".csv",
    ".html",
    ".gitattributes",
)
# What a checkpoint gives depends on these. Where a hub holds one that the new checkpoint lacks, it has to go: two
# checkpoints' files side by side are none.
DECIDING_FILES = (
    CONFIG_FILE,
    CANARY_FILE,
    *ADAPTER_FILES,
    "generation_config.json",
    "model*.safetensors",
    "model*.safetensors.index.json",
    *TOKENIZER_FILES,
    *POOLING_FILES,
)


@dataclass(frozen=True)
class Plan:
    """What a push does. parent: the commit it is put on; None: the repository is made. uploaded, unchanged: bytes by name.

    removed: files of an earlier checkpoint that this one lacks. left_out: what stays at home.
    """

    repo_id: str
    parent: str | None
    uploaded: Mapping[str, int]
    unchanged: Mapping[str, int]
    removed: tuple[str, ...]
    left_out: tuple[str, ...]


def push(
    model_or_folder: Model | str | Path,
    repo_id: str,
    *,
    private: bool = False,
    create_pr: bool = False,
    endpoint: str | None = None,
    token: str | None = None,
    message: str | None = None,
    watcher: Watcher | None = None,
) -> str:
    """Check a model, or the folder of a checkpoint or an adapter, upload what the hub lacks, and commit it in one step.

    Gives the commit. Of a model with an adapter that is pushed alone; its base would be on the hub, or in the store.

    repo_id: `org/name`; made if it does not exist. private: seen by its owners only. create_pr: open a pull request
    instead, and give its address. endpoint, token: None for HF_ENDPOINT and HF_TOKEN. message: of the commit.
    watcher: told of progress.
    A card, and of a checkpoint a canary, are written where there are none. Code and pickles are left out: see `pushable`.
    Raises PushRefused, PushConflict, PushInterrupted, CanaryMismatch, AdapterMismatch, WeightsMismatch and the other
    errors of zoo.load, AccessDenied and its kin.
    """
    client = HubClient(endpoint, token)
    _, landed = publish(model_or_folder, repo_id, client, private, create_pr, message, watcher or Silent())
    return landed.pull_request or landed.commit


def publish(
    model_or_folder: Model | str | Path,
    repo_id: str,
    client: HubClient,
    private: bool,
    create_pr: bool,
    message: str | None,
    watcher: Watcher,
) -> tuple[Plan, Landed]:
    """Push, and say what was done. See push."""
    with tempfile.TemporaryDirectory(prefix="zoo-push-") as temporary:
        plan, files = _prepare(model_or_folder, repo_id, client, private, Path(temporary))
        parent = plan.parent
        if parent is None:
            client.create(repo_id, private)
            parent = client.head(repo_id)
        if not plan.uploaded and not plan.removed:
            return plan, Landed(parent)
        new = {name: files[name] for name in plan.uploaded}
        return plan, client.commit(
            repo_id, new, parent, message or "Push with Zoo", watcher, removed=plan.removed, create_pr=create_pr
        )


def plan_push(model_or_folder: Model | str | Path, repo_id: str, client: HubClient, private: bool = False) -> Plan:
    """Do all that a push does before it changes anything, and say what it would change. Raises the errors of push."""
    with tempfile.TemporaryDirectory(prefix="zoo-push-") as temporary:
        return _prepare(model_or_folder, repo_id, client, private, Path(temporary))[0]


def _prepare(
    model_or_folder: Model | str | Path, repo_id: str, client: HubClient, private: bool, temporary: Path
) -> tuple[Plan, Mapping[str, Path]]:
    """Check the files, complete them, and compare them with those on the hub. temporary: for what is written."""
    reference = parse(repo_id)
    if reference.repo_id is None or reference.revision is not None:
        raise InvalidReference(repo_id, "a push goes to the main branch of a repository, 'org/name'")
    folder = Path(temporary) / "checkpoint"
    if isinstance(model_or_folder, Model):
        save(model_or_folder, folder)
    else:
        folder = Path(model_or_folder).expanduser()
    adapts = is_adapter(folder)
    model = check_adapter(folder, repo_id, client) if adapts else check_folder(folder)
    taken, left_out = pushable(folder)
    files = {name: folder / name for name in taken}
    listing = _listing(client, repo_id)
    if listing is not None and private and not client.is_private(repo_id):
        raise PushRefused(
            repo_id, "it is to be private, but exists already, and is public; change that on the hub first"
        )
    _add_card(files, model_or_folder if isinstance(model_or_folder, Model) else model, repo_id, listing, temporary)
    digests = {name: sha256_of(path) for name, path in files.items()}
    kept = frozenset() if adapts else _add_canary(files, folder, digests, listing, client, temporary)
    kept |= {CARD_FILE} - files.keys()  # the one that the hub has
    stale = outdated(files[SIGNATURE_FILE], digests) if SIGNATURE_FILE in files else None
    if stale is not None:
        raise PushRefused(
            repo_id, f"{SIGNATURE_FILE} was made for another {stale}; sign the folder again with zoo sign"
        )
    for reason in host.notify("zoo_before_push", checkpoint=folder):
        if reason:
            raise PushRefused(repo_id, str(reason))
    return _compare(files, digests, listing, repo_id, left_out, kept), files


def _listing(client: HubClient, repo_id: str) -> Listing | None:
    try:
        return client.listing(repo_id)
    except RepositoryNotFound:
        return None


def _add_card(files: dict[str, Path], model: Model, repo_id: str, listing: Listing | None, temporary: Path) -> None:
    """Check the folder's card, or write one where neither folder nor hub has one, or a training has news for it."""
    if CARD_FILE in files:
        problem = check_card(files[CARD_FILE])
        if problem is not None:
            raise PushRefused(repo_id, f"the metadata of {CARD_FILE} is not valid: {problem}")
    elif listing is None or CARD_FILE not in listing.files or model.record is not None:
        files[CARD_FILE] = temporary / CARD_FILE
        files[CARD_FILE].write_text(write_card(card_facts(model, repo_id)), encoding="utf-8")


def _add_canary(
    files: dict[str, Path],
    folder: Path,
    digests: dict[str, str],
    listing: Listing | None,
    client: HubClient,
    temporary: Path,
) -> frozenset[str]:
    """Compute the canary with the real weights. One of these very files stays as it is, if it comes out.

    Gives the names of files to leave as the hub has them. Raises CanaryMismatch.
    """
    deciding = canary_files(digests)
    model = load(folder)
    own = read_canary(folder)
    if own is not None and own.files == deciding:
        check_canary(model, own, str(folder))
        return frozenset()
    if own is None and listing is not None:
        theirs = _remote_canary(listing, client, temporary)
        if theirs is not None and theirs.files == deciding:
            check_canary(model, theirs, listing.repo_id)
            return frozenset({CANARY_FILE})
    files[CANARY_FILE] = temporary / CANARY_FILE
    files[CANARY_FILE].write_text(compute_canary(model, deciding).text(), encoding="utf-8")
    digests[CANARY_FILE] = sha256_of(files[CANARY_FILE])
    return frozenset()


def _remote_canary(listing: Listing, client: HubClient, temporary: Path) -> Canary | None:
    """Give the hub's canary, or None where it has none that can be read."""
    if CANARY_FILE not in listing.files:
        return None
    folder = temporary / "remote"
    client.fetch(listing, {CANARY_FILE: folder / CANARY_FILE}, Silent())
    try:
        return read_canary(folder)
    except CorruptFile:
        return None


def canary_files(digests: Mapping[str, str]) -> dict[str, str]:
    """Give those of a checkpoint's digests that decide what its canary is."""
    patterns = (CONFIG_FILE, "model*.safetensors", *TOKENIZER_FILES)
    return {name: digests[name] for name in sorted(digests) if _fits(name, patterns)}


def _compare(
    files: Mapping[str, Path],
    digests: Mapping[str, str],
    listing: Listing | None,
    repo_id: str,
    left_out: Sequence[str],
    kept: frozenset[str],
) -> Plan:
    remote = listing.files if listing is not None else {}
    sizes = {name: path.stat().st_size for name, path in files.items()}
    same = {
        name for name in files if name in remote and _is_same(files[name], digests[name], sizes[name], remote[name])
    }
    uploaded = {name: size for name, size in sizes.items() if name not in same}
    stale = [name for name in remote if name not in files and name not in kept and _fits(name, DECIDING_FILES)]
    if SIGNATURE_FILE in remote and SIGNATURE_FILE not in files and (uploaded or stale):
        stale.append(SIGNATURE_FILE)  # it is of other files
    unchanged = {name: size for name, size in sizes.items() if name in same}
    unchanged |= {name: remote[name].size_bytes for name in kept}
    return Plan(
        repo_id,
        listing.commit if listing is not None else None,
        dict(sorted(uploaded.items())),
        dict(sorted(unchanged.items())),
        tuple(sorted(stale)),
        tuple(left_out),
    )


def _is_same(path: Path, sha256: str, size_bytes: int, remote: FileEntry) -> bool:
    if size_bytes != remote.size_bytes:
        return False
    if remote.sha256 is not None:
        return remote.sha256 == sha256
    hasher = remote.hasher()
    hasher.update(path.read_bytes())
    return hasher.hexdigest() == remote.git_blob


def sha256_of(path: Path) -> str:
    """Give the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_folder(folder: Path) -> Model:
    """Check that a folder's files make a checkpoint, reading headers only. Gives its model, on the meta device.

    Raises the errors of zoo.load.
    """
    config = read_config(folder)
    model = outline(config, open_weights(folder), Checkpoint(folder))
    load_tokenizer(folder)
    read_pooling(folder)
    return model


def pushable(folder: Path) -> tuple[list[str], list[str]]:
    """Give the names of a folder's files that a push takes, and of those that it leaves out."""
    taken: list[str] = []
    left_out: list[str] = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or any(
            part.startswith(".") and part != ".gitattributes" for part in _parts(path, folder)
        ):
            continue
        name = "/".join(_parts(path, folder))
        check_file_name(name, str(folder))
        inside = path.resolve().is_relative_to(folder.resolve()) or not path.is_symlink() or _is_stored(path)
        wanted = path.name.startswith("LICENSE") or path.name.endswith(PUSHED_SUFFIXES) or name == SIGNATURE_FILE
        (taken if wanted and inside and not name.endswith(PICKLE_SUFFIXES) else left_out).append(name)
    if CONFIG_FILE not in taken and ADAPTER_CONFIG not in taken:
        raise NotACheckpoint(folder, "config.json is not there")
    return taken, left_out


def card_facts(model: Model, repo_id: str) -> CardFacts:
    """Gather what is known of a model for its card."""
    record, checkpoint = model.record, model.checkpoint
    adapter = describe_adapter(model)
    return CardFacts(
        repo_id=repo_id,
        architecture=model.architecture.name,
        task=model.task,
        parameters=sum(parameter.numel() for parameter in model.parameters()) - count_added(model),
        labels=model.labels if get_task(model.task).fixed_labels is None else (),
        kept=read_kept(model.settings_folder) if model.settings_folder else {},
        base=record.base if record else checkpoint.repo_id if checkpoint and adapter else None,
        base_commit=record.base_commit if record else checkpoint.commit if checkpoint and adapter else None,
        adapter=adapter,
        taught=record.taught if record else None,
        examples=record.examples if record else None,
        evaluated=record.evaluated if record else 0,
        metrics=record.metrics if record else {},
        settings=record.settings if record else {},
        emissions=record.emissions if record else None,
        footprint=record.footprint if record else None,
    )


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _parts(path: Path, folder: Path) -> Sequence[str]:
    return path.relative_to(folder).parts


def _is_stored(path: Path) -> bool:
    """Tell whether a link is one of the store's: from a snapshot to a blob beside it."""
    from zoo.hub.store import store_path

    return path.resolve().is_relative_to(store_path().resolve())
