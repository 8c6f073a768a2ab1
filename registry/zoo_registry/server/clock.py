"""Times as the Hub writes them."""

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def iso(milliseconds: int) -> str:
    """`2026-01-31T12:00:00.000Z` for milliseconds since 1970."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"
