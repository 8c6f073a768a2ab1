"""Which of a repository's files make a checkpoint, and which ones a user adds or leaves out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import cache
from typing import Any

from zoo.checkpoint.adapter_files import ADAPTER_FILES, ADAPTER_WEIGHTS, holds_adapter
from zoo.checkpoint.manifest import Manifest
from zoo.checkpoint.reader import (
    CONFIG_FILE,
    INDEX_FILE,
    JSON_LIMIT_BYTES,
    PICKLE_SUFFIXES,
    WEIGHTS_FILE,
    parse_json,
    pickles_only,
    shard_names,
)
from zoo.errors import CorruptFile, DigestMismatch, InvalidInput, NotACheckpoint, RefusedContent
from zoo.hub.client import HubClient, Listing
from zoo.hub.contents import is_dangerous, refuse_dangerous
from zoo.hub.signatures import SIGNATURE_FILE
from zoo.tokenization import TOKENIZER_FILES

# What a checkpoint consists of beside its weights. Other frameworks' weights are fetched on demand; pickles and code never.
WANTED = (
    CONFIG_FILE, "generation_config.json", "zoo.json", *TOKENIZER_FILES,
    "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "[0-9]_*/config.json",
    "README.md", "LICENSE*", "emissions.csv", "emissions.json", SIGNATURE_FILE,
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """What a user adds to a checkpoint's own files, and leaves out of all: patterns of names (`onnx/*`, `*.md`).

    `*` stands for any text, slashes included; a folder's name with a slash at its end for all that is in it.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def is_met_by(self, manifest: Manifest) -> bool:
        """Tell whether what was fetched under a manifest's own choice holds at least what this one asks for."""
        return set(self.include) <= set(manifest.include) and set(manifest.exclude) <= set(self.exclude)

    def takes(self, name: str, own: Iterable[str]) -> bool:
        """Tell whether a file is chosen, where `own` are the checkpoint's own."""
        return (name in own or _fits(name, self.include)) and not _fits(name, self.exclude)


OWN_FILES = Choice()


def choose(client: HubClient, listing: Listing, choice: Choice) -> tuple[list[str], Mapping[str, Any]]:
    """Give the names of the files to fetch, and a sharded checkpoint's index, which is read from the hub.

    Raises NotACheckpoint, RefusedContent, CorruptFile, DigestMismatch, InvalidInput for a pattern that fits no file, and
    the errors of HubClient.read.
    """
    for pattern in choice.include:
        if not any(_fits(name, (pattern,)) for name in listing.files):
            raise InvalidInput(
                f"'{listing.repo_id}' has no file that fits '{pattern}'. See: zoo show {listing.repo_id}"
            )
    own, index = {*small_files(listing.files), *weight_files(listing)}, {}
    if INDEX_FILE in own and not _fits(INDEX_FILE, choice.exclude):
        index = read_listed_json(client, listing, INDEX_FILE)
        own |= set(shards(index, listing))
    chosen = sorted(name for name in listing.files if choice.takes(name, own))
    refuse_dangerous(chosen, listing.repo_id)
    return chosen, index


def small_files(names: Iterable[str]) -> list[str]:
    """Give those of a repository's files that belong to a checkpoint beside its weights."""
    return [name for name in names if _fits(name, WANTED) and not is_dangerous(name)]


def weight_files(listing: Listing) -> list[str]:
    """Give the file of weights, or the index of its shards; an adapter's own files. Raises NotACheckpoint, RefusedContent."""
    if holds_adapter(listing.files):
        return _adapter_files(listing)
    if CONFIG_FILE not in listing.files:
        raise NotACheckpoint(listing.repo_id, "it has no config.json")
    for name in (WEIGHTS_FILE, INDEX_FILE):
        if name in listing.files:
            return [name]
    pickles = [name for name in listing.files if name.endswith(PICKLE_SUFFIXES)]
    if pickles:
        raise pickles_only(listing.repo_id, pickles)
    raise NotACheckpoint(listing.repo_id, "it has no model.safetensors")


def _adapter_files(listing: Listing) -> list[str]:
    """Raises RefusedContent, NotACheckpoint."""
    if ADAPTER_WEIGHTS in listing.files:
        return [name for name in ADAPTER_FILES if name in listing.files]
    pickles = [name for name in listing.files if name.startswith("adapter_model") and name.endswith(PICKLE_SUFFIXES)]
    if pickles:
        raise RefusedContent(
            f"'{listing.repo_id}'",
            f"it is an adapter whose weights are pickles only ({', '.join(pickles)}), and a pickle can run any code when it "
            "is read",
            "Ask for safetensors: another revision may have them. Or, where its author is trusted, load it in peft and save "
            "it from there",
        )
    raise NotACheckpoint(listing.repo_id, f"it is an adapter without {ADAPTER_WEIGHTS}")


def shards(index: Mapping[str, Any], listing: Listing) -> list[str]:
    """Give the shards that an index names. Raises CorruptFile where one is not in the repository."""
    names = shard_names(index, INDEX_FILE)
    if absent := [name for name in names if name not in listing.files]:
        raise CorruptFile(INDEX_FILE, f"it names the shard {absent[0]}, which the repository does not have")
    return names


def read_listed_json(client: HubClient, listing: Listing, name: str) -> dict[str, Any]:
    """Read a small file whole, and check its digest. Raises CorruptFile, DigestMismatch, the errors of HubClient.read."""
    entry = listing.files[name]
    if entry.size_bytes > JSON_LIMIT_BYTES:
        raise CorruptFile(name, f"it has more than {JSON_LIMIT_BYTES} bytes")
    content = client.read(listing, name, 0, entry.size_bytes)
    hasher = entry.hasher()
    hasher.update(content)
    if hasher.hexdigest() != entry.digest:
        raise DigestMismatch(name, entry.digest, hasher.hexdigest(), "the commit's listing")
    return parse_json(content, name)


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return bool(patterns) and _expression(patterns).match(name) is not None


@cache
def _expression(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Give one expression for all patterns: repositories have thousands of files."""
    whole = [f"{pattern}*" if pattern.endswith("/") else pattern for pattern in patterns]
    return re.compile("|".join(translate(pattern) for pattern in whole))
