"""From a checkpoint whose weights are pickles to one with safetensors."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from zoo.checkpoint.conversion import PICKLE_INDEX, pickle_names, read_pickles
from zoo.checkpoint.reader import INDEX_FILE, WEIGHTS_FILE, read_config, read_json
from zoo.checkpoint.writer import parse_size, write_weights
from zoo.errors import InvalidInput, NotEnoughDisk, RefusedContent
from zoo.hub import catalogue
from zoo.hub.choosing import small_files
from zoo.hub.client import HubClient, Listing, Silent, Watcher
from zoo.loading import load
from zoo.publishing import check_folder, pushable
from zoo.references import parse


def convert(
    ref: str | Path,
    target: str | Path,
    *,
    allow_pickle_conversion: bool = False,
    revision: str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    max_shard_size: str = "5GB",
    watcher: Watcher | None = None,
) -> Path:
    """Write a checkpoint whose weights are pickles to a folder, with safetensors, and give the folder.

    ref, revision, endpoint, token: see zoo.pull. target: a folder that is empty or not there; it appears when all is
    done. allow_pickle_conversion: that the pickles may be read, in a process that has neither network nor rights.
    A tensor that the architecture ties to another is written once, as it is one parameter; whatever else shares memory
    in the pickle is written under each of its names. The result is loaded strictly before it appears.
    Raises RefusedContent, NotACheckpoint, CorruptFile, InvalidInput, NotEnoughDisk, the errors of zoo.load and of the hub.
    """
    target = Path(target).expanduser()
    parse_size(max_shard_size)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInput(
            f"'{target}' is there already; the converted checkpoint goes to a folder that is new or empty"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    reference = parse(ref, revision)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        work = Path(temporary)
        source = reference.folder
        if source is not None:
            _check(
                str(ref), [path.name for path in source.iterdir()] if source.is_dir() else [], allow_pickle_conversion
            )
        else:
            entry = catalogue.look_up(reference)
            client = HubClient(endpoint, token)
            listing = client.listing(reference.repo_id or (entry.repository if entry else ""), reference.revision)
            _check(str(ref), list(listing.files), allow_pickle_conversion)
            source = work / "source"
            _fetch(client, listing, source, watcher or Silent())
        staged = work / "converted"
        _write(source, staged, work, max_shard_size)
        if target.exists():
            target.rmdir()
        staged.replace(target)
    return target


def _check(ref: str, names: list[str], allowed: bool) -> None:
    if WEIGHTS_FILE in names or INDEX_FILE in names:
        raise InvalidInput(f"'{ref}' has safetensors already; there is nothing to convert. Try: zoo pull {ref}")
    if not allowed:
        raise RefusedContent(
            f"'{ref}'",
            "its weights are pickles, and a pickle can run any code when it is read",
            "Zoo can read them in a process without network and rights, which takes tensors alone, and write safetensors. "
            f"To let it: zoo convert {ref} --out FOLDER --allow-pickle-conversion",
        )


def _fetch(client: HubClient, listing: Listing, folder: Path, watcher: Watcher) -> None:
    """Fetch a checkpoint with its pickles, verified, into a folder that is not the store. Raises NotEnoughDisk."""
    watcher.asked(client.endpoint)
    small = [*small_files(listing.files), *([PICKLE_INDEX] if PICKLE_INDEX in listing.files else [])]
    client.fetch(listing, {name: folder / name for name in small}, watcher)
    index = read_json(folder / PICKLE_INDEX) if PICKLE_INDEX in listing.files else None
    pickles = pickle_names(list(listing.files), index, listing.repo_id)
    needed_bytes = 4 * sum(
        listing.files[name].size_bytes for name in pickles
    )  # the pickles, what is read, what is written
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise NotEnoughDisk(folder, needed_bytes, free_bytes)
    client.fetch(listing, {name: folder / name for name in pickles}, watcher)


def _write(source: Path, staged: Path, work: Path, max_shard_size: str) -> None:
    """Write the converted checkpoint to a new folder, and load it."""
    read_config(source)
    index = source / PICKLE_INDEX
    names = [path.name for path in source.iterdir()]
    pickles = pickle_names(names, read_json(index) if index.is_file() else None, str(source))
    staged.mkdir()
    for name in pushable(source)[0]:
        if name != PICKLE_INDEX:
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, staged / name)
    weights = read_pickles([source / name for name in pickles], work, index if len(pickles) > 1 else None)
    tensors = {name: weights.tensor(name) for name in weights.headers}
    write_weights(tensors, staged, max_shard_size)
    fit = load(staged, device="cpu").fit  # it compares the values of what is tied, too
    assert fit is not None
    twice = {fit.files[hub] for row in fit.duplicates for hub in row.hub}
    if twice:
        write_weights({name: tensor for name, tensor in tensors.items() if name not in twice}, staged, max_shard_size)
        check_folder(staged)
