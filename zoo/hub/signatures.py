"""Signatures of checkpoints: `model.sig`, by OpenSSF model signing (https://github.com/sigstore/model-transparency).

Its statement names the files of a checkpoint, each with its sha256, under a signature by an elliptic-curve key. Whether a
checkpoint must have one, and by whom, is the user's to say, in the configuration (see `zoo.configuration`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from zoo.checkpoint.manifest import Checkpoint, FileEntry
from zoo.checkpoint.reader import PICKLE_SUFFIXES
from zoo.configuration import SignaturePolicy, signature_policy
from zoo.errors import CorruptFile, DigestMismatch, ExtraMissing, InvalidInput, SignatureRefused, SignatureWarning

SIGNATURE_FILE = "model.sig"
LIMIT_BYTES = 10_000_000
# The card may be edited without the signer: no answer depends on it. Git's settings are no part of a checkpoint.
FREE_FILES = frozenset({SIGNATURE_FILE, "README.md", ".gitattributes"})
MAKE_KEYS = (
    "openssl ecparam -name prime256v1 -genkey -noout -out key.pem, and its public half with: "
    "openssl ec -in key.pem -pubout -out key.pub.pem"
)

Place = Callable[[str], Path]
"""Where a file's content is, by the file's name."""


@dataclass(frozen=True)
class SignedBy:
    """A signature that holds. key: the public key's file. files: how many files it covers."""

    key: Path
    files: int


def check_signature(
    repo_id: str, listed: Mapping[str, FileEntry], used: Mapping[str, FileEntry], place: Place
) -> SignedBy | None:
    """Hold a checkpoint against the user's policy for its namespace, before anybody can see it.

    listed: all files that the hub has at the commit. used: those that are to be installed, model.sig among them where
    there is one; their content, already verified against the listing, is at `place`.
    Gives None where nothing was asked for or, after a warning, where it does not hold.
    Raises SignatureRefused, ExtraMissing, InvalidConfiguration.
    """
    policy = signature_policy(repo_id.split("/")[0])
    if policy.policy == "off":
        return None
    try:
        return verify_signature(repo_id, listed, used, place, policy.keys)
    except (SignatureRefused, ExtraMissing) as error:
        if policy.policy == "require":
            raise
        warnings.warn(SignatureWarning(str(error)), stacklevel=2)
        return None


def verify_signature(
    where: str, listed: Mapping[str, FileEntry], used: Mapping[str, FileEntry], place: Place, keys: tuple[Path, ...]
) -> SignedBy:
    """Check that one of the keys signed every file that is used, as it is. where: for messages; others: check_signature.

    A file is hashed only where its entry has no sha256. Raises SignatureRefused, ExtraMissing, InvalidInput.
    """
    if SIGNATURE_FILE not in used:
        raise SignatureRefused(where, f"it is not signed: it has no {SIGNATURE_FILE}")
    if not keys:
        raise SignatureRefused(where, "no public key is trusted for it")
    path = place(SIGNATURE_FILE)
    try:
        statement = read_statement(path)
    except CorruptFile as error:
        raise SignatureRefused(where, f"its {SIGNATURE_FILE} cannot be read: {error.reason}") from None
    reasons = []
    for key in keys:
        reason = _library().refusal(path, statement, key)
        if reason is None:
            break
        reasons.append(f"{key.name}: {reason}")
    else:
        raise SignatureRefused(where, f"no trusted key made its {SIGNATURE_FILE} ({'; '.join(reasons)})")
    _compare(where, statement, listed, used, place)
    return SignedBy(key, len(statement))


def verify_checkpoint(checkpoint: Checkpoint, keys: tuple[Path, ...] = ()) -> SignedBy | None:
    """Check the signature of a checkpoint on this machine, by these public keys or those that the configuration trusts.

    Gives None where no key is named, there or here, and none is asked for. A folder's files are hashed; those of a
    manifest are taken to be what it says. Raises SignatureRefused, ExtraMissing, InvalidInput, InvalidConfiguration.
    """
    policy = signature_policy(checkpoint.repo_id.split("/")[0]) if checkpoint.repo_id else SignaturePolicy()
    keys = keys or policy.keys
    if not keys and policy.policy != "require":
        return None
    if checkpoint.manifest is not None:
        files = used = dict(checkpoint.manifest.files)
    else:
        parts = [path.relative_to(checkpoint.path).parts for path in checkpoint.path.rglob("*") if path.is_file()]
        files = entries(checkpoint.path, ["/".join(part) for part in parts if not any(p.startswith(".") for p in part)])
        used = {name: entry for name, entry in files.items() if not name.endswith((*PICKLE_SUFFIXES, ".py"))}
    where = checkpoint.repo_id or str(checkpoint.path)
    return verify_signature(where, files, used, lambda name: checkpoint.path / name, keys)


def _compare(
    where: str,
    statement: Mapping[str, str],
    listed: Mapping[str, FileEntry],
    used: Mapping[str, FileEntry],
    place: Place,
) -> None:
    for name, sha256 in statement.items():
        entry = listed.get(name)
        if entry is None:
            raise SignatureRefused(where, f"its signature covers {name}, which is not there")
        if entry.sha256 is not None:
            differs = entry.sha256 != sha256
        elif name in used:
            differs = not _hashes_to(place(name), entry.size_bytes, sha256)
        else:
            continue  # not part of what is installed, and listed with another kind of digest
        if differs:
            raise SignatureRefused(where, f"its file {name} is not the one that was signed")
    uncovered = sorted(used.keys() - statement.keys() - FREE_FILES)
    if uncovered:
        raise SignatureRefused(where, f"its signature does not cover {', '.join(uncovered[:5])}")


def _hashes_to(path: Path, size_bytes: int, sha256: str) -> bool:
    try:
        FileEntry(size_bytes=size_bytes, sha256=sha256).check(path, path.name)
    except DigestMismatch:
        return False
    return True


def read_statement(path: Path) -> dict[str, str]:
    """Give sha256 by file name as a signature states it; whether the signature holds is not checked. Raises CorruptFile."""
    if path.stat().st_size > LIMIT_BYTES:
        raise CorruptFile(path, f"it has more than {LIMIT_BYTES} bytes")
    try:
        bundle: Any = json.loads(path.read_bytes())
        statement: Any = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"], validate=True))
        predicate = statement["predicate"]
        how = (
            statement["predicateType"],
            predicate["serialization"]["method"],
            predicate["serialization"]["hash_type"],
        )
        resources = [(entry["name"], entry["algorithm"], entry["digest"]) for entry in predicate["resources"]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise CorruptFile(path, f"it is no signature of a model ({type(error).__name__}: {error})") from None
    if how != ("https://model_signing/signature/v1.0", "files", "sha256"):
        raise CorruptFile(path, f"it states {how}; Zoo reads a sha256 for each file")
    stated = {name: digest for name, algorithm, digest in resources if algorithm == "sha256"}
    whole = all(
        isinstance(n, str) and isinstance(d, str) and re.fullmatch("[0-9a-f]{64}", d) for n, d in stated.items()
    )
    if not whole or len(stated) != len(resources):
        raise CorruptFile(path, "it does not state one sha256 for each file")
    return stated


def outdated(path: Path, digests: Mapping[str, str]) -> str | None:
    """Give the name of a file that is no longer the one a signature states, or None. digests: sha256 by name.

    Raises CorruptFile.
    """
    statement = read_statement(path)
    stale = [name for name, sha256 in statement.items() if digests.get(name) != sha256]
    stale += sorted(digests.keys() - statement.keys() - FREE_FILES)
    return stale[0] if stale else None


def sign(name: str, digests: Mapping[str, str], key: Path, target: Path) -> int:
    """Sign files with a private key (PEM; elliptic curve P-256, P-384 or P-521), offline. Gives how many.

    name: of the checkpoint, for people. digests: sha256 by file name; the card is left out. target: the signature.
    Raises InvalidInput for a key that cannot sign, ExtraMissing.
    """
    chosen = {name: digest for name, digest in digests.items() if name not in FREE_FILES}
    library = _library()
    try:
        library.sign(name, chosen, key, target)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(f"The key '{key}' cannot sign ({error}). Make one with: {MAKE_KEYS}") from None
    return len(chosen)


def entries(folder: Path, names: Iterable[str]) -> dict[str, FileEntry]:
    """Give the size and sha256 of files in a folder, by name."""
    found = {}
    for name in names:
        with (folder / name).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        found[name] = FileEntry(size_bytes=(folder / name).stat().st_size, sha256=sha256)
    return found


def _library() -> ModuleType:
    """Give our module over model_signing. Raises ExtraMissing."""
    try:
        from zoo.hub import statements
    except ImportError as error:
        raise ExtraMissing("sign", "signatures", str(error)) from None
    return statements
