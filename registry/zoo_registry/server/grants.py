"""Signed addresses: the LFS protocol sends bytes without a token, so the address itself carries the permission."""

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from urllib.parse import urlencode

from zoo_registry.server.clock import iso
from zoo_registry.server.errors import Forbidden


class Grants:
    """Writes and checks query strings that nobody without the secret can make or change.

    secret: the key of the HMAC-SHA256.
    seconds: how long a grant is valid.
    """

    def __init__(self, secret: bytes, seconds: int) -> None:
        self._secret = secret
        self._seconds = seconds

    def query(self, purpose: str, repository_id: int, oid: str, fields: Mapping[str, str | int]) -> str:
        """The query string that permits one thing.

        purpose: what is permitted, such as "object"; oid: the object's sha256; fields: what else is fixed by it.
        """
        texts = {name: str(value) for name, value in fields.items()}
        texts["expires"] = str(int(time.time()) + self._seconds)
        return urlencode({**texts, "signature": self._sign(purpose, repository_id, oid, texts)})

    def check(self, purpose: str, repository_id: int, oid: str, query: Mapping[str, str]) -> dict[str, str]:
        """The fields of a query string, if it was made by `query` for the same purpose, repository and object.

        Raises Forbidden.
        """
        fields = dict(query)
        signature = fields.pop("signature", None)
        if signature is None:
            raise Forbidden("This address carries no signature. Ask the LFS batch endpoint for one.")
        expected = self._sign(purpose, repository_id, oid, fields)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise Forbidden("This address's signature does not fit it. Ask the LFS batch endpoint for a new one.")
        expires = int(fields.pop("expires"))
        if expires < time.time():
            raise Forbidden(f"This address expired at {iso(expires * 1000)}. Ask the LFS batch endpoint for a new one.")
        return fields

    def _sign(self, purpose: str, repository_id: int, oid: str, fields: Mapping[str, str]) -> str:
        message = json.dumps([purpose, repository_id, oid, sorted(fields.items())])
        return hmac.new(self._secret, message.encode(), hashlib.sha256).hexdigest()
