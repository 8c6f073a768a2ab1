"""How long a server asks to wait, in the ways that servers say it."""

import time
from email.utils import formatdate
from threading import Event

import pytest

from zoo import errors
from zoo.hub import retries
from zoo.hub.retries import ATTEMPTS, Patience, retry_after


def test_a_number_a_date_or_a_rate_limit_says_how_long() -> None:
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"ratelimit": '"api";r=0;t=55'}) == 55
    assert retry_after({"retry-after": formatdate(time.time() + 30, usegmt=True)}) == pytest.approx(30, abs=2)
    assert retry_after({"retry-after": formatdate(time.time() - 30, usegmt=True)}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


def test_waits_double_and_progress_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.02)
    patience, waits = Patience("http://hub", Event()), []
    for _ in range(4):
        patience.fail()
        begin = time.monotonic()
        patience.wait(None)
        waits.append(time.monotonic() - begin)
    assert all(seconds >= 0.01 * 2**turn for turn, seconds in enumerate(waits))
    for _ in range(ATTEMPTS - 4):
        patience.fail()
    assert patience.is_spent
    patience.fail(has_progressed=True)
    assert not patience.is_spent


def test_a_wait_ends_when_all_is_stopped() -> None:
    stopped = Event()
    stopped.set()
    patience, begin = Patience("http://hub", stopped), time.monotonic()
    patience.wait(50)
    assert time.monotonic() - begin < 5


def test_a_wait_that_nobody_would_sit_out_is_an_error() -> None:
    with pytest.raises(errors.RateLimited) as caught:
        Patience("http://hub", Event()).wait(3600)
    assert str(caught.value) == (
        "http://hub limits requests. Wait for 3600 seconds and try again; what was fetched so far is kept"
    )
