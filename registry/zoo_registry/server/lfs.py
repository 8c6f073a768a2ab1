"""Uploads of large objects: what to send where, and checking what came."""

import json
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any
from uuid import uuid4

from zoo_registry.server.errors import BadRequest, Mismatch
from zoo_registry.server.grants import Grants
from zoo_registry.server.limits import MIB, Limits
from zoo_registry.server.objects import Received, Writer

_BLOCK_BYTES = 4 * MIB


@dataclass(frozen=True)
class Upload:
    """A multipart upload, as its signed addresses describe it.

    id: random; size, part_bytes: of the object and of each part but the last, in bytes.
    """

    id: str
    size: int
    part_bytes: int

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return ceil(self.size / self.part_bytes)

    def part_size(self, number: int) -> int:
        """The size in bytes of part `number`, counted from 1."""
        return min(self.part_bytes, self.size - (number - 1) * self.part_bytes)

    @property
    def fields(self) -> dict[str, str | int]:
        """What the addresses carry."""
        return {"upload": self.id, "size": self.size, "part_bytes": self.part_bytes}


def upload_of(fields: dict[str, str]) -> Upload:
    """The upload that checked address fields describe."""
    return Upload(fields["upload"], int(fields["size"]), int(fields["part_bytes"]))


def actions(
    base: str, grants: Grants, limits: Limits, repository_id: int, oid: str, size: int, multipart: bool
) -> dict[str, Any]:
    """The LFS batch answer's `actions` for one object that is still to come.

    base: the address of the repository's LFS endpoint, up to `/info/lfs`.
    """
    address = f"{base}/objects/{oid}"
    verify = {"href": f"{base}/objects/verify"}
    if not multipart or size < limits.multipart_bytes:
        query = grants.query("object", repository_id, oid, {"size": size})
        return {"upload": {"href": f"{address}?{query}"}, "verify": verify}
    upload = Upload(uuid4().hex, size, max(limits.part_bytes, ceil(size / limits.parts)))
    header = {"chunk_size": str(upload.part_bytes)}
    for number in range(1, upload.parts + 1):
        query = grants.query("part", repository_id, oid, {**upload.fields, "part": number})
        header[str(number)] = f"{address}/part?{query}"
    query = grants.query("complete", repository_id, oid, upload.fields)
    return {"upload": {"href": f"{address}/complete?{query}", "header": header}, "verify": verify}


def check_received(received: Received, oid: str, size: int) -> None:
    """Raises Mismatch unless the bytes are those of object `oid`."""
    if received.size != size:
        raise Mismatch(f"Object {oid} was declared with {size} bytes, but {received.size} came.")
    if received.sha256 != oid:
        raise Mismatch(f"Object {oid} was declared, but the sha256 of the bytes that came is {received.sha256}.")


def keep_part(folder: Path, number: int, part: Received) -> None:
    """Put a part that has arrived into its upload's folder, under its number and digest."""
    folder.mkdir(exist_ok=True)
    for earlier in folder.glob(f"{number}-*"):
        earlier.unlink()
    part.path.rename(folder / f"{number}-{part.sha256}")


def join_parts(folder: Path, upload: Upload, etags: dict[int, str], writer: Writer) -> Received:
    """The whole object, written to `writer` from its parts; the parts stay, so that a lost answer can be asked again.

    etags: the digest that each part was answered with, by number.
    Raises BadRequest if a part is missing, or is another one than the client names.
    """
    parts = [(number, folder / f"{number}-{etags.get(number)}") for number in range(1, upload.parts + 1)]
    for number, part in parts:
        if not part.is_file():
            raise BadRequest(f"Part {number} of {upload.parts} has not arrived, or with other bytes. Send it again.")
    for _, part in parts:
        with part.open("rb") as source:
            while block := source.read(_BLOCK_BYTES):
                writer.write(block)
    return writer.finish()


def completion_etags(body: bytes) -> dict[int, str]:
    """The etag of each part by its number, from a completion request. Raises BadRequest."""
    try:
        parts = json.loads(body)["parts"]
        return {int(part["partNumber"]): _digest(part["etag"]) for part in parts}
    except (ValueError, KeyError, TypeError):
        raise BadRequest("The completion request is not {'oid': ..., 'parts': [{'partNumber', 'etag'}]}.") from None


def _digest(etag: str) -> str:
    text = etag.strip('"')
    if len(text) != 64 or not text.isalnum():
        raise ValueError(etag)
    return text
