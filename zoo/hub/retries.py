"""Trying again: how often, and how long to wait before."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from threading import Event

from zoo.errors import RateLimited

RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504})
ATTEMPTS = 6  # in a row that bring nothing
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0


class Patience:
    """Counts failures in a row, and waits longer after each."""

    def __init__(self, endpoint: str, stopped: Event) -> None:
        """endpoint: for messages. stopped: ends a wait when it is set."""
        self._endpoint, self._stopped = endpoint, stopped
        self._failures = 0

    @property
    def is_spent(self) -> bool:
        return self._failures >= ATTEMPTS

    def fail(self, has_progressed: bool = False) -> None:
        """Count a failure. has_progressed: whether something was gained before it."""
        self._failures = 1 if has_progressed else self._failures + 1

    def wait(self, asked_seconds: float | None) -> None:
        """Wait before the next attempt: as long as the server asked, or a random part of a time that doubles.

        Raises RateLimited where the server asks for longer than anybody would wait.
        """
        if asked_seconds is not None and asked_seconds > LONGEST_WAIT_SECONDS:
            raise RateLimited(self._endpoint, asked_seconds)
        longest = min(FIRST_WAIT_SECONDS * 2.0 ** (self._failures - 1), LONGEST_WAIT_SECONDS)
        # The jitter keeps many clients that failed together from coming back together.
        self._stopped.wait(asked_seconds if asked_seconds is not None else longest * random.uniform(0.5, 1))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Give the seconds that an answer asks to wait: by `Retry-After` as a number or a date, or `ratelimit` (…;t=55).

    headers: names in small letters, or of either kind where they are found.
    """
    value = headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        pass
    for part in headers.get("ratelimit", "").split(";"):
        key, _, seconds = part.strip().partition("=")
        if key == "t" and seconds.isdigit():
            return float(seconds)
    return None
