"""The user's token for a hub: where it is found, and over which connections it may go."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from zoo.errors import TokenInClear
from zoo.hub.addresses import is_loopback

Token = str | Literal[False] | None
"""None for HF_TOKEN or the one stored by `hf auth`; False for none."""

ALLOW_SETTING = "ZOO_ALLOW_HTTP_TOKEN"


def find_token(token: Token, endpoint: str) -> str | None:
    """Give the token to send to a hub, or None.

    Where the connection would show it to everybody (http, to another machine), one that was given for it, as argument or
    in HF_TOKEN, is an error unless ZOO_ALLOW_HTTP_TOKEN=1; one that `hf auth` stored, maybe for another hub, is left out.
    Raises TokenInClear.
    """
    if token is False:
        return None
    named = token if isinstance(token, str) else _from_environment()
    found = named or _stored()
    if found is None or not _in_clear(endpoint) or os.environ.get(ALLOW_SETTING) == "1":
        return found
    if named:
        raise TokenInClear(endpoint, ALLOW_SETTING)
    return None


def _in_clear(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    return parts.scheme != "https" and not is_loopback(parts.hostname or "")


def _from_environment() -> str | None:
    from huggingface_hub import constants

    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN or os.environ.get("HF_OIDC_RESOURCE"):
        return None
    value = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or ""
    return value.replace("\r", "").replace("\n", "").strip() or None


def _stored() -> str | None:
    """Ask huggingface_hub, where it could have one: importing all that takes longer than a small pull."""
    from huggingface_hub import constants

    places = "HF_OIDC_RESOURCE" in os.environ or Path(constants.HF_TOKEN_PATH).is_file() or "IPython" in sys.modules
    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN or not places:
        return None
    from huggingface_hub.utils._auth import get_token

    found: str | None = get_token()
    return found
