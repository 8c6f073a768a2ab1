"""The test suite itself: it stays on this machine and out of the user's home."""

import socket
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import constants, get_token


def test_no_test_reaches_another_machine():
    with pytest.raises(OSError, match=r"A test tried to reach huggingface\.co; tests may reach this machine only\."):
        urllib.request.urlopen("https://huggingface.co", timeout=1)
    with (
        socket.socket() as outside,
        pytest.raises(OSError, match=r"^A test tried to reach 192\.0\.2\.1; tests may reach this machine only\.$"),
    ):
        outside.connect(("192.0.2.1", 443))


def test_the_users_cache_and_token_are_out_of_reach(tmp_path):
    for name in ("HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH", "HF_XET_CACHE", "HF_ASSETS_CACHE"):
        assert Path(getattr(constants, name)).is_relative_to(tmp_path)
    assert get_token() is None
