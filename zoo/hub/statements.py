"""Making and checking signatures with the model_signing library. Needs the extra `sign`; see zoo.hub.signatures."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from model_signing import hashing, manifest, signing, verifying

from zoo.errors import InvalidInput

# What git keeps beside a model, and what may change without the signer: other tools that check the signature read this.
IGNORED = (".git", ".gitattributes", ".github", ".gitignore", "README.md", "model.sig")


class Given(hashing.Config):
    """Digests that are known already, in the place of hashing."""

    def __init__(self, name: str, digests: Mapping[str, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._name, self._digests = name, dict(digests)

    def hash(
        self, model_path: hashing.PathLike, *, files_to_hash: Iterable[hashing.PathLike] | None = None
    ) -> manifest.Manifest:
        """Give the manifest of the digests."""
        how = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": list(IGNORED)}
        kind = manifest.SerializationType.from_args(how)
        digest = hashing.hashing.Digest  # type: ignore[attr-defined]
        digests = {name: digest("sha256", bytes.fromhex(text)) for name, text in self._digests.items()}
        return manifest.Manifest(self._name, [kind.new_item(name, digest) for name, digest in digests.items()], kind)


def sign(name: str, digests: Mapping[str, str], key: Path, target: Path) -> None:
    """Write the signature. Raises OSError, ValueError or TypeError for a key that cannot sign."""
    config = signing.Config()  # type: ignore[no-untyped-call]
    config.set_hashing_config(Given(name, digests)).use_elliptic_key_signer(private_key=key)
    config.sign(Path(name), target)


def refusal(signature: Path, statement: Mapping[str, str], key: Path) -> str | None:
    """Say why a signature by this public key does not hold, or None if it does.

    statement: what was read from it; it is compared with what the library reads. Raises InvalidInput for a bad key.
    """
    try:
        config = verifying.Config()  # type: ignore[no-untyped-call]
        config.use_elliptic_key_verifier(public_key=key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"The public key '{key}' cannot be used ({error}); it would be an elliptic curve's, PEM"
        ) from None
    config.set_hashing_config(Given("", statement))
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a warning about old formats
            config.verify(Path(), signature)
    except InvalidSignature:
        return "the signature is wrong"
    except Exception as error:  # whatever a hostile file makes the library stumble over, it does not hold
        text = str(error)
        return "made with another key" if text.startswith("Key mismatch") else text or type(error).__name__
    return None
