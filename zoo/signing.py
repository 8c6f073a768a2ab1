"""Signing a checkpoint: a folder's `model.sig`, or that of one on a hub."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from zoo.checkpoint.adapter_files import is_adapter
from zoo.checkpoint.canary import CANARY_FILE, read_canary
from zoo.errors import InvalidInput
from zoo.hub import signatures
from zoo.hub.client import HubClient, Landed, Silent, Watcher
from zoo.hub.pulling import pull
from zoo.hub.signatures import SIGNATURE_FILE
from zoo.loading import load
from zoo.publishing import canary_files, pushable, sha256_of
from zoo.references import parse
from zoo.verification import compute_canary


@dataclass(frozen=True)
class Signed:
    """What was signed: how many files, and where the signature is. landed: the commit that it came with, on a hub."""

    files: int
    path: Path | None
    landed: Landed | None = None


def sign(
    ref: str | Path,
    key: str | Path,
    *,
    endpoint: str | None = None,
    token: str | None = None,
    message: str | None = None,
    watcher: Watcher | None = None,
) -> Signed:
    """Sign a checkpoint with a private key (PEM, elliptic curve).

    ref: a folder, which gets `model.sig`, and a canary if it lacks one; or a repository, whose `model.sig` is committed on
    top of the commit that was signed. Covered is what Zoo pulls, without the card.
    Raises InvalidInput for a key that cannot sign, ExtraMissing, PushConflict, and the errors of zoo.pull and zoo.load.
    """
    key = Path(key).expanduser()
    folder = parse(ref).folder
    if folder is not None:
        digests = {name: sha256_of(folder / name) for name in pushable(folder)[0]}
        if read_canary(folder) is None and not is_adapter(folder):
            canary = compute_canary(load(folder), canary_files(digests))
            (folder / CANARY_FILE).write_text(canary.text(), encoding="utf-8")
            digests[CANARY_FILE] = sha256_of(folder / CANARY_FILE)
        return Signed(
            signatures.sign(folder.resolve().name, digests, key, folder / SIGNATURE_FILE), folder / SIGNATURE_FILE
        )
    checkpoint = pull(ref, endpoint=endpoint, token=token, refresh=True, watcher=watcher)
    manifest = checkpoint.manifest
    if manifest is None or checkpoint.repo_id is None or checkpoint.commit is None:
        raise InvalidInput(
            f"'{ref}' was not fetched by Zoo, so its files are not known to be the hub's. Try: zoo pull {ref}"
        )
    digests = {name: entry.sha256 or sha256_of(checkpoint.path / name) for name, entry in manifest.files.items()}
    with tempfile.TemporaryDirectory(prefix="zoo-sign-") as temporary:
        path = Path(temporary) / SIGNATURE_FILE
        count = signatures.sign(checkpoint.repo_id, digests, key, path)
        landed = HubClient(endpoint, token).commit(
            checkpoint.repo_id,
            {SIGNATURE_FILE: path},
            checkpoint.commit,
            message or f"Sign {checkpoint.commit[:12]}",
            watcher or Silent(),
        )
    return Signed(count, None, landed)
